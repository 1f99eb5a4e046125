"""The knobs that several kinds of model have, in groups."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from dfk.config import augmentation, conditions
from dfk.config.knobs import LARGEST_RATE, LARGEST_SIDE, MANY, each_is_named, knob
from dfk.config.values import Choice, Class, ClassName, ClassWeight, FilePath, Name, Number, Several

OPTIMIZERS = ("sgd", "adam")
STRATEGIES = ("none", "mirrored", "multi_worker", "tpu")
PRECISIONS = ("auto", "float32", "mixed_bfloat16")

# NumPy's, and so Keras', seeds have 32 bits.
LARGEST_SEED = 2**32 - 1
# float32 draws Beta(alpha, alpha) right from here on: of .01, a sixth of the draws would be 1/2.
SMALLEST_ALPHA = 0.05


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the images come from."""

    TITLE: ClassVar[str] = "The images"

    data_dir: str = knob(
        "",
        "The folder with the images (train.csv or train/<class>/), or `demo` for the embedded set.",
        FilePath(),
    )
    on_bad_image: str = knob(
        "fail",
        "Whether an image that is missing or broken fails the run or is skipped.",
        Choice("fail", "skip"),
    )
    exclude_class: str = knob(
        "",
        "A class that training leaves out; its validation images play an unknown generator.",
        Class(),
    )
    group_by: str = knob(
        "",
        "What images share that must lie on one side of every split (a prompt, a video): a column "
        "of the CSVs, or a regular expression searched in the image ids, whose first parentheses "
        "find it.",
    )
    class_names: tuple[str, ...] = knob(
        (),
        "Names for labels of the data that say little (0:stylegan,1:vae): all other flags, the "
        "model and the report have these. Their order stays.",
        Several(ClassName()),
    )
    limit: int = knob(
        0,
        "How many images of each split are taken, for a quick look; 0 takes all.",
        Number(int, 0, 1000 * MANY),
    )
    cache_gib: float = knob(
        4.0,
        "GiB of decoded pixels that are kept in memory, at most a third of what is available; the "
        "others are decoded whenever they are used.",
        Number(float, 0, MANY),
    )


@dataclasses.dataclass(frozen=True)
class Run:
    """How a run is called, started and repeated."""

    TITLE: ClassVar[str] = "The run"

    output_dir: str = knob("runs", "The folder that holds a folder per experiment.", FilePath())
    experiment: str = knob(
        "",
        "The name of the run and its folder; by default the flag file's stem, else the model.",
        Name(),
    )
    suite: tuple[str, ...] = knob(
        (),
        "Flag files of experiments to run in order; the other flags hold for each of them that "
        "has such a knob.",
        Several(FilePath(), "the paths of flag files", check=each_is_named),
        transient=True,
    )
    resume: bool = knob(
        False,
        "Starts a run, continues it or prints its result: whatever its folder calls for.",
        transient=True,
    )
    overwrite: bool = knob(
        False, "Replaces the run that is there, once the new one is finished.", transient=True
    )
    seed: int = knob(
        0,
        "The seed of weights, order, augmentation and dropout.",
        Number(int, 0, LARGEST_SEED),
    )
    seeds: tuple[str, ...] = knob(
        (),
        "Several seeds, to run the experiment NAME once for each, as NAME-seed0, ...",
        Several(Number(int, 0, LARGEST_SEED), f"whole numbers from 0 to {LARGEST_SEED}"),
        transient=True,
    )
    false_alarm_rate: float = knob(
        0.05,
        "The share of known images that `predict --unknown` may call unknown.",
        Number(float, 0, 1),
    )


@dataclasses.dataclass(frozen=True)
class Keras:
    """What the networks and the ensemble of them have."""

    TITLE: ClassVar[str] = "Keras models"

    export: bool = knob(
        False,
        "Writes the model as a SavedModel for TF Serving, too.",
        lack="TF Serving serves only Keras models",
    )
    batch_size: int = knob(
        32, "How many images a step takes, over all devices.", Number(int, 1, 2**16)
    )
    class_weight: tuple[str, ...] = knob(
        (),
        "How much an image of a class counts in the loss, as in 0:1.9,4:1.7; a class that is not "
        "named counts 1.",
        Several(
            ClassWeight(),
            "class:weight for each class once, as in 0:1.9,4:1.7",
            check=lambda pairs: len(dict(pairs)) == len(pairs),
        ),
        needs=conditions.GRADIENTS,
    )


@dataclasses.dataclass(frozen=True)
class Input:
    """How a network sees the images."""

    TITLE: ClassVar[str] = "What a network sees of the images"

    image_size: int = knob(
        128,
        "The side in pixels that images are resized to; 0 keeps their own size.",
        Number(int, 0, LARGEST_SIDE),
    )
    train_crop: int = knob(
        0,
        "The side of random crops to train on, while whole images are tested; images may then "
        "have many sizes. 0 trains on whole images.",
        Number(int, 0, LARGEST_SIDE),
    )
    test_crop: int = knob(
        0,
        "The side of the crops, up to 9, whose logits are averaged for an image that is larger; 0 "
        "takes it from what was trained on.",
        Number(int, 0, LARGEST_SIDE),
        needs=conditions.NATIVE,
    )
    on_small_image: str = knob(
        "pad",
        "Whether an image that is smaller than --train_crop is padded by its reflection or fails "
        "the run.",
        Choice("pad", "fail"),
        needs=conditions.NATIVE_CROPS,
    )
    augment: tuple[str, ...] = knob(
        ("flip", "rotate=10", "jitter=0.1"),
        "Training augmentations in their order, name or name=strength, or a preset: none, light "
        "(flips), forensic (flips, quarter turns, and to half of the images blur, JPEG or a resize "
        "and back), strong (rotation and jitter, too); empty for none.",
        Several(augmentation.Augmentation()),
    )
    mixup_alpha: float = knob(
        0.0,
        "MixUp with shares drawn from Beta(alpha, alpha); 0 for no MixUp.",
        Number(float, SMALLEST_ALPHA, 100, or_none=True),
        needs=conditions.GRADIENTS,
    )
    cutmix_alpha: float = knob(
        0.0,
        "CutMix with shares drawn from Beta(alpha, alpha); 0 for no CutMix.",
        Number(float, SMALLEST_ALPHA, 100, or_none=True),
        needs=conditions.GRADIENTS,
    )
    switch_prob: float = knob(
        0.5,
        "The share of batches that CutMix mixes, where MixUp mixes the others.",
        Number(float, 0, 1),
        needs=conditions.BOTH_MIXES,
    )
    sampling: str = knob(
        "shuffled",
        "How the training images are drawn: shuffled, or every class equally often (balanced).",
        Choice("shuffled", "balanced"),
        needs=conditions.GRADIENTS,
    )
    images_on: str = knob(
        "auto",
        "Where the training images lie and batches are made, on JAX: on the host, on the device, "
        "which then does many steps at once, or there if it is a GPU that has room for images of "
        "one size (auto). The batches are the same.",
        Choice("auto", "host", "device"),
        needs=conditions.GRADIENTS,
        transient=True,
    )
    data_service: str = knob(
        "",
        "grpc://HOST:PORT of a tf.data service, whose workers then make the training batches.",
        needs=conditions.GRADIENTS,
        transient=True,
    )


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a network is trained."""

    TITLE: ClassVar[str] = "How a network is trained"

    epochs: int = knob(
        50,
        "How many epochs are trained at most; early stopping may end sooner.",
        Number(int, 1, MANY),
    )
    optimizer: str = knob("sgd", "The optimizer; sgd has Nesterov momentum.", Choice(*OPTIMIZERS))
    learning_rate: float = knob(
        0.05, "The optimizer's learning rate at the start.", Number(float, 1e-12, LARGEST_RATE)
    )
    momentum: float = knob(
        0.9, "The momentum of SGD.", Number(float, 0, 0.9999), needs=conditions.SGD
    )
    weight_decay: float = knob(
        0.0,
        "Weight decay, apart from the gradient: adam with it is AdamW.",
        Number(float, 0, 100),
    )
    schedule: str = knob(
        "plateau",
        "How the learning rate falls: it is cut where the holdout loss stalls (plateau), or goes "
        "along a cosine to 0.",
        Choice("plateau", "cosine"),
    )
    plateau_factor: float = knob(
        0.5,
        "What the learning rate is multiplied by when the holdout loss stalls.",
        Number(float, 0.001, 0.999),
        needs=conditions.PLATEAU,
    )
    plateau_patience: int = knob(
        2,
        "Epochs without a better holdout loss before the learning rate is cut.",
        Number(int, 1, MANY),
        needs=conditions.PLATEAU,
    )
    early_stopping_patience: int = knob(
        10,
        "Epochs without a better holdout loss before training ends.",
        Number(int, 1, MANY),
    )
    ema: float = knob(
        0.0,
        "The momentum of a moving average of the weights, which is what counts; 0 for none. In the "
        "first steps it is less: t / (t + 9) after t of them.",
        Number(float, 0, 0.99999),
    )
    label_smoothing: float = knob(
        0.0,
        "The share of each label that is spread over all classes.",
        Number(float, 0, 0.5),
    )
    teacher: str = knob(
        "",
        "The run or .keras file whose answers a network learns, too (distillation); a bare name is "
        "a run within output_dir or, without one, a model that comes with dfk.",
        FilePath(),
    )
    teacher_share: float = knob(
        0.5,
        "The share of each label that the teacher's probabilities take.",
        Number(float, 0, 1),
        needs=conditions.TEACHER,
    )
    teacher_sees: str = knob(
        "drawn",
        "What the teacher answers to: the image as the network sees it (drawn), or as it was "
        "before --augment=degrade and its kind (clean).",
        Choice("drawn", "clean"),
        needs=conditions.CLEAN_VIEW,
    )
    outliers: str = knob(
        "",
        "A folder of images of none of the classes, photographs say: the network learns to answer "
        "them evenly, as often as it sees a class. A tenth is set aside, to measure it.",
        FilePath(),
        needs=conditions.OWN_BATCHES,
    )
    precision: str = knob(
        "auto",
        "What the network computes in; auto takes bfloat16 where the CPU or GPU computes in it.",
        Choice(*PRECISIONS),
    )
    strategy: str = knob(
        "none",
        "Who trains: one device (none), all of this machine (mirrored), all machines of TF_CONFIG "
        "(multi_worker), or a TPU.",
        Choice(*STRATEGIES),
        transient=True,
    )
