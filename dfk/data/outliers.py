"""Images of none of the classes, photographs say: a network learns to answer them evenly.

Source: Hendrycks et al., 2019, "Deep Anomaly Detection with Outlier Exposure".
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from dfk.data import catalog, images, sources
from dfk.data.catalog import UNLABELLED, Catalog, Split
from dfk.data.excluded_class import SPLIT as UNKNOWN
from dfk.data.problems import DataError, Problem
from dfk.data.stored import Images
from dfk.errors import UsageError
from dfk.system import hardware

SPLIT = "outliers"  # Of the catalog: those to learn from
FEWEST = 10
# One in so many is set aside, to measure what was learned.
_ASIDE = 10
# What of the memory available the windows may take.
_KEPT = 0.1


def check(folder: str) -> None:
    """Says, before any image is opened, whether there are outliers to learn from.

    Raises:
        UsageError: if not.
    """
    if not os.path.isdir(folder):
        raise UsageError(f"--outliers={folder}: no such folder")
    if (count := len(_found(folder))) < FEWEST:
        raise UsageError(
            f"--outliers={folder} holds {count} images; {FEWEST} are needed, and hundreds help"
        )


def add(
    data: Catalog, folder: str, *, on_bad_image: str, cache_gib: float, windows: bool, seed: int
) -> Catalog:
    """Adds a folder's images to a catalog, as the split `outliers`.

    A tenth of them becomes the split `unknown`, unless a class that was left out is that already.

    Args:
        data: with images.
        folder: searched to the bottom.
        on_bad_image, cache_gib: as `images.load` takes them.
        windows: whether the network sees images whole, at their own size. Then windows stand for
            outliers, as large as images of train, or their size would give them away.
        seed: of the windows.

    Raises:
        DataError: naming the images that cannot be used.
    """
    paths = _found(folder)
    read = images.load(
        Catalog((), {SPLIT: _split(paths)}), on_bad_image=on_bad_image, cache_gib=cache_gib
    )
    loaded = read.splits[SPLIT]
    if len(loaded) < FEWEST:
        what = f"{len(loaded)} of its {len(paths)} images can be read; {FEWEST} are needed"
        raise DataError([Problem(f"--outliers={folder}", what)])
    splits, aside = dict(data.splits), 0
    if UNKNOWN not in splits:
        splits[UNKNOWN] = loaded.take(range(0, len(loaded), _ASIDE))
        loaded = loaded.take(i for i in range(len(loaded)) if i % _ASIDE)
        aside = len(splits[UNKNOWN])
    splits[SPLIT] = _as_many(loaded, data, windows=windows, seed=seed)
    logging.info(
        "%d images of %s are of no class: they are shown %d times an epoch%s; %d others are set "
        "aside.",
        len(loaded),
        folder,
        len(splits[SPLIT]),
        ", in windows as large as the training images" if windows else "",
        aside,
    )
    return dataclasses.replace(data, splits=splits, outliers=read.fingerprint)


def joined(data: Catalog) -> Catalog:
    """The catalog with its outliers among the images of train, where they have no label."""
    if SPLIT not in data.splits:
        return data
    both = catalog.joined(data.splits["train"], data.splits[SPLIT])
    return dataclasses.replace(data, splits={**data.splits, "train": both})


def _found(folder: str) -> list[Path]:
    return [Path(source.image) for source in sources.find([folder])]


def _split(paths: Sequence[Path]) -> Split:
    names = list(map(str, paths))
    return Split(
        ids=names, paths=paths, labels=np.full(len(paths), UNLABELLED, np.int32), origins=names
    )


def _as_many(split: Split, data: Catalog, *, windows: bool, seed: int) -> Split:
    """As many as a class has images on average: each again and again, or other windows of it."""
    train = data.splits["train"]
    count = max(len(split), len(train) // len(data.class_names))
    if not windows:
        return split.take(i % len(split) for i in range(count))
    largest = max(height * width * 3 for height, width in train.shapes)
    count = min(count, max(len(split), int(_KEPT * hardware.available_bytes() / largest)))
    rng = np.random.default_rng(seed)
    many = split.take(i % len(split) for i in range(count))
    sizes = [train.shapes[i] for i in rng.integers(len(train), size=count)]
    # In the order of the outliers: one that is decoded for it is decoded once.
    cut = {}
    for first in range(len(split)):
        image = split.images[first]
        for i in range(first, count, len(split)):
            cut[i] = _window(image, *sizes[i], rng)
    return dataclasses.replace(many, images=Images([cut[i] for i in range(count)]))


def _window(image: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random window of an image uint8 [H, W, 3]; what is smaller is continued as in a mirror."""
    down, right = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    if down or right:
        image = np.pad(image, [(0, down), (0, right), (0, 0)], mode="symmetric")
    top = rng.integers(image.shape[0] - height + 1)
    left = rng.integers(image.shape[1] - width + 1)
    return image[top : top + height, left : left + width].copy()
