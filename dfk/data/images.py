"""Decodes a catalog's images once, as uint8: in memory up to a budget, the rest on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from dfk.data import decode
from dfk.data.catalog import Catalog, Split
from dfk.data.problems import DataError, Problem, describe
from dfk.system.progress import Bar


class _Store:
    """Keeps arrays in memory while they fit a budget, then in a file that no one else sees."""

    def __init__(self, budget: int, spill_dir: Path):
        self._budget = budget
        self._spill_dir = spill_dir
        self._file = None

    def keep(self, image: np.ndarray) -> np.ndarray | tuple[int, tuple[int, ...]]:
        """Takes an image; returns it, or where it was put in the file: (offset, shape)."""
        self._budget -= image.nbytes
        if self._budget >= 0:
            return image
        if self._file is None:
            self._spill_dir.mkdir(parents=True, exist_ok=True)
            # Without a name: the system removes it when the process ends, however it ends.
            self._file = tempfile.TemporaryFile(dir=self._spill_dir)  # noqa: SIM115
            logging.info("The images exceed --cache_gib; the rest is cached in %s", self._spill_dir)
        offset = self._file.tell()
        self._file.write(image.data)
        return offset, image.shape

    def reader(self) -> Callable[[np.ndarray | tuple[int, tuple[int, ...]]], np.ndarray]:
        """Turns what `keep` returned into uint8 [H, W, 3], read from disk when it is used."""
        if self._file is None:
            return lambda kept: kept
        self._file.flush()
        # One map for all: the system limits their number to some 65,000.
        with self._file:  # The map outlives it.
            pixels = np.memmap(self._file, np.uint8, "r")

        def read(kept):
            if isinstance(kept, np.ndarray):
                return kept
            offset, shape = kept
            return pixels[offset : offset + math.prod(shape)].reshape(shape)

        return read


def load(
    catalog: Catalog, *, on_bad_image: str = "fail", cache_gib: float = 4.0, spill_dir: Path
) -> Catalog:
    """Decodes every image of `catalog`.

    Args:
        on_bad_image: `fail`, or `skip` to leave out images that are missing or cannot
            be decoded and say which.
        cache_gib: GiB of pixels kept in memory; what exceeds them goes to `spill_dir`.
        spill_dir: a folder on disk, made if needed.

    Returns:
        The catalog with `Split.images` and `fingerprint` set. With `skip` its `problems`
        are the images left out.

    Raises:
        DataError: naming all that is wrong, the catalog's own problems included.
    """
    store = _Store(int(cache_gib * 2**30), spill_dir)
    problems = list(catalog.problems)
    digests = []
    images: dict[str, dict] = {name: {} for name in catalog.splits}
    places = [(name, i) for name, split in catalog.splits.items() for i in range(len(split))]
    paths = [path for split in catalog.splits.values() for path in split.paths]
    with Bar(total=len(paths), desc="decoding", unit=" images", delay=2, leave=False) as bar:
        for place, image in _decoded(paths):
            name, index = places[place]
            images[name][index] = store.keep(image)
            digests.append(_digest(name, catalog.splits[name], index, catalog.class_names, image))
            bar.update()
    for name, index in places:
        if index not in images[name]:
            split = catalog.splits[name]
            what = _reason(split.paths[index])
            problems.append(Problem(_where(split, index), what, skippable=True))
    read = store.reader()
    splits = {}
    for name, held in images.items():
        kept = sorted(held)
        splits[name] = dataclasses.replace(
            catalog.splits[name].take(kept), images=[read(held[index]) for index in kept]
        )
    skipped = [problem for problem in problems if problem.skippable]
    if on_bad_image == "fail" or len(skipped) < len(problems):
        if problems:
            raise DataError(problems)
    elif skipped:
        logging.warning(f"Skipped {len(skipped)} images:\n{describe(skipped)}")
    fingerprint = hashlib.sha256(b"".join(sorted(digests))).hexdigest()
    return dataclasses.replace(
        catalog, splits=splits, problems=tuple(skipped), fingerprint=fingerprint
    )


def _decoded(paths: list[Path]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (index, uint8 [H, W, 3]) as images are ready, leaving out those that fail."""
    if not paths:
        return
    # One graph for all splits: to make ready what decodes every format takes half a second.
    files = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths])
    images = (
        files.enumerate()
        .map(
            lambda index, path: (index, decode.decode(tf.io.read_file(path))),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=False,
        )
        .ignore_errors()
    )
    for index, image in images.as_numpy_iterator():
        yield int(index), image


def _reason(path: Path) -> str:
    try:
        return decode.reason(path.read_bytes()) or "could not be read at first, try again"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _where(split: Split, index: int) -> str:
    origin, path = split.origins[index], split.paths[index]
    return origin if origin.endswith(path.name) else f"{origin}, {path.name}"


def _digest(
    name: str, split: Split, index: int, class_names: tuple[str, ...], image: np.ndarray
) -> bytes:
    label = split.labels[index]
    key = (name, split.ids[index], class_names[label] if label >= 0 else "", image.shape)
    return hashlib.sha256(repr(key).encode() + image.tobytes()).digest()
