"""The crops of large images that a network is tested on: all that is scored is seen so."""

from __future__ import annotations

import numpy as np

from dfk import models
from dfk.config import Config
from dfk.data.catalog import Catalog, Split
from dfk.data.limits import Memory

# Pixels a side of the crops that a network is tested on: if it learned on smaller ones, and of any.
_TESTED, _LARGEST_CROP = 256, 1024


def tested_side(config: Config, data: Catalog) -> int:
    """The side of the crops that larger images are tested on; 0 where images are resized."""
    if config.input.image_size:
        return 0
    return config.input.test_crop or _trained_side(config, data.splits["train"])


def _trained_side(config: Config, train: Split) -> int:
    """The largest side of what a network of `config` sees in training, but for two things.

    One that minds no size is tested on more than the crops that it learned on, where images have
    more; and no crop has more than `_LARGEST_CROP` pixels a side.
    """
    largest = max(map(max, train.shapes))
    side = config.input.train_crop or largest
    if not models.KINDS[config.model].learns_size:
        side = max(side, min(largest, _TESTED))
    return min(side, _LARGEST_CROP)


def numbers(split: Split, side: int) -> np.ndarray:
    """How many crops of `side` each image is tested on, int [N]: 1 where it is whole."""
    if not side:
        return np.ones(len(split), int)
    memory = Memory(crops=((0, side),))
    return np.array([memory.crops_of(*shape) for shape in split.shapes], int)
