"""The augmentations by name: their strengths, and how `--augment` is read.

What they do is in `dfk.data.augment`, which needs TensorFlow; this does not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from dfk.errors import UsageError


class Step(NamedTuple):
    """One augmentation and its strength, as parsed from `name` or `name=strength`."""

    name: str
    strength: float


class _Strength(NamedTuple):
    """The default, what it is, and its bounds; it is above 0, too."""

    default: float
    what: str
    low: float
    high: float


# What `degrade` does to images
DEGRADATIONS = ("gaussian", "jpeg", "resize", "noise", "tone", "cut")

STRENGTHS = {
    "flip": _Strength(0.5, "a probability", 0, 1),
    "vflip": _Strength(0.5, "a probability", 0, 1),
    "turn": _Strength(0.75, "a probability", 0, 1),
    "rotate": _Strength(10.0, "the largest angle in degrees", 0, 180),
    "jitter": _Strength(0.1, "the largest change of a factor", 0, 1),
    "blur": _Strength(2.0, "the largest sigma in pixels", 0.01, 100),
    "gaussian": _Strength(2.0, "the largest sigma in pixels", 0.01, 100),
    "resize": _Strength(0.5, "the smallest factor", 0, 1),
    "jpeg": _Strength(30.0, "the lowest quality", 1, 100),
    "noise": _Strength(11.0, "the largest sigma, of 255", 0.1, 255),
    "tone": _Strength(0.35, "the largest change of a factor", 0, 0.95),
    "cut": _Strength(0.25, "the largest share of a side", 0, 0.95),
    "degrade": _Strength(0.5, "a probability", 0, 1),
    **{f"degrade_without_{name}": _Strength(0.5, "a probability", 0, 1) for name in DEGRADATIONS},
}

# Degrading comes last: an image is turned before it is saved, and its pixels stay whole.
PRESETS: dict[str, tuple[str, ...]] = {
    "none": (),
    "light": ("flip=0.5", "vflip=0.5"),
    "forensic": ("flip=0.5", "turn=0.75", "degrade=0.5"),
    "strong": ("flip=0.5", "turn=0.75", "rotate=10", "jitter=0.1", "degrade=0.8"),
}


def degrades(steps: Sequence[Step]) -> bool:
    """Whether what happens to images on their way is among the steps."""
    return any(step.name in DEGRADATIONS or step.name.startswith("degrade") for step in steps)


def expand(spec: Sequence[str]) -> tuple[str, ...]:
    """Puts the steps of a preset where its name stands; all else stays as it is."""
    steps = [PRESETS.get(item.strip(), (item,)) for item in spec]
    return tuple(itertools.chain.from_iterable(steps))


def parse(spec: Sequence[str]) -> tuple[Step, ...]:
    """Reads `["flip", "rotate=15"]`, or the name of a preset, `["forensic"]`.

    Raises:
        UsageError: for an unknown name, or a strength that its augmentation does not take.
    """
    return tuple(_step(item) for item in expand(spec))


def _step(item: str) -> Step:
    name, separator, text = item.strip().partition("=")
    if name in PRESETS:
        raise UsageError(f"{item!r}: a preset takes no strength; its steps do")
    if name not in STRENGTHS:
        raise UsageError(
            f"no augmentation {name!r}; there are {', '.join(STRENGTHS)}, "
            f"and the presets {', '.join(PRESETS)}"
        )
    default, what, low, high = STRENGTHS[name]
    if not separator:
        return Step(name, default)
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if not 0 < strength < math.inf:
        raise UsageError(f"{item!r}: the strength must be a positive number")
    if not low <= strength <= high:
        raise UsageError(f"{item!r}: the strength is {what}, from {low} to {high}")
    return Step(name, strength)


class Augmentation:
    """An item of `--augment`."""

    allowed = "name, name=strength or a preset"

    def read(self, text: str) -> tuple[Step, ...]:
        """Its steps."""
        return parse([text])
