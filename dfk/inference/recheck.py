"""Scores an image once more as it may be delivered: saved again, resized, cropped by a pixel.

An answer that such an everyday step changes was about how the file was saved, not about the
generator. The image and its deliveries are scored alike, and what is told of them is how likely its
label was: the geometric mean, which a single delivery that speaks against the label pulls down.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dfk.data.limits import Limits
from dfk.evaluation import degrade
from dfk.runs.columns import UNKNOWN, UNSURE
from dfk.system.threads import in_threads

# Pixels uint8 [H, W, 3] -> those of the image once delivered.
Delivery = Callable[[np.ndarray], np.ndarray]


def _cropped(image: np.ndarray) -> np.ndarray:
    """Without its first row and column, so that blocks of 8 x 8 begin elsewhere."""
    return np.ascontiguousarray(image[1:, 1:])


DELIVERIES: dict[str, Delivery] = {
    "JPEG 90": functools.partial(degrade.jpeg, quality=90),
    "JPEG 75": functools.partial(degrade.jpeg, quality=75),
    "resized 0.8": functools.partial(degrade.resize, factor=0.8),
    "cropped": _cropped,
}
# Below it the label is less likely than not.
LEAST = 0.5
_NEVER = 1e-4  # What counts as no probability at all: one delivery does not decide alone.
_BYTES_PER_PIXEL = 12  # Of one that is saved or resized, and read again


class Checked(NamedTuple):
    """What the deliveries of an image say of its label.

    Attributes:
        score: the probability of the label, 0..1, geometric mean over the image and its deliveries.
        doubts: the deliveries that get another label, and those that there are no answers for.
    """

    score: float
    doubts: tuple[str, ...]


def check(
    images: Sequence[np.ndarray | str],
    answers: Sequence[np.ndarray | str],
    answer: Callable[[list[np.ndarray | str]], list[np.ndarray | str]],
    limits: Limits,
    classes: int,
) -> list[Checked | None]:
    """Scores the deliveries of some images, one kind after the other.

    Args:
        images: uint8 [H, W, 3] of any sizes; a text is why there is none.
        answers: the probabilities of each, float32 [C] and perhaps features behind them, or a text.
        answer: gives the same for any images; texts stay.
        limits: what an image may be.
        classes: C.

    Returns:
        One for each image, None where `answers` has a text. No more than one delivery of each is
        in memory at a time.
    """
    found = [answers]
    for delivery in DELIVERIES.values():
        deliver = functools.partial(_delivered, delivery, limits)
        found.append(answer(list(in_threads(deliver, images, _bytes_of))))
    cut = [[x if isinstance(x, str) else x[:classes] for x in some] for some in found]
    return [None if isinstance(row[0], str) else _checked(row) for row in zip(*cut, strict=True)]


def label(given: str, score: float | None) -> str:
    """The label once it was checked: `unsure` where a class is given that did not last."""
    return given if score is None or score >= LEAST or given == UNKNOWN else UNSURE


def _checked(row: Sequence[np.ndarray | str]) -> Checked:
    """From the probabilities of an image and of each delivery, or why there are none."""
    named = row[0].argmax()
    there = [x for x in row if not isinstance(x, str)]
    likely = np.maximum([x[named] for x in there], _NEVER)
    score = np.exp(np.log(likely).mean())
    return Checked(float(np.float32(score)), tuple(_doubts(named, row[1:])))


def _doubts(named: int, others: Sequence[np.ndarray | str]) -> Iterator[str]:
    for name, other in zip(DELIVERIES, others, strict=True):
        if isinstance(other, str):
            yield f"not rechecked ({name})"
        elif other.argmax() != named:
            yield f"another class ({name})"


def _delivered(delivery: Delivery, limits: Limits, image: np.ndarray | str) -> np.ndarray | str:
    if isinstance(image, str):
        return image
    try:
        pixels = delivery(image)
    except (OSError, ValueError, MemoryError) as error:  # A JPEG has 65,500 pixels a side at most.
        return str(error)
    return limits.refusal(*pixels.shape[:2]) or pixels


def _bytes_of(image: np.ndarray | str) -> int:
    return 0 if isinstance(image, str) else _BYTES_PER_PIXEL * math.prod(image.shape[:2])
