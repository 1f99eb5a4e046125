"""What is counted in an image, counted tile after tile, so that memory does not grow with it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import keras
from keras import ops

from dfk.layers.sizes import largest, least

# Pixels of a tile: enough to make up for starting each operation, few enough for a CPU's cache.
_SIDE, _IMAGES = 512, 32  # A side at most, and small images at most that are one tile

_PORTABLE: ContextVar[bool] = ContextVar("portable", default=False)


class Tile(NamedTuple):
    """A part of some images. It overlaps the next one; each place is the own of one tile alone.

    Attributes:
        images: [n, h, w, 3].
        first: the image, row and column where its own places begin.
        number: how many images, rows and columns of own places there are from there on, at most.
    """

    images: Any
    first: tuple
    number: tuple

    def own(self, margins: tuple[int, int], width) -> list:
        """Where patterns begin that are the tile's to count.

        Args:
            margins: how many rows and columns a pattern has beside its first.
            width: how many columns to answer for.

        Returns:
            bool [n], [h] and [width]: a place is the tile's own where all three are true.
        """
        own = []
        for axis, (side, margin) in enumerate(
            zip(ops.shape(self.images)[:3], (0, *margins), strict=True)
        ):
            first = self.first[axis]
            end = least(first + self.number[axis], side - margin)
            at = ops.arange(width if axis == 2 else side, dtype="int32")
            own.append((at >= first) & (at < end))
        return own

    def turned(self) -> Tile:
        """The same whose rows are columns."""
        first, number = ((n, x, y) for n, y, x in self[1:])
        return Tile(ops.swapaxes(self.images, 1, 2), first, number)


class _Axis(NamedTuple):
    """The images, rows or columns: how many, and how many tiles take `step` of them each."""

    side: Any
    tiles: Any
    step: Any
    size: Any

    @classmethod
    def divided(cls, side, most, overlap: int) -> _Axis:
        """Into tiles of about as many, `most` at most, and what they overlap."""
        tiles = -(-side // most)
        step = -(-side // largest(tiles, 1))
        return cls(side, tiles, step, least(step + overlap, side))

    def begin(self, number) -> tuple:
        """Where a tile begins, and how far from there what no other one has."""
        # The last begins earlier, where part of it is another's, instead of being smaller.
        start = least(number * self.step, self.side - self.size)
        return start, number * self.step - start


def summed(
    images,
    count: Callable[[Tile], Any],
    numbers: int,
    overlap: int,
    *,
    dtype: str = "int32",
    side: int | None = None,
):
    """What `count` finds in all tiles together.

    Args:
        images: [N, H, W, 3], of any real dtype.
        count: what is at a tile's own places, [n, numbers].
        numbers: how many it answers for an image.
        overlap: rows and columns that the largest pattern has beside its first.
        dtype: of what it answers, and of their sums.
        side: of a tile in pixels at most, without what it overlaps.

    Returns:
        [N, numbers].
    """
    side = side or _SIDE
    images_, height, width = ops.shape(images)[:3]
    if _PORTABLE.get():
        return count(Tile(images, (0, 0, 0), (images_, height, width)))
    at_once = largest(least(_SIDE**2 // (height * width), _IMAGES), 1)
    axes = (
        _Axis.divided(images_, at_once, 0),
        _Axis.divided(height, side, overlap),
        _Axis.divided(width, side, overlap),
    )

    def add(number, total):
        with after(total):
            row = number // axes[2].tiles
            index = (row // axes[1].tiles, row % axes[1].tiles, number % axes[2].tiles)
            starts, first = zip(*map(_Axis.begin, axes, index), strict=True)
            sizes = [axis.size for axis in axes]
            part = ops.slice(images, (*starts, 0), (*sizes, images.shape[-1]))
            found = count(Tile(part, first, tuple(axis.step for axis in axes)))
            rows = starts[0] + ops.arange(sizes[0], dtype="int32")
            together = ops.take(total, rows, axis=0) + found
            return ops.scatter_update(total, rows[:, None], together)

    total, tiles = ops.zeros((images_, numbers), dtype), math.prod(axis.tiles for axis in axes)
    if isinstance(tiles, int) and tiles == 1:
        return add(0, total)
    return ops.fori_loop(0, tiles, add, total)


def counted(codes, size: int):
    """How often each of 0..size - 1 is among int32 [...], which are 0 or more: int32 [size].

    Numbers beyond are not counted. On TensorFlow, it is one operation that is fast and that only
    TensorFlow has, but for `portable` graphs.
    """
    codes = ops.reshape(codes, (-1,))
    if keras.backend.backend() == "tensorflow" and not _PORTABLE.get():
        import tensorflow as tf

        return tf.raw_ops.DenseBincount(input=codes, size=size, weights=tf.zeros([0], tf.int32))
    ones = ops.ones_like(codes)
    return ops.segment_sum(ones, ops.minimum(codes, size), num_segments=size + 1)[:size]


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Graphs that are traced within have operations that ONNX and LiteRT have too; slower.

    Images are one tile, whatever their size, since loops are slow elsewhere or not there at all:
    memory grows with them.
    """
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def added(terms: list):
    """Their sum, which TensorFlow makes in one go."""
    if keras.backend.backend() == "tensorflow" and not _PORTABLE.get():
        import tensorflow as tf

        return tf.add_n(terms)
    return sum(terms)


def after(*done):
    """TensorFlow begins what is within when `done` are: all at once would take more memory."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies(done)


def whole_products():
    """JAX multiplies matrices within in float32 on every device, not in fewer bits."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.default_matmul_precision("float32")
