"""Graph functions from the number of an image to its pixels: all of it, or a window of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dfk.data import stored
from dfk.data.catalog import Split
from dfk.data.decode import decode

# Windows begin at multiples of it, as the blocks of a JPEG do: what is saved again in training, as
# whole images are, keeps their grid.
GRID = 16

# From the index of an image and the rows and columns that are wanted to uint8 [rows, columns, 3].
Read = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def whole(split: Split, *, from_files: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph function from an index to a whole image, uint8 [H, W, 3].

    Args:
        from_files: for other processes, which do not have what is in memory here.
    """
    if from_files:
        paths = tf.constant([os.path.abspath(path) for path in split.paths])
        return lambda index: decode(tf.io.read_file(tf.gather(paths, index)))
    return _either(split.images, _in_memory(split.images), _in_file(split.images))


def windows(
    split: Split, side: int, *, from_files: bool
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A graph function from indices [B] and places, int64 [B, 2], to uint8 [B, side, side, 3].

    A place is the window's first row and column. What lies outside of an image is its reflection.
    """
    shapes = tf.constant(split.shapes, tf.int64)
    if from_files:
        read = _window_of(whole(split, from_files=True))
    else:
        held = _window_in_memory(split.images)
        read = _either(split.images, held, _window_of(_in_file(split.images)))

    def one(index_and_place: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        index, place = index_and_place
        height, width = tf.unstack(tf.gather(shapes, index))
        rows, columns = _reflected(place[0], side, height), _reflected(place[1], side, width)
        return tf.ensure_shape(read(index, rows, columns), [side, side, 3])

    return lambda indices, places: in_turn(one, (indices, places), [side, side, 3], tf.uint8)


def in_turn(one: Callable, elements, shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    """What `one` gives for each element, stacked; one image is held at a time."""
    spec = tf.TensorSpec(shape, dtype)
    return tf.map_fn(one, elements, fn_output_signature=spec, parallel_iterations=1)


def drawn_places(sizes: tf.Tensor, side: int, grid: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws where windows of `side` begin in images of `sizes`, int64 [B, 2], stateless.

    They begin at multiples of `grid` and lie inside; an image that is smaller is in their middle.
    """
    drawn = tf.random.stateless_uniform(tf.shape(sizes), seed)
    room = sizes - side
    steps = tf.cast(room // grid + 1, tf.float32)
    inside = grid * tf.cast(drawn * steps, tf.int64)
    return tf.where(room < 0, room // 2, inside)


def spread_places(sizes: tf.Tensor, side: int, shares: tf.Tensor) -> tf.Tensor:
    """The same at `shares`, float [B, 2] in 0..1, of the room that there is."""
    room = sizes - side
    inside = tf.cast(shares * tf.cast(room, tf.float32), tf.int64)
    return tf.where(room < 0, room // 2, inside)


def _reflected(start: tf.Tensor, count: int, length: tf.Tensor) -> tf.Tensor:
    """`count` places from `start` on among `length` that are reflected at both ends, over again."""
    period = tf.maximum(2 * (length - 1), 1)
    places = (start + tf.range(count, dtype=tf.int64)) % period
    return tf.minimum(places, period - places)


def _either(images: Sequence[np.ndarray], in_memory: Callable, in_file: Callable) -> Callable:
    """Reads each image from where it is."""
    files = stored.files_of(images)
    if not files:
        return in_memory
    if len(files) == len(images):
        return in_file
    is_file = tf.constant([i in files for i in range(len(images))])

    def read(index: tf.Tensor, *where: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.gather(is_file, index),
            lambda: in_file(index, *where),
            lambda: in_memory(index, *where),
        )

    return read


def _in_memory(images: Sequence[np.ndarray]) -> Callable[[tf.Tensor], tf.Tensor]:
    kept = stored.kept_of(images)

    def read(index: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(lambda i: kept[i], [index], tf.uint8, stateful=False)
        return tf.ensure_shape(image, [None, None, 3])

    return read


def _window_in_memory(images: Sequence[np.ndarray]) -> Read:
    kept = stored.kept_of(images)

    def cut(index: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return kept[index][rows[:, None], columns]

    def read(index: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        inputs = [index, rows, columns]
        return tf.numpy_function(cut, inputs, tf.uint8, stateful=False)

    return read


def _in_file(images: Sequence[np.ndarray]) -> Callable[[tf.Tensor], tf.Tensor]:
    files = stored.files_of(images)
    kept = [files.get(i) for i in range(len(images))]
    paths = tf.constant([os.fsencode(file.path) if file else b"" for file in kept])
    digests = tf.constant([file.digest if file else b"" for file in kept])

    def read(index: tf.Tensor) -> tf.Tensor:
        return decode(stored.read(tf.gather(paths, index), tf.gather(digests, index)))

    return read


def _window_of(read: Callable[[tf.Tensor], tf.Tensor]) -> Read:
    """Cuts a window out of an image that is read whole."""

    def window(index: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.gather(read(index), rows), columns, axis=1)

    return window
