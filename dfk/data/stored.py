"""Decoded images: some in memory, the others decoded from their files whenever they are used."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from dfk.data import decode

_CHANGED = "the file has changed since it was first read"


class File(NamedTuple):
    """An image that is not in memory: its file, a hash of what that holds, and (H, W, 3)."""

    path: Path
    digest: bytes
    shape: tuple[int, int, int]


class Images(Sequence[np.ndarray]):
    """N images uint8 [H, W, 3]; `images[i]` decodes what is not in memory.

    Attributes:
        kept: each as pixels, or as the file that they are in.
    """

    def __init__(self, kept: Sequence[np.ndarray | File]):
        self.kept = kept

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Images(self.kept[index])
        kept = self.kept[index]
        if isinstance(kept, File):
            return decode.decode(read(os.fsencode(kept.path), kept.digest)).numpy()
        return kept


def held(images: Sequence[np.ndarray]) -> Images:
    """The same as what can be referred to weakly, as a plain list cannot."""
    return images if isinstance(images, Images) else Images(images)


def kept_of(images: Sequence[np.ndarray]) -> Sequence[np.ndarray | File]:
    """What is held of each image; of a plain list, the pixels."""
    return images.kept if isinstance(images, Images) else images


def take(images: Sequence[np.ndarray], indices: Iterable[int]) -> Sequence[np.ndarray]:
    """Those at `indices`, in their order."""
    kept = kept_of(images)
    picked = [kept[i] for i in indices]
    return Images(picked) if isinstance(images, Images) else picked


def shapes_of(images: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """(H, W) of each image, none of which is decoded for it."""
    return [kept.shape[:2] for kept in kept_of(images)]


def files_of(images: Sequence[np.ndarray]) -> dict[int, File]:
    """The images that are not in memory, by index."""
    return {i: kept for i, kept in enumerate(kept_of(images)) if isinstance(kept, File)}


def read(path: tf.Tensor | bytes, digest: tf.Tensor | bytes) -> tf.Tensor:
    """The bytes of a file, string scalar, in a graph or outside.

    Raises:
        tf.errors.OpError: if it is gone, or its `digest` is another one: it has changed.
    """
    data = tf.io.read_file(path)
    check = tf.debugging.Assert(tf.equal(hash_of(data), digest), [_CHANGED, path])
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(data)


def hash_of(data: tf.Tensor) -> tf.Tensor:
    """FarmHash64 of bytes (string scalar), as a string: a decimal number."""
    value = tf.bitcast(tf.fingerprint(data[None])[0], tf.uint64)
    return tf.strings.as_string(value)


def is_as_before(file: File) -> bool:
    """Whether the file still holds what it held."""
    try:
        read(os.fsencode(file.path), file.digest)
    except tf.errors.OpError:
        return False
    return True
