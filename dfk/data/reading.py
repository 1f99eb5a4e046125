"""Graph functions from the numbers of images to their pixels: whole, resized, or a window each."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dfk.data import decode, stored
from dfk.data.catalog import Split
from dfk.layers import Resizing

# Windows begin at multiples of it, as the blocks of a JPEG do: what is saved again in training, as
# whole images are, keeps their grid.
GRID = 16

# From sizes int64 [B, 2] to the first row and column of a window in each, the same.
Places = Callable[[tf.Tensor], tf.Tensor]
# From the index of an image and the rows and columns that are wanted to uint8 [rows, columns, 3].
Read = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def fetcher(
    split: Split, image_size: int = 0, side: int = 0, *, from_files: bool = False
) -> Callable[[tf.Tensor, Places], tf.Tensor]:
    """A graph function from indices [B] to images [B, H, W, 3]: uint8, or float32 if resized.

    Images of a batch that are neither resized nor cut must have one size. Values that are no
    pixels, of one size, stay as they are.

    What is in memory is referred to weakly, since TensorFlow keeps what a graph calls in Python
    until the process ends: whoever uses the function holds `split.images`.

    Args:
        split: whose images are `stored.Images`.
        image_size: side that images are resized to; 0 keeps their size.
        side: of the window that is cut out of each that is not resized; 0 for whole images.
        from_files: for other processes, which do not have what is in memory here.

    Returns:
        It takes, besides, a function from sizes int64 [B, 2] to where windows begin.
    """
    if side and not image_size:
        sizes = tf.constant(split.shapes, tf.int64)
        cut = windows(split, side, from_files=from_files)
        return lambda indices, places: cut(indices, places(tf.gather(sizes, indices)))
    # The layer that the model holds, so that training and serving resize alike.
    resize = Resizing(image_size, image_size) if image_size else None
    read = _whole(split, from_files=from_files)
    is_one_size = len(set(split.shapes)) == 1
    first = stored.kept_of(split.images)[0]
    images = weakref.ref(split.images)
    shape = first.shape if is_one_size else [None, None, 3]

    def same_size(indices: tf.Tensor, _: Places) -> tf.Tensor:
        if from_files or stored.files_of(split.images):
            batch = _in_turn(read, indices, shape, tf.uint8)
        else:
            batch = tf.numpy_function(
                lambda rows: np.stack([images()[i] for i in rows]),
                [indices],
                first.dtype,
                stateful=False,
            )
        batch = tf.ensure_shape(batch, [indices.shape[0], *shape])
        return resize(batch) if resize else batch

    def any_size(indices: tf.Tensor, _: Places) -> tf.Tensor:
        resized = [image_size, image_size, 3]
        return _in_turn(lambda index: resize(read(index)), indices, resized, tf.float32)

    return any_size if resize and not is_one_size else same_size


def windows(
    split: Split, side: int, *, from_files: bool
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A graph function from indices [B] and places, int64 [B, 2], to uint8 [B, side, side, 3].

    A place is the window's first row and column. What lies outside of an image is its reflection.
    """
    shapes = tf.constant(split.shapes, tf.int64)
    read = _part_of_file(_content(split, from_files=from_files))
    if not from_files:
        read = _either(split.images, _part_in_memory(split.images), read)

    def one(index_and_place: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        index, place = index_and_place
        height, width = tf.unstack(tf.gather(shapes, index))
        rows, columns = _reflected(place[0], side, height), _reflected(place[1], side, width)
        return tf.ensure_shape(read(index, rows, columns), [side, side, 3])

    return lambda indices, places: _in_turn(one, (indices, places), [side, side, 3], tf.uint8)


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


def _whole(split: Split, *, from_files: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph function from an index to a whole image, uint8 [H, W, 3]."""
    content = _content(split, from_files=from_files)
    in_file = lambda index: decode.decode(content(index))  # noqa: E731
    return in_file if from_files else _either(split.images, _in_memory(split.images), in_file)


def _in_turn(one: Callable, elements, shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    """What `one` gives for each element, stacked; one image is held at a time."""
    spec = tf.TensorSpec(shape, dtype)
    return tf.map_fn(one, elements, fn_output_signature=spec, parallel_iterations=1)


def _either(images: stored.Images, in_memory: Callable, in_file: Callable) -> Callable:
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


def _in_memory(images: stored.Images) -> Callable[[tf.Tensor], tf.Tensor]:
    images = weakref.ref(images)

    def read(index: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(lambda i: images().kept[i], [index], tf.uint8, stateful=False)
        return tf.ensure_shape(image, [None, None, 3])

    return read


def _part_in_memory(images: stored.Images) -> Read:
    images = weakref.ref(images)

    def cut(index: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return images().kept[index][rows[:, None], columns]

    def read(index: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        inputs = [index, rows, columns]
        return tf.numpy_function(cut, inputs, tf.uint8, stateful=False)

    return read


def _part_of_file(content: Callable[[tf.Tensor], tf.Tensor]) -> Read:
    def read(index: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        start = tf.stack([tf.reduce_min(rows), tf.reduce_min(columns)])
        end = tf.stack([tf.reduce_max(rows), tf.reduce_max(columns)]) + 1
        part = decode.decode_part(content(index), tf.concat([start, end - start], 0))
        return tf.gather(tf.gather(part, rows - start[0]), columns - start[1], axis=1)

    return read


def _content(split: Split, *, from_files: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph function from an index to the bytes of its file."""
    if from_files:
        paths = tf.constant([os.fsencode(os.path.abspath(path)) for path in split.paths])
        return lambda index: tf.io.read_file(tf.gather(paths, index))
    files = stored.files_of(split.images)
    kept = [files.get(i) for i in range(len(split))]
    paths = tf.constant([os.fsencode(file.path) if file else b"" for file in kept])
    digests = tf.constant([file.digest if file else b"" for file in kept])
    return lambda index: stored.read(tf.gather(paths, index), tf.gather(digests, index))
