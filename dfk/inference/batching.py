"""A stream of images of any sizes, cut into batches of one size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

# Images wait for a batch of their size, but no more than these.
_WINDOW_BATCHES, _WINDOW_BYTES = 4, 2**27


def windows(
    decoded: Iterable[np.ndarray | str], batch_size: int
) -> Iterator[list[np.ndarray | str]]:
    """Cuts a stream where images of one size fill a batch, or too many wait for theirs."""
    window, sizes, held = [], Counter(), 0
    for image in decoded:
        window.append(image)
        if not isinstance(image, str):
            sizes[image.shape] += 1
            held += image.nbytes
        full = sizes and max(sizes.values()) >= batch_size
        if full or held >= _WINDOW_BYTES or len(window) >= _WINDOW_BATCHES * batch_size:
            yield window
            window, sizes, held = [], Counter(), 0
    if window:
        yield window


def by_size(window: list[np.ndarray | str]) -> list[list[int]]:
    """Indices of the images of a window, those of one size together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(window):
        if not isinstance(image, str):
            groups.setdefault(image.shape, []).append(i)
    return list(groups.values())
