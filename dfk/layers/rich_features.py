"""A rich model of an image's noise as a Keras layer: histograms of what neighbours do together.

A generator's last layers, its upsampling and what its images were stored as leave traces in how
the small differences between neighbouring pixels go together. The layer filters the image by
small kernels that answer nothing where it is smooth, rounds what is left to a few levels, and
counts how often each combination of levels occurs in a pattern of pixels. Nothing of it is
learned, so for images that do not change it is computed once.

Source: Fridrich & Kodovsky, 2012, "Rich Models for Steganalysis of Digital Images"; Goljan et
al., 2014, "Rich Model for Steganalysis of Color Images".
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

# Filters: rows, which are used as columns too, and a square. `least` and `most` are not linear:
# the least and the largest difference to the four neighbours.
KERNELS = {
    "none": ((1,),),
    "first": ((-1, 1),),
    "second": ((1, -2, 1),),
    "third": ((-1, 3, -3, 1),),
    "square": ((-1, 2, -1), (2, -4, 2), (-1, 2, -1)),
    "least": ((0, 1, 0), (1, -1, 1), (0, 1, 0)),
    "most": ((0, 1, 0), (1, -1, 1), (0, 1, 0)),
}

# Which levels are counted together: (row, column, plane) of each, for a row as kernel.
_RED, _GREEN, _BLUE, _RED_GREEN, _BLUE_GREEN = range(5)
PATTERNS = {
    "row": ((0, 0, _GREEN), (0, 1, _GREEN), (0, 2, _GREEN)),
    "red": ((0, 0, _RED), (0, 1, _RED), (0, 2, _RED)),
    "blue": ((0, 0, _BLUE), (0, 1, _BLUE), (0, 2, _BLUE)),
    "red-green": ((0, 0, _RED_GREEN), (0, 1, _RED_GREEN), (0, 2, _RED_GREEN)),
    "blue-green": ((0, 0, _BLUE_GREEN), (0, 1, _BLUE_GREEN), (0, 2, _BLUE_GREEN)),
    "next-but-one": ((0, 0, _GREEN), (0, 2, _GREEN), (0, 4, _GREEN)),
    "across": ((0, 0, _GREEN), (1, 0, _GREEN), (2, 0, _GREEN)),
    "colours": ((0, 0, _RED), (0, 0, _GREEN), (0, 0, _BLUE)),
}


# Histograms that are counted side by side: all of them would take three times the memory.
_AT_ONCE = 2


class Cooccurrence(NamedTuple):
    """A histogram: the kernel, the step that its answers are rounded to, the pattern, the levels.

    `levels` is odd: as many negative ones as positive ones, and 0. What is beyond the outermost
    one counts for it.
    """

    kernel: str
    step: int
    pattern: str
    levels: int = 7


# By kernel and step, the patterns. Kernels that mirroring turns into their negatives need odd
# steps, so that they are rounded alike in either direction.
COOCCURRENCES = (
    Cooccurrence("none", 32, "colours", 9),
    *(
        Cooccurrence(kernel, step, pattern)
        for kernel, step, patterns in (
            ("first", 1, "row colours red-green blue-green"),
            ("first", 3, "row red blue next-but-one across colours"),
            ("second", 1, "row"),
            ("second", 2, "red-green blue-green"),
            ("second", 3, "row red blue next-but-one across colours"),
            ("third", 3, "row colours"),
            ("third", 9, "row"),
            ("square", 4, "row colours"),
            ("square", 12, "row colours"),
            ("least", 1, "row"),
            ("least", 3, "row"),
            ("most", 1, "row"),
            ("most", 3, "row"),
        )
        for pattern in patterns.split()
    ),
)


class _Way(NamedTuple):
    """A histogram in one direction: along rows, or turned along columns."""

    kernel: str
    matrix: tuple[tuple[int, ...], ...]
    step: int
    places: tuple[tuple[int, int, int], ...]
    levels: int


@keras.saving.register_keras_serializable(package="dfk")
class RichFeatures(keras.layers.Layer):
    """Images of any size from 8 x 8 to as many features: roots of shares of pixels.

    Mirroring an image changes nothing; turning it by 90 degrees exchanges features. Roots bring
    rare and common combinations to scales alike (Hellinger's distance).

    Call it on images [N, H, W, 3] in 0..255, of any real dtype, which are rounded to whole
    numbers; it returns float32 [N, features] in 0..1. It has no weights, and no gradient.

    Args:
        cooccurrences: the histograms, each (kernel, step, pattern, levels).

    Raises:
        ValueError: for a kernel or a pattern that there is none of.
    """

    SMALLEST_IMAGE = 8  # Pixels a side
    BYTES_PER_PIXEL = 300  # Of memory while it counts, measured with 2 to 64 threads

    def __init__(self, cooccurrences: Iterable[Sequence] = COOCCURRENCES, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.cooccurrences = tuple(Cooccurrence(*which) for which in cooccurrences)
        for which in self.cooccurrences:
            if which.kernel not in KERNELS or which.pattern not in PATTERNS:
                raise ValueError(f"no such kernel or pattern: {which}")

    @property
    def features(self) -> int:
        """How many features an image has."""
        return sum(_mirrored(way).shape[1] for way in self._ways())

    @property
    def combinations(self) -> np.ndarray:
        """How many combinations of levels each feature is the mean of, int [features]: 1 to 4."""
        mirrored = np.concatenate([_mirrored(way) for way in self._ways()], axis=1)
        return 1 + (np.diff(np.sort(mirrored, axis=0), axis=0) > 0).sum(axis=0)

    def call(self, images):
        """Counts in images [N, H, W, 3]."""
        planes = _planes(ops.round(ops.cast(images, self.compute_dtype)))
        parts = []
        for _, ways in itertools.groupby(self._ways(), lambda way: way.kernel):
            residuals, rounded = {}, {}  # Held no longer than for one kernel
            for way in ways:
                with _after(parts[-_AT_ONCE : 1 - _AT_ONCE]):
                    if way.matrix not in residuals:
                        residuals[way.matrix] = _filtered(planes, way)
                    levels = way.matrix, way.step, way.levels
                    if levels not in rounded:
                        rounded[levels] = _rounded(residuals[way.matrix], way.step, way.levels)
                    shares = histogram(_codes(rounded[levels], way), way.levels ** len(way.places))
                    mirrored = ops.take(shares, _mirrored(way), axis=1)
                    parts.append(ops.sqrt(ops.mean(mirrored, axis=1)))
        return ops.concatenate(parts, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cooccurrences": [list(c) for c in self.cooccurrences]}

    def _ways(self) -> Iterator[_Way]:
        """Each histogram along rows and, where that is another one, along columns."""
        for kernel, step, pattern, levels in self.cooccurrences:
            matrix, places = KERNELS[kernel], PATTERNS[pattern]
            yield _Way(kernel, matrix, step, places, levels)
            turned = tuple(zip(*matrix, strict=True))
            places_turned = tuple((x, y, plane) for y, x, plane in places)
            if turned != matrix or set(places_turned) != set(places):
                yield _Way(kernel, turned, step, places_turned, levels)


def _after(done: list):
    """TensorFlow begins what is within when `done` is: all at once would take more memory."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies(done)


def histogram(codes, count: int):
    """The shares of 0..count - 1 in each of int32 [N, ...]: float32 [N, count]."""
    codes = ops.reshape(codes, (ops.shape(codes)[0], -1))
    images, pixels = ops.shape(codes)
    codes = ops.reshape(codes + ops.arange(images, dtype="int32")[:, None] * count, (-1,))
    ones = ops.ones_like(codes, dtype="float32")
    counts = ops.segment_sum(ones, codes, num_segments=images * count)
    return ops.reshape(counts, (-1, count)) / ops.cast(pixels, "float32")


def _planes(images):
    """Red, green, blue about 0, red - green, blue - green: [N, H, W, 5]."""
    images = images - 128.0
    return ops.concatenate([images, images[..., ::2] - images[..., 1:2]], axis=-1)


def _filtered(planes, way: _Way):
    """Correlates [N, H, W, 5] with a kernel, where it fits; exact in float32."""
    rows, columns = len(way.matrix), len(way.matrix[0])
    height, width = ops.shape(planes)[1] - rows + 1, ops.shape(planes)[2] - columns + 1
    taps = [
        (way.matrix[y][x], planes[:, y : y + height, x : x + width])
        for y, x in itertools.product(range(rows), range(columns))
        if way.matrix[y][x]
    ]
    if way.kernel not in ("least", "most"):
        return sum(factor * shifted for factor, shifted in taps)
    extreme = ops.minimum if way.kernel == "least" else ops.maximum
    neighbours = [shifted for factor, shifted in taps if factor > 0]
    (centre,) = (shifted for factor, shifted in taps if factor < 0)
    return functools.reduce(extreme, neighbours) - centre


def _rounded(residuals, step: int, levels: int):
    """The level of each residual, int32 0..levels - 1."""
    outermost = levels // 2
    # Half a unit more keeps whole numbers away from the edges, where a quotient may fall on either
    # side: a graph may divide by multiplying.
    rounded = ops.floor((residuals + (step // 2 + 0.5)) / step)
    return ops.cast(ops.clip(rounded, -outermost, outermost), "int32") + outermost


def _codes(levels, way: _Way):
    """The combination of levels in the pattern, at each place where it fits: int32 [N, h, w]."""
    down, right = (max(place[axis] for place in way.places) for axis in (0, 1))
    height, width = ops.shape(levels)[1] - down, ops.shape(levels)[2] - right
    code = 0
    for y, x, plane in way.places:
        code = code * way.levels + levels[:, y : y + height, x : x + width, plane]
    return code


@functools.cache
def _mirrored(way: _Way) -> np.ndarray:
    """For each feature the combinations that it is the mean of, those of mirrored images.

    Returns:
        int32 [4, features]: a combination, and what it is in an image mirrored left to right,
        top to bottom, and both.
    """
    shape = (way.levels,) * len(way.places)
    codes = [np.indices(shape).reshape(len(shape), -1)]
    for axis in (1, 0):
        codes += [_mirror(code, way, axis) for code in codes]
    numbers = np.stack([np.ravel_multi_index(tuple(code), shape) for code in codes])
    first = np.flatnonzero(numbers.min(axis=0) == numbers[0])
    return numbers[:, first].astype(np.int32)


def _mirror(codes: np.ndarray, way: _Way, axis: int) -> np.ndarray:
    matrix, end = np.array(way.matrix), max(place[axis] for place in way.places)
    places = [tuple(end - p if i == axis else p for i, p in enumerate(at)) for at in way.places]
    mirrored = codes[[way.places.index(place) for place in places]]
    # A kernel that mirroring turns into its negative answers the negative there.
    same = np.array_equal(np.flip(matrix, axis), matrix)
    return mirrored if same else way.levels - 1 - mirrored
