"""Images to be seen in a report: some of each class, what training makes of them, confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dfk.config.values import split as values_of
from dfk.data.catalog import Split
from dfk.reports.thumbnails import Thumbnail, thumbnail

CLASSES, OF_EACH = 8, 4
CELLS, OF_CELL = 6, 6
_SIDE = 96  # CSS pixels
_LARGEST = 512  # Pixels a side of what is augmented; no more is seen.


class Samples(NamedTuple):
    """Pictures for a report.

    Attributes:
        classes: name -> some of its images.
        augmented: name -> an image and what augmentation made of it; empty where nothing does.
        cells: (truth, answer) as indices -> some images of the largest confusions.
    """

    classes: Mapping[str, Sequence[Thumbnail]]
    augmented: Mapping[str, Sequence[Thumbnail]]
    cells: Mapping[tuple[int, int], Sequence[Thumbnail]]


NONE = Samples({}, {}, {})


def of_run(
    split: Split, probabilities: np.ndarray, names: Sequence[str], flags: Mapping[str, Any]
) -> Samples:
    """The pictures of a model that was scored on a split.

    Args:
        split: N images with their labels.
        probabilities: float [N, C], the answers.
        names: of the C classes.
        flags: of the training, as text; without `augment`, nothing was augmented.
    """
    of_class = {
        name: np.flatnonzero(split.labels == i)[:OF_EACH] for i, name in enumerate(names[:CLASSES])
    }
    of_class = {name: found for name, found in of_class.items() if len(found)}
    return Samples(
        {name: [_picture(split, i) for i in found] for name, found in of_class.items()},
        _augmented(split, {name: found[0] for name, found in of_class.items()}, flags),
        {cell: [_picture(split, i) for i in found[:OF_CELL]]
         for cell, found in largest_cells(split.labels, probabilities)},
    )  # fmt: skip


def largest_cells(
    labels: np.ndarray, probabilities: np.ndarray
) -> list[tuple[tuple[int, int], np.ndarray]]:
    """The (truth, answer) pairs with most wrong answers, and their images, the surest first."""
    answers, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    cells: dict[tuple[int, int], list[int]] = {}
    for i in np.argsort(-confidence, kind="stable"):
        if labels[i] != answers[i]:
            cells.setdefault((int(labels[i]), int(answers[i])), []).append(int(i))
    return sorted(cells.items(), key=lambda cell: (-len(cell[1]), cell[0]))[:CELLS]


def _picture(split: Split, index: int) -> Thumbnail:
    return thumbnail(split.images[int(index)], _SIDE)


def _augmented(
    split: Split, chosen: Mapping[str, int], flags: Mapping[str, Any]
) -> dict[str, list[Thumbnail]]:
    given = values_of(str(flags.get("augment") or ""))
    if not given:
        return {}
    import tensorflow as tf

    from dfk.data import augment

    steps, crop = augment.parse(given), int(flags.get("train_crop") or 0)
    shown = {}
    for number, (name, index) in enumerate(chosen.items()):
        image = split.images[int(index)][:_LARGEST, :_LARGEST]
        side = min(image.shape[:2])
        if any(step.name == "turn" for step in steps):
            image = image[:side, :side]
        draws = tf.repeat(image[None], OF_EACH - 1, axis=0)
        seed = tf.constant([0, number], tf.int64)
        draws = augment.augment(draws, steps, seed)
        if 0 < crop <= side:
            draws = augment.random_crop(draws, crop, seed)
        seen = np.clip(np.asarray(draws), 0, 255).round().astype(np.uint8)
        shown[name] = [thumbnail(each, _SIDE) for each in (image, *seen)]
    return shown
