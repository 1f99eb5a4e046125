"""Decodes a catalog's images, as uint8: what fits stays in memory, the rest is read when used."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from dfk.data import decode
from dfk.data.catalog import Catalog, Split
from dfk.data.problems import DataError, Problem, describe
from dfk.data.stored import File, Images, files_of, hash_of, is_as_before
from dfk.system import hardware
from dfk.system.progress import Bar

# A file of this many bytes a pixel may be in work: what it holds, and what the decoder makes of it.
_DECODER = 12
# What of the memory available the pixels that are kept may take, and the images in work.
_KEPT, _IN_WORK = 1 / 3, 1 / 4


def load(catalog: Catalog, *, on_bad_image: str = "fail", cache_gib: float = 4.0) -> Catalog:
    """Decodes every image of `catalog`.

    Args:
        on_bad_image: `fail`, or `skip` to leave out images that are missing or cannot
            be decoded and say which.
        cache_gib: GiB of pixels kept in memory, at most a third of what is available; images
            beyond are decoded from their files whenever they are used.

    Returns:
        The catalog with `Split.images` and `fingerprint` set. With `skip` its `problems`
        are the images left out.

    Raises:
        DataError: naming all that is wrong, the catalog's own problems included.
    """
    budget = min(cache_gib * 2**30, _KEPT * hardware.available_bytes())
    problems = list(catalog.problems)
    digests = []
    images: dict[str, dict] = {name: {} for name in catalog.splits}
    places = [(name, i) for name, split in catalog.splits.items() for i in range(len(split))]
    paths = [path for split in catalog.splits.values() for path in split.paths]
    with Bar(total=len(paths), desc="decoding", unit=" images", delay=2, leave=False) as bar:
        for place, image, digest in _decoded(paths):
            name, index = places[place]
            fits = image.nbytes <= budget
            budget -= image.nbytes * fits
            # What tf.data gives takes twice its size of address space, which `ulimit -v` counts.
            images[name][index] = image.copy() if fits else File(paths[place], digest, image.shape)
            digests.append(_digest(name, catalog.splits[name], index, catalog.class_names, image))
            bar.update()
    for name, index in places:
        if index not in images[name]:
            split = catalog.splits[name]
            what = _reason(split.paths[index])
            problems.append(Problem(_where(split, index), what, skippable=True))
    splits = {}
    for name, held in images.items():
        kept = sorted(held)
        pixels = Images([held[index] for index in kept])
        splits[name] = dataclasses.replace(catalog.splits[name].take(kept), images=pixels)
    skipped = [problem for problem in problems if problem.skippable]
    if on_bad_image == "fail" or len(skipped) < len(problems):
        if problems:
            raise DataError(problems)
    elif skipped:
        logging.warning(f"Skipped {len(skipped)} images:\n{describe(skipped)}")
    _tell_of_files(splits)
    fingerprint = hashlib.sha256(b"".join(sorted(digests))).hexdigest()
    return dataclasses.replace(
        catalog, splits=splits, problems=tuple(skipped), fingerprint=fingerprint
    )


def _tell_of_files(splits: Mapping[str, Split]) -> None:
    files = sum(len(files_of(split.images)) for split in splits.values())
    if files:
        every = sum(map(len, splits.values()))
        logging.info(
            "%d of %d images exceed --cache_gib, or a third of the memory available: they are "
            "decoded from their files whenever they are used.",
            files,
            every,
        )


@contextlib.contextmanager
def unchanged(catalog: Catalog) -> Iterator[None]:
    """Turns what TensorFlow raises of a file that has changed since `load` into a plain message.

    Raises:
        DataError: naming the files.
    """
    try:
        yield
    except tf.errors.OpError as error:
        changed = [
            Problem(_where(split, i), "has changed or is gone since it was first read; start again")
            for split in catalog.splits.values()
            for i, file in files_of(split.images).items()
            if not is_as_before(file)
        ]
        if not changed:
            raise
        raise DataError(changed) from error


def _decoded(paths: list[Path]) -> Iterator[tuple[int, np.ndarray, bytes]]:
    """Yields (index, uint8 [H, W, 3], hash of the file) as images are ready; some fail."""
    if not paths:
        return

    def decoded(index: tf.Tensor, path: tf.Tensor):
        data = tf.io.read_file(path)
        return index, decode.decode(data), hash_of(data)

    # One graph for all splits: to make ready what decodes every format takes half a second.
    files = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths])
    images = (
        files.enumerate()
        .map(decoded, num_parallel_calls=_at_once(), deterministic=False)
        .ignore_errors()
    )
    for index, image, digest in images.as_numpy_iterator():
        yield int(index), image, digest


def _at_once() -> int:
    """How many files may be in work, each perhaps as large as an image may be."""
    most = _IN_WORK * hardware.available_bytes() / (_DECODER * decode.MAX_PIXELS)
    return max(1, min(hardware.cores(), int(most)))


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
