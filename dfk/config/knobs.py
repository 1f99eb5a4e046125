"""Every knob once: its default, what it is for, what it may be, and which models have it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfk.config import augmentation, conditions
from dfk.config.conditions import Needs
from dfk.config.values import (
    Choice,
    ClassWeight,
    FilePath,
    Kind,
    Name,
    Number,
    Several,
    Switch,
    Text,
    write,
)

NETWORKS = ("deepfakenet", "vgg16", "residual", "rich")
MODELS = (*NETWORKS, "ensemble", "svm", "svm_forensic")
ENSEMBLE_METHODS = ("confidence", "average", "stacked")
OPTIMIZERS = ("sgd", "adam")
STRATEGIES = ("none", "mirrored", "multi_worker", "tpu")
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
# They say how to start a run, not what it is: `config.flags` leaves them out.
TRANSIENT = ("suite", "seeds", "resume", "overwrite", "data_service", "strategy")

# NumPy's, and so Keras', seeds have 32 bits.
LARGEST_SEED = 2**32 - 1
# Pixels: the side of a square of 50 megapixels, the largest image that is decoded.
LARGEST_SIDE = 7071
# Of what float32 holds; a network has diverged long before.
LARGEST_RATE = 1e38
# More epochs, steps or images than anybody trains, and few enough to count in any type.
MANY = 1_000_000
# float32 draws Beta(alpha, alpha) right from here on: of .01, a sixth of the draws would be 1/2.
SMALLEST_ALPHA = 0.05


def _knob(
    default: Any,
    help: str,
    kind: Kind | None = None,
    *,
    of: tuple[str, ...] = MODELS,
    needs: Needs | None = None,
    lack: str = "",
) -> Any:
    """A knob.

    Args:
        default: used if it is not given.
        help: what it is for.
        kind: what it may be; None for a switch or a line of text, as the default is.
        of: the models that have it.
        needs: what other knobs must be for it to have an effect.
        lack: why other models have none, if that can be said.
    """
    kind = kind or (Switch() if isinstance(default, bool) else Text())
    metadata = {"help": help, "kind": kind, "of": of, "needs": needs, "lack": lack}
    return dataclasses.field(default=default, metadata=metadata)


def _each_is_named(items: Sequence[str]) -> bool:
    return all(items)


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment. The defaults are row 2 of the study, DeepFakeNet."""

    # Data
    data_dir: str = _knob(
        "",
        "Folder with the images (train.csv or train/<class>/), or `demo` for the embedded set.",
        FilePath(),
    )
    on_bad_image: str = _knob(
        "fail", "What to do with an image that is missing or broken.", Choice("fail", "skip")
    )
    exclude_class: str = _knob(
        "", "A class to leave out of training; its validation images play an unknown generator."
    )
    limit: int = _knob(
        0, "Images per split, for a quick look; 0 takes all.", Number(int, 0, 1000 * MANY)
    )
    cache_gib: float = _knob(
        4.0,
        "GiB of decoded pixels kept in memory; the rest is cached on disk.",
        Number(float, 0, MANY),
    )
    data_service: str = _knob(
        "",
        "grpc://HOST:PORT of a tf.data service, whose workers then make the training batches.",
        of=NETWORKS,
    )

    # Run
    output_dir: str = _knob("runs", "Folder that holds a folder per experiment.", FilePath())
    experiment: str = _knob(
        "",
        "Name of the run and its folder; by default the flag file's stem, else the model.",
        Name(),
    )
    resume: bool = _knob(False, "Start, continue or print: whatever the run's folder calls for.")
    overwrite: bool = _knob(False, "Replace the run, once the new one is finished.")
    seed: int = _knob(
        0, "Seed of weights, order, augmentation and dropout.", Number(int, 0, LARGEST_SEED)
    )
    seeds: tuple[str, ...] = _knob(
        (),
        "Several seeds, to run the experiment NAME once for each, as NAME-seed0, ...",
        Several(Number(int, 0, LARGEST_SEED), f"whole numbers from 0 to {LARGEST_SEED}"),
    )
    export: bool = _knob(
        False,
        "Write the model as a SavedModel for TF Serving, too.",
        of=(*NETWORKS, "ensemble"),
        lack="TF Serving serves only Keras models",
    )
    suite: tuple[str, ...] = _knob(
        (),
        "Flag files of experiments to run in order; the other flags hold for each of them that "
        "has such a knob.",
        Several(FilePath(), "the paths of flag files", check=_each_is_named),
    )

    # Model
    model: str = _knob("deepfakenet", "What to train.", Choice(*MODELS))
    image_size: int = _knob(
        128,
        "Side in pixels that images are resized to; 0 keeps their own size.",
        Number(int, 0, LARGEST_SIDE),
        of=NETWORKS,
    )
    precision: str = _knob(
        "auto",
        "auto: bfloat16 where the CPU or GPU computes in it.",
        Choice(*PRECISIONS),
        of=NETWORKS,
    )
    strategy: str = _knob(
        "none",
        "Who trains: one device, all of this machine (mirrored), or all machines of TF_CONFIG.",
        Choice(*STRATEGIES),
        of=NETWORKS,
    )
    dropout: tuple[str, ...] = _knob(
        ("0.25", "0.3", "0.4"),
        "The dropout rate after each of the three blocks.",
        Several(Number(float, 0, 0.99), "three numbers from 0 to 0.99", count=3),
        of=("deepfakenet",),
    )
    input_range: tuple[str, ...] = _knob(
        ("0", "1"),
        "What the pixel values 0 and 255 are mapped to.",
        Several(
            Number(float, -1000, 1000),
            "two numbers from -1000 to 1000, the lower one first",
            count=2,
            check=lambda ends: ends[0] < ends[1],
        ),
        of=("deepfakenet",),
    )
    filters: tuple[str, ...] = _knob(
        ("32", "64", "128", "256"),
        "The channels, a number per block.",
        Several(
            Number(int, 1, 4096),
            "one to ten whole numbers from 1 to 4096, a block's channels each",
            check=lambda widths: 1 <= len(widths) <= 10,
        ),
        of=("residual",),
    )
    high_pass: bool = _knob(
        False,
        "Let the network see high-pass filters' answers beside the colours.",
        of=("residual",),
    )
    vgg16_weights: str = _knob(
        "imagenet",
        "The start: `imagenet`, `none` (with BatchNormalization), a run, or a file.",
        FilePath(),
        of=("vgg16",),
    )
    members: tuple[str, ...] = _knob(
        (),
        "Runs to combine: names within output_dir, or paths with a slash.",
        Several(FilePath(), "names or paths of runs", check=_each_is_named),
        of=("ensemble",),
        lack="--members and --model=ensemble go together",
    )
    method: str = _knob(
        "confidence", "How the members are combined.", Choice(*ENSEMBLE_METHODS), of=("ensemble",)
    )
    false_alarm_rate: float = _knob(
        0.05,
        "Share of the known images that `predict --unknown` may call unknown.",
        Number(float, 0, 1),
    )

    # Training
    teacher: str = _knob(
        "",
        "Run or .keras file whose answers a network learns, too (distillation); as in members.",
        FilePath(),
        of=NETWORKS,
    )
    teacher_share: float = _knob(
        0.5,
        "Share of each label that the teacher's probabilities take.",
        Number(float, 0, 1),
        of=NETWORKS,
        needs=conditions.TEACHER,
    )
    epochs: int = _knob(
        50, "Most epochs; early stopping may end sooner.", Number(int, 1, MANY), of=NETWORKS
    )
    batch_size: int = _knob(
        32,
        "Images per step, over all devices.",
        Number(int, 1, 2**16),
        of=(*NETWORKS, "ensemble"),
    )
    optimizer: str = _knob("sgd", "sgd: with Nesterov momentum.", Choice(*OPTIMIZERS), of=NETWORKS)
    learning_rate: float = _knob(
        0.05,
        "Of the optimizer, at the start.",
        Number(float, 1e-12, LARGEST_RATE),
        of=NETWORKS,
    )
    momentum: float = _knob(
        0.9, "Of SGD.", Number(float, 0, 0.9999), of=NETWORKS, needs=conditions.SGD
    )
    weight_decay: float = _knob(
        0.0, "Apart from the gradient; adam with it is AdamW.", Number(float, 0, 100), of=NETWORKS
    )
    schedule: str = _knob(
        "plateau",
        "Of the learning rate: cut where the holdout loss stalls, or a cosine down to 0.",
        Choice("plateau", "cosine"),
        of=NETWORKS,
    )
    ema: float = _knob(
        0.0,
        "Momentum of a moving average of the weights, which is what counts; 0 for none.",
        Number(float, 0, 0.99999),
        of=NETWORKS,
    )
    label_smoothing: float = _knob(
        0.0,
        "Share of each label that is spread over all classes.",
        Number(float, 0, 0.5),
        of=NETWORKS,
    )
    head_epochs: int = _knob(
        3,
        "Epochs that train the head only, on a frozen base.",
        Number(int, 0, MANY),
        of=("vgg16",),
        needs=conditions.GIVEN_WEIGHTS,
    )
    fine_tune_from: str = _knob(
        "block4",
        "The block from which on the base trains after that.",
        of=("vgg16",),
        needs=conditions.GIVEN_WEIGHTS,
    )
    fine_tune_learning_rate: float = _knob(
        1e-5,
        "The learning rate from then on.",
        Number(float, 1e-12, LARGEST_RATE),
        of=("vgg16",),
        needs=conditions.GIVEN_WEIGHTS,
    )
    feature_draws: int = _knob(
        0,
        "How often every image is augmented and cropped to compute its features from, before "
        "training and beside the whole image; 0 does so in every epoch.",
        Number(int, 0, 10_000),
        of=("vgg16", "rich"),
        needs=conditions.FIXED_FEATURES,
    )
    class_weight: tuple[str, ...] = _knob(
        (),
        "class:weight, ...: how much an image of a class counts in the loss; 1 if not named.",
        Several(
            ClassWeight(),
            "class:weight for each class once, as in 0:1.9,4:1.7",
            check=lambda pairs: len(dict(pairs)) == len(pairs),
        ),
        of=(*NETWORKS, "ensemble"),
    )
    sampling: str = _knob(
        "shuffled",
        "balanced: draws every class equally often.",
        Choice("shuffled", "balanced"),
        of=NETWORKS,
    )
    plateau_factor: float = _knob(
        0.5,
        "Multiplies the learning rate when the holdout loss stalls.",
        Number(float, 0.001, 0.999),
        of=NETWORKS,
        needs=conditions.PLATEAU,
    )
    plateau_patience: int = _knob(
        2,
        "Epochs without a better holdout loss before that.",
        Number(int, 1, MANY),
        of=NETWORKS,
        needs=conditions.PLATEAU,
    )
    early_stopping_patience: int = _knob(
        10,
        "Epochs without a better holdout loss before training ends.",
        Number(int, 1, MANY),
        of=NETWORKS,
    )
    augment: tuple[str, ...] = _knob(
        ("flip", "rotate=10", "jitter=0.1"),
        "Training augmentations in their order, name or name=strength, or a preset: none, light "
        "(flips), forensic (flips, quarter turns, and to half of the images blur, JPEG or a resize "
        "and back), strong (rotation and jitter, too); empty for none.",
        Several(augmentation.Augmentation()),
        of=NETWORKS,
    )
    mixup_alpha: float = _knob(
        0.0,
        "MixUp's Beta(alpha, alpha); 0 for none.",
        Number(float, SMALLEST_ALPHA, 100, or_none=True),
        of=NETWORKS,
    )
    cutmix_alpha: float = _knob(
        0.0,
        "CutMix's Beta(alpha, alpha); 0 for none.",
        Number(float, SMALLEST_ALPHA, 100, or_none=True),
        of=NETWORKS,
    )
    switch_prob: float = _knob(
        0.5,
        "With both, the share of batches that CutMix mixes.",
        Number(float, 0, 1),
        of=NETWORKS,
        needs=conditions.BOTH_MIXES,
    )
    train_crop: int = _knob(
        0,
        "Train on random crops of this side, test on whole images; 0 for whole.",
        Number(int, 0, LARGEST_SIDE),
        of=NETWORKS,
    )

    @property
    def run_dir(self) -> Path:
        """The folder of this run."""
        return Path(self.output_dir) / self.experiment

    @property
    def family(self) -> str:
        """The experiment's name without the seed that `--seeds` gave it."""
        return self.experiment.removesuffix(seeded("", self.seed))

    def own(self) -> tuple[str, ...]:
        """The knobs that have an effect on this model, as the others are set."""
        return tuple(
            name
            for name, knob in KNOBS.items()
            if self.model in knob["of"] and (not knob["needs"] or knob["needs"].hold(self))
        )

    def to_flags(self) -> str:
        """A flag file that repeats the run: a line per knob of its own, without `TRANSIENT`."""
        names = [name for name in self.own() if name not in TRANSIENT]
        return "".join(f"--{name}={write(getattr(self, name))}\n" for name in names)


# By name, what `_knob` says of each.
KNOBS = {field.name: field.metadata for field in dataclasses.fields(Config)}
DEFAULTS = Config()


def seeded(name: str, seed: int) -> str:
    """The name of one of the experiments that `--seeds` makes of one."""
    return f"{name}-seed{seed}"
