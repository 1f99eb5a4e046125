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

MODELS = ("deepfakenet",)
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
# They say how to start a run, not what it is: `config.flags` leaves them out.
TRANSIENT = ("resume", "overwrite")


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
    limit: int = _knob(0, "Images per split, for a quick look; 0 takes all.", low=0)
    cache_gib: float = _knob(
        4.0, "GiB of decoded pixels kept in memory; the rest is cached on disk.", low=0
    )

    # Run
    output_dir: str = _knob("runs", "Folder that holds a folder per experiment.")
    experiment: str = _knob(
        "",
        "Name of the run and its folder; by default the flag file's stem, else the model.",
    )
    resume: bool = _knob(False, "Start, continue or print: whatever the run's folder calls for.")
    overwrite: bool = _knob(False, "Delete the run's folder first.")
    seed: int = _knob(0, "Seed of weights, order, augmentation and dropout.", low=0)

    # Model
    model: str = _knob("deepfakenet", "What to train.", choices=MODELS)
    image_size: int = _knob(
        128, "Side in pixels that images are resized to; 0 keeps their own size.", low=0
    )
    precision: str = _knob(
        "auto", "auto: bfloat16 where the CPU or GPU computes in it.", choices=PRECISIONS
    )

    # Training
    epochs: int = _knob(50, "Most epochs; early stopping may end sooner.", low=1)
    batch_size: int = _knob(32, "Images per step, over all devices.", low=1)
    learning_rate: float = _knob(0.05, "Of SGD with Nesterov momentum.", low=0)
    momentum: float = _knob(0.9, "Of SGD.", low=0, high=1)
    plateau_factor: float = _knob(
        0.5, "Multiplies the learning rate when the holdout loss stalls.", low=0, high=1
    )
    plateau_patience: int = _knob(2, "Epochs without a better holdout loss before that.", low=1)
    early_stopping_patience: int = _knob(
        10, "Epochs without a better holdout loss before training ends.", low=1
    )
    augment: tuple[str, ...] = _knob(
        ("flip", "rotate=10", "jitter=0.1"),
        "Training augmentations in their order, name or name=strength; empty for none.",
    )
    train_crop: int = _knob(
        0, "Train on random crops of this side, test on whole images; 0 for whole.", low=0
    )

    @property
    def run_dir(self) -> Path:
        """The folder of this run."""
        return Path(self.output_dir) / self.experiment

    def to_flags(self) -> str:
        """A flag file that repeats the run: a line per knob, without `TRANSIENT`."""
        lines = []
        for field in dataclasses.fields(self):
            if field.name not in TRANSIENT:
                value = getattr(self, field.name)
                text = ",".join(value) if isinstance(value, tuple) else value
                lines.append(f"--{field.name}={text}")
        return "\n".join(lines) + "\n"


def parse(arguments: Sequence[str]) -> Config:
    """Reads command line arguments, flag files included, into a Config.

    Raises:
        UsageError: for an unknown flag, a value out of range, or words that are no flag.
    """
    values = _flag_values()
    try:
        rest = values(["dfk", *arguments])[1:]
    except (flags.Error, OSError) as error:
        raise UsageError(str(error)) from error
    if rest:
        raise UsageError(f"unexpected argument {rest[0]!r}; flags look like --name=value")
    config = Config(**{name: _value(values[name].value) for name in _fields()})
    if not config.experiment:
        stem = _flag_file_stem(arguments)
        config = dataclasses.replace(config, experiment=stem or config.model)
    _check(config)
    return config


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
    if config.image_size and config.train_crop > config.image_size:
        raise UsageError(
            f"--train_crop={config.train_crop} is larger than --image_size={config.image_size}"
        )
