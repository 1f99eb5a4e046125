"""What is measured on a GPU: networks as their flag files train them, at two sizes and batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

CLASSES = 5
_RESIDUAL = (
    *("--model=residual", "--augment=flip", "--cutmix_alpha=1", "--schedule=cosine", "--ema=0.998"),
    "--weight_decay=0.0005",
)
_WIDE = ("--high_pass", "--optimizer=adam", "--learning_rate=0.0015", "--weight_decay=0.05")
# By the flag file: what of it says how a step goes. A batch and its side are the benchmark's.
FLAGS: dict[str, tuple[str, ...]] = {
    "deepfakenet": ("--model=deepfakenet",),
    "residual": _RESIDUAL,
    "residual_wide": (*_RESIDUAL, *_WIDE, "--filters=48,96,192,384"),
    "vgg16": (
        *("--model=vgg16", "--vgg16_weights=none", "--augment=flip", "--optimizer=adam"),
        *("--learning_rate=5e-4", "--schedule=cosine", "--class_weight=4:1.7"),
        *("--cutmix_alpha=0.2", "--mixup_alpha=0.2"),
    ),
}
TITLES = {
    "deepfakenet": "DeepFakeNet",
    "residual": "residual",
    "residual_wide": "residual_wide",
    "vgg16": "VGG16",
}


class Case(NamedTuple):
    """A network at a side, in batches of a size."""

    network: str
    side: int
    batch: int

    @property
    def title(self) -> str:
        """As rows call it."""
        return f"{TITLES[self.network]} at {self.side}, batch {self.batch}"


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        cases: those that matter most first: time may end before they do.
        images: of the training set, random ones; a quarter of their side is cropped away.
        seconds: that a figure is measured for.
        budget: seconds for all; `inf` for no end.
        compiled: whether PyTorch compiles, too.
        whole: images, side, crop, batch and epochs of a whole training of residual_wide.
        files: PNGs of 100x100 and JPEGs of a megapixel that are scored.
        matrix: side of the matrices that are multiplied.
        on_gpu: whether nothing is measured without a GPU.
    """

    cases: tuple[Case, ...]
    images: int = 10_240
    seconds: float = 1.0
    budget: float = 440.0
    compiled: bool = True
    whole: tuple[int, int, int, int, int] = (10_125, 100, 80, 64, 75)
    files: tuple[int, int] = (4096, 256)
    matrix: int = 8192
    on_gpu: bool = True


PLAN = Plan(
    tuple(
        Case(network, side, batch)
        for side, batch in ((100, 64), (128, 256), (100, 256), (128, 64))
        for network in FLAGS
    )
)


def config_of(case: Case, *more: str) -> Any:
    """The experiment of a case, as `dfk train` would have it."""
    from dfk import config

    flags = [
        *("--data_dir=benchmark", "--images_on=device", "--image_size=0"),
        *(f"--train_crop={case.side}", f"--batch_size={case.batch}", "--epochs=1000000"),
        *(*FLAGS[case.network], *more),
    ]
    return config.parse(flags)[0]


def asked(side: object, do: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What a side answers to a question; the `problem` where it fails, so that it can go on."""
    try:
        return getattr(side, do)(**arguments)
    except Exception as error:
        return {"problem": problem_of(error)}


def problem_of(error: Exception) -> str:
    """An error in a line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
