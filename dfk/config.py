"""Every knob once: a frozen dataclass, and the absl flags made from it."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from dfk.errors import UsageError

MODELS = ("deepfakenet", "vgg16", "residual", "rich", "ensemble", "svm", "svm_forensic")
ENSEMBLE_METHODS = ("confidence", "average", "stacked")
OPTIMIZERS = ("sgd", "adam")
STRATEGIES = ("none", "mirrored", "multi_worker", "tpu")
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
# They say how to start a run, not what it is: `config.flags` leaves them out.
TRANSIENT = ("suite", "seeds", "resume", "overwrite", "data_service", "strategy")


def _knob(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment. The defaults are row 2 of the study, DeepFakeNet."""

    # Data
    data_dir: str = _knob(
        "", "Folder with the images (train.csv or train/<class>/), or `demo` for the embedded set."
    )
    on_bad_image: str = _knob(
        "fail", "What to do with an image that is missing or broken.", choices=("fail", "skip")
    )
    exclude_class: str = _knob(
        "", "A class to leave out of training; its validation images play an unknown generator."
    )
    limit: int = _knob(0, "Images per split, for a quick look; 0 takes all.", low=0)
    cache_gib: float = _knob(
        4.0, "GiB of decoded pixels kept in memory; the rest is cached on disk.", low=0
    )

    data_service: str = _knob(
        "", "grpc://HOST:PORT of a tf.data service, whose workers then make the training batches."
    )

    # Run
    output_dir: str = _knob("runs", "Folder that holds a folder per experiment.")
    experiment: str = _knob(
        "",
        "Name of the run and its folder; by default the flag file's stem, else the model.",
    )
    resume: bool = _knob(False, "Start, continue or print: whatever the run's folder calls for.")
    overwrite: bool = _knob(False, "Replace the run, once the new one is finished.")
    seed: int = _knob(0, "Seed of weights, order, augmentation and dropout.", low=0)
    seeds: tuple[str, ...] = _knob(
        (), "Several seeds, to run the experiment NAME once for each, as NAME-seed0, ..."
    )
    export: bool = _knob(False, "Write the model as a SavedModel for TF Serving, too.")
    suite: tuple[str, ...] = _knob(
        (), "Flag files of experiments to run in order; the other flags hold for each of them."
    )

    # Model
    model: str = _knob("deepfakenet", "What to train.", choices=MODELS)
    image_size: int = _knob(
        128, "Side in pixels that images are resized to; 0 keeps their own size.", low=0
    )
    precision: str = _knob(
        "auto", "auto: bfloat16 where the CPU or GPU computes in it.", choices=PRECISIONS
    )
    strategy: str = _knob(
        "none",
        "Who trains: one device, all of this machine (mirrored), or all machines of TF_CONFIG.",
        choices=STRATEGIES,
    )
    dropout: tuple[str, ...] = _knob(
        ("0.25", "0.3", "0.4"), "DeepFakeNet's dropout rate after each of its three blocks."
    )
    input_range: tuple[str, ...] = _knob(
        ("0", "1"), "What DeepFakeNet maps the pixel values 0 and 255 to."
    )
    filters: tuple[str, ...] = _knob(
        ("32", "64", "128", "256"), "The residual network's channels, a number per block."
    )
    high_pass: bool = _knob(
        False, "Let the residual network see high-pass filters' answers beside the colours."
    )
    vgg16_weights: str = _knob(
        "imagenet",
        "VGG16's start: `imagenet`, `none` (with BatchNormalization), a run, or a file.",
    )
    members: tuple[str, ...] = _knob(
        (), "Runs that an ensemble combines: names within output_dir, or paths with a slash."
    )
    method: str = _knob(
        "confidence", "How an ensemble combines its members.", choices=ENSEMBLE_METHODS
    )

    false_alarm_rate: float = _knob(
        0.05, "Share of the known images that `predict --unknown` may call unknown.", low=0, high=1
    )

    # Training
    teacher: str = _knob(
        "", "Run or .keras file whose answers a network learns, too (distillation); as in members."
    )
    teacher_share: float = _knob(
        0.5, "Share of each label that the teacher's probabilities take.", low=0, high=1
    )
    epochs: int = _knob(50, "Most epochs; early stopping may end sooner.", low=1)
    batch_size: int = _knob(32, "Images per step, over all devices.", low=1)
    optimizer: str = _knob("sgd", "sgd: with Nesterov momentum.", choices=OPTIMIZERS)
    learning_rate: float = _knob(0.05, "Of the optimizer, at the start.", low=0)
    momentum: float = _knob(0.9, "Of SGD.", low=0, high=1)
    weight_decay: float = _knob(0.0, "Apart from the gradient; adam with it is AdamW.", low=0)
    schedule: str = _knob(
        "plateau",
        "Of the learning rate: cut where the holdout loss stalls, or a cosine down to 0.",
        choices=("plateau", "cosine"),
    )
    ema: float = _knob(
        0.0,
        "Momentum of a moving average of the weights, which is what counts; 0 for none.",
        low=0,
        high=0.99999,
    )
    label_smoothing: float = _knob(
        0.0, "Share of each label that is spread over all classes.", low=0, high=0.5
    )
    head_epochs: int = _knob(
        3, "VGG16 with given weights: epochs that train its head only, on a frozen base.", low=0
    )
    fine_tune_from: str = _knob(
        "block4", "VGG16 with given weights: the block from which on the base trains after that."
    )
    fine_tune_learning_rate: float = _knob(1e-5, "The learning rate from then on.", low=0)
    feature_draws: int = _knob(
        0,
        "VGG16's head and rich: how often every image is augmented and cropped to compute its "
        "features from, before training and beside the whole image; 0 does so in every epoch.",
        low=0,
    )
    class_weight: tuple[str, ...] = _knob(
        (), "class:weight, ...: how much an image of a class counts in the loss; 1 if not named."
    )
    sampling: str = _knob(
        "shuffled", "balanced: draws every class equally often.", choices=("shuffled", "balanced")
    )
    plateau_factor: float = _knob(
        0.5, "Multiplies the learning rate when the holdout loss stalls.", low=0, high=1
    )
    plateau_patience: int = _knob(2, "Epochs without a better holdout loss before that.", low=1)
    early_stopping_patience: int = _knob(
        10, "Epochs without a better holdout loss before training ends.", low=1
    )
    augment: tuple[str, ...] = _knob(
        ("flip", "rotate=10", "jitter=0.1"),
        "Training augmentations in their order, name or name=strength, or a preset: none, light "
        "(flips), forensic (flips, quarter turns, and to half of the images blur, JPEG or a resize "
        "and back), strong (rotation and jitter, too); empty for none.",
    )
    mixup_alpha: float = _knob(0.0, "MixUp's Beta(alpha, alpha); 0 for none.", low=0)
    cutmix_alpha: float = _knob(0.0, "CutMix's Beta(alpha, alpha); 0 for none.", low=0)
    switch_prob: float = _knob(
        0.5, "With both, the share of batches that CutMix mixes.", low=0, high=1
    )
    train_crop: int = _knob(
        0, "Train on random crops of this side, test on whole images; 0 for whole.", low=0
    )

    @property
    def run_dir(self) -> Path:
        """The folder of this run."""
        return Path(self.output_dir) / self.experiment

    @property
    def family(self) -> str:
        """The experiment's name without the seed that `--seeds` gave it."""
        return self.experiment.removesuffix(_seeded("", self.seed))

    def to_flags(self) -> str:
        """A flag file that repeats the run: a line per knob, without `TRANSIENT`."""
        lines = []
        for field in dataclasses.fields(self):
            if field.name not in TRANSIENT:
                lines.append(f"--{field.name}={_text(getattr(self, field.name))}")
        return "\n".join(lines) + "\n"


def parse(arguments: Sequence[str]) -> list[Config]:
    """Reads command line arguments, flag files included: a Config per experiment.

    Each member of a suite is read as `--flagfile=MEMBER` followed by the flags that stand
    beside `--suite`, so that these win. `--seeds` makes one experiment several, in which an
    ensemble combines the members, and a student or VGG16 has the run it builds on, of its own
    seed.

    Raises:
        UsageError: for an unknown flag, a value out of range, words that are no flag, or a
            flag that means one experiment beside a suite of several.
    """
    config, given = _parse_one(arguments)
    if not config.suite:
        if not config.experiment:
            stem = _flag_file_stem(arguments)
            config = dataclasses.replace(config, experiment=stem or config.model)
        configs = [_with_seed(config, seed) for seed in _seeds(config, given)] or [config]
        for config in configs:
            _check(config)
        return configs
    for name in ("experiment", "model", "members"):
        if name in given:
            raise UsageError(f"--{name} beside --suite: each flag file of a suite has its own")
    beside = [f"--{name}={text}" for name, text in given.items() if name != "suite"]
    configs = []
    for member in config.suite:
        configs += parse([f"--flagfile={member}", *beside])
    names = [config.experiment for config in configs]
    if len(set(names)) < len(names):
        raise UsageError(f"--suite: several experiments share a name: {', '.join(names)}")
    return configs


def _seeds(config: Config, given: dict[str, str]) -> list[int]:
    if config.seeds and "seed" in given:
        raise UsageError("--seed beside --seeds: one of them")
    if not all(seed.isdecimal() for seed in config.seeds):
        raise UsageError(f"--seeds={_text(config.seeds)}: whole numbers with commas between them")
    return list(dict.fromkeys(map(int, config.seeds)))


def _with_seed(config: Config, seed: int) -> Config:
    def of_this_seed(run: str) -> str:
        return run if "/" in run or not run else _seeded(run, seed)

    return dataclasses.replace(
        config,
        experiment=_seeded(config.experiment, seed),
        members=tuple(map(of_this_seed, config.members)),
        teacher=of_this_seed(config.teacher),
        vgg16_weights=of_this_seed(config.vgg16_weights)
        if starts_from_run(config)
        else config.vgg16_weights,
        seed=seed,
        seeds=(),
    )


def starts_from_run(config: Config) -> bool:
    """Whether `--vgg16_weights` names a run."""
    weights = config.vgg16_weights
    return weights not in ("imagenet", "none") and Path(weights).suffix not in (".h5", ".keras")


def _seeded(name: str, seed: int) -> str:
    return f"{name}-seed{seed}"


def _parse_one(arguments: Sequence[str]) -> tuple[Config, dict[str, str]]:
    """The configuration, and the flags that were given, flag files included, as text."""
    values = _flag_values()
    try:
        rest = values(["dfk", *arguments])[1:]
    except (flags.Error, OSError) as error:
        raise UsageError(str(error)) from error
    if rest:
        raise UsageError(f"unexpected argument {rest[0]!r}; flags look like --name=value")
    config = Config(**{name: _value(values[name].value) for name in _fields()})
    given = {name: _text(getattr(config, name)) for name in _fields() if values[name].present}
    return config, given


def flags_help() -> str:
    """The flags with their defaults, as absl prints them."""
    return _flag_values().module_help(__name__)


def _fields() -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(Config)}


def _flag_values() -> flags.FlagValues:
    """A scope of its own, so that several configurations can be parsed in one process."""
    values = flags.FlagValues()
    types = typing.get_type_hints(Config)
    for name, field in _fields().items():
        kind, meta = types[name], field.metadata
        common = {"name": name, "default": field.default, "help": meta["help"]}
        common |= {"flag_values": values, "module_name": __name__}
        bounds = {"lower_bound": meta["low"], "upper_bound": meta["high"]}
        if meta["choices"]:
            flags.DEFINE_enum(enum_values=meta["choices"], **common)
        elif kind is bool:
            flags.DEFINE_bool(**common)
        elif kind is int:
            flags.DEFINE_integer(**common, **bounds)
        elif kind is float:
            flags.DEFINE_float(**common, **bounds)
        elif kind is str:
            flags.DEFINE_string(**common)
        else:
            flags.DEFINE_list(**common | {"default": list(field.default)})
    return values


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _flag_file_stem(arguments: Sequence[str]) -> str:
    """The stem of the last `--flagfile` among the arguments, "" without one."""
    stem = ""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, separator, value = argument.lstrip("-").partition("=")
        if name == "flagfile" and argument.startswith("-"):
            stem = Path(value if separator else following).stem
    return stem


def _check(config: Config) -> None:
    if not config.data_dir:
        raise UsageError("--data_dir is missing: name the folder with your images, or `demo`")
    if config.experiment != Path(config.experiment).name or config.experiment in (".", ".."):
        raise UsageError(f"--experiment={config.experiment}: it must be a name, not a path")
    if config.resume and config.overwrite:
        raise UsageError("--resume and --overwrite contradict each other")
    if config.export and config.model.startswith("svm"):
        raise UsageError(
            f"--export: TF Serving serves only Keras models, --model={config.model} is none; "
            "in a suite, export the others with `dfk export RUN`"
        )
    if bool(config.members) != (config.model == "ensemble"):
        raise UsageError("--members and --model=ensemble go together")
    if len(_numbers(config, "dropout")) != 3:
        raise UsageError("--dropout: DeepFakeNet has three blocks, name three rates")
    if not config.filters or not all(f.isdecimal() and int(f) for f in config.filters):
        raise UsageError(
            f"--filters={_text(config.filters)}: whole numbers, a block's channels each"
        )
    if config.teacher and (config.model == "ensemble" or config.model.startswith("svm")):
        raise UsageError(f"--teacher: it teaches networks, --model={config.model} is none")
    if len(bounds := _numbers(config, "input_range")) != 2 or bounds[0] >= bounds[1]:
        raise UsageError("--input_range: two numbers, the lower one first")
    class_weights(config)
    if config.image_size and config.train_crop > config.image_size:
        raise UsageError(
            f"--train_crop={config.train_crop} is larger than --image_size={config.image_size}"
        )


def _numbers(config: Config, name: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, getattr(config, name)))
    except ValueError:
        text = _text(getattr(config, name))
        raise UsageError(f"--{name}={text}: numbers with commas between them") from None


def class_weights(config: Config) -> dict[str, float]:
    """`--class_weight` as a dictionary from class names to positive weights.

    Raises:
        UsageError: for an item that is not class:weight.
    """
    weights = {}
    for item in config.class_weight:
        name, _, weight = item.rpartition(":")
        try:
            weights[name] = float(weight)
        except ValueError:
            weights[name] = 0.0
        if not name or not weights[name] > 0:
            raise UsageError(f"--class_weight: {item!r} is not class:weight, as in 0:1.9,4:1.7")
    return weights


def weight_per_class(config: Config, class_names: Sequence[str]) -> list[float] | None:
    """`--class_weight` in the order of `class_names`; None where all are alike.

    Raises:
        UsageError: for a class that is none of them.
    """
    given = class_weights(config)
    unknown = given.keys() - set(class_names)
    if unknown:
        raise UsageError(
            f"--class_weight names {', '.join(sorted(unknown))}; the classes are "
            f"{', '.join(class_names)}; --class_weight= weighs them alike"
        )
    return [given.get(name, 1.0) for name in class_names] if given else None
