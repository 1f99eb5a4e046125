"""What other knobs must be for one to have an effect."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import NamedTuple

from dfk.config.augmentation import degrades, parse

if typing.TYPE_CHECKING:
    from dfk.config.experiment import Config


class Needs(NamedTuple):
    """What must hold for a knob to have an effect.

    Attributes:
        knobs: those that decide it.
        hold: whether they let it have one.
        text: that, in flags.
    """

    knobs: tuple[str, ...]
    hold: Callable[[Config], bool]
    text: str


NATIVE = Needs(("image_size",), lambda c: c.input.image_size == 0, "--image_size=0")
GRADIENTS = Needs(
    ("model",), lambda c: not c.options.closed_form, "a --model that learns by gradients"
)
PLATEAU = Needs(("schedule",), lambda c: c.fit.schedule == "plateau", "--schedule=plateau")
SGD = Needs(("optimizer",), lambda c: c.fit.optimizer == "sgd", "--optimizer=sgd")
NATIVE_CROPS = Needs(
    ("train_crop", "image_size"),
    lambda c: c.input.train_crop > 0 and not c.input.image_size,
    "--train_crop and --image_size=0",
)
TEACHER = Needs(("teacher",), lambda c: bool(c.fit.teacher), "--teacher")
OWN_BATCHES = Needs(
    ("teacher", "data_service"),
    lambda c: not (c.fit.teacher or c.input.data_service),
    "no --teacher, which knows no outliers, and no --data_service",
)
CLEAN_VIEW = Needs(
    ("teacher", "augment"),
    lambda c: bool(c.fit.teacher) and degrades(parse(c.input.augment)),
    "--teacher and an --augment that degrades (degrade, jpeg, noise, ...)",
)
BOTH_MIXES = Needs(
    ("mixup_alpha", "cutmix_alpha"),
    lambda c: c.input.mixup_alpha > 0 and c.input.cutmix_alpha > 0,
    "--mixup_alpha and --cutmix_alpha",
)
GIVEN_WEIGHTS = Needs(
    ("weights", "vgg16_weights"),
    lambda c: bool(c.starts_with),
    "--weights (or --vgg16_weights) other than none",
)
NO_WEIGHTS = Needs(("weights",), lambda c: not c.start.weights, "an empty --weights")
FIXED_FEATURES = Needs(
    ("weights", "vgg16_weights", "head_epochs", "mixup_alpha", "cutmix_alpha"),
    lambda c: c.options.has_fixed_part(c) and not (c.input.mixup_alpha or c.input.cutmix_alpha),
    "a part that stays fixed (all but rich need --weights and --head_epochs), and without "
    "--mixup_alpha and --cutmix_alpha",
)
