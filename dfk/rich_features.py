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

import functools
import itertools
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

# High-pass filters: rows, which are used as columns too, and squares.
KERNELS = {
    "none": ((1,),),
    "first": ((-1, 1),),
    "second": ((1, -2, 1),),
    "third": ((-1, 3, -3, 1),),
    "fourth": ((1, -4, 6, -4, 1),),
    "square3": ((-1, 2, -1), (2, -4, 2), (-1, 2, -1)),
    "square5": (
        (-1, 2, -2, 2, -1),
        (2, -6, 8, -6, 2),
        (-2, 8, -12, 8, -2),
        (2, -6, 8, -6, 2),
        (-1, 2, -2, 2, -1),
    ),
}

# Which levels are counted together: (row, column, plane) of each, for a row kernel.
_RED, _GREEN, _BLUE, _RED_GREEN, _BLUE_GREEN = range(5)
PATTERNS = {
    "row": ((0, 0, _GREEN), (0, 1, _GREEN), (0, 2, _GREEN)),
    "colours": ((0, 0, _RED), (0, 0, _GREEN), (0, 0, _BLUE)),
    "opponents": ((0, 0, _RED_GREEN), (0, 0, _BLUE_GREEN), (0, 1, _RED_GREEN), (0, 1, _BLUE_GREEN)),
    "square": ((0, 0, _GREEN), (0, 1, _GREEN), (1, 0, _GREEN), (1, 1, _GREEN)),
}


# Where four are counted together, fewer levels.
_LEVELS = {"opponents": 5, "square": 5}


class Cooccurrence(NamedTuple):
    """A histogram: the kernel, the step that its answers are rounded to, the pattern, the levels.

    `levels` is odd: as many negative ones as positive ones, and 0. What is beyond the outermost
    one counts for it.
    """

    kernel: str
    step: int
    pattern: str
    levels: int = 7


# By kernel and step, the patterns. Of some seventy that were tried, these carry most on the images
# of the study; the others repeat what they say.
COOCCURRENCES = tuple(
    Cooccurrence(kernel, step, pattern, _LEVELS.get(pattern, 7) if kernel != "none" else 13)
    for kernel, steps in {
        "none": {16: "colours"},
        "first": {1: "row colours opponents", 3: "row colours square"},
        "second": {1: "row colours opponents", 3: "row colours square"},
        "third": {3: "row colours"},
        "fourth": {4: "row colours"},
        "square3": {4: "row colours opponents", 12: "row colours square"},
        "square5": {12: "row colours opponents", 36: "row colours square"},
    }.items()
    for step, patterns in steps.items()
    for pattern in patterns.split()
)


@keras.saving.register_keras_serializable(package="dfk")
class RichFeatures(keras.layers.Layer):
    """Images of any size from 8 x 8 to as many features: roots of shares of pixels.

    Mirroring an image changes nothing; turning it by 90 degrees exchanges features. Roots bring
    rare and common combinations to scales alike (Hellinger's distance).

    Call it on images [N, H, W, 3] in 0..255, of any real dtype, which are rounded to whole
    numbers; it returns float32 [N, features] in 0..1. It has no weights, and no gradient.

    Args:
        cooccurrences: the histograms, by default `COOCCURRENCES`.

    Raises:
        ValueError: for a kernel or a pattern that there is none of.
    """

    SMALLEST_IMAGE = 8  # Pixels a side

    def __init__(self, cooccurrences=COOCCURRENCES, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.cooccurrences = tuple(Cooccurrence(*which) for which in cooccurrences)
        for which in self.cooccurrences:
            if which.kernel not in KERNELS or which.pattern not in PATTERNS:
                raise ValueError(f"no such kernel or pattern: {which}")

    @property
    def features(self) -> int:
        """How many features an image has."""
        return sum(_mirrored(*way).shape[1] for way in map(_key, self._ways()))

    def call(self, images):
        """Counts in images [N, H, W, 3]."""
        planes = _planes(ops.round(ops.cast(images, self.compute_dtype)))
        residuals, levels, parts = {}, {}, []
        for kernel, step, pattern, count in self._ways():
            if kernel not in residuals:
                residuals[kernel] = _filtered(planes, kernel)
            if (kernel, step, count) not in levels:
                levels[kernel, step, count] = _rounded(residuals[kernel], step, count)
            counts = _histogram(levels[kernel, step, count], pattern, count)
            mirrored = ops.take(counts, _mirrored(kernel, pattern, count), axis=1)
            parts.append(ops.sqrt(ops.mean(mirrored, axis=1)))
        return ops.concatenate(parts, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cooccurrences": [list(c) for c in self.cooccurrences]}

    def _ways(self):
        """Each histogram horizontally and, where that is another, vertically."""
        for kernel, step, pattern, levels in self.cooccurrences:
            rows, places = KERNELS[kernel], PATTERNS[pattern]
            yield rows, step, places, levels
            columns = tuple(zip(*rows, strict=True))
            turned = tuple((x, y, colour) for y, x, colour in places)
            if columns != rows or set(turned) != set(places):
                yield columns, step, turned, levels


def _key(way):
    kernel, _, pattern, levels = way
    return kernel, pattern, levels


def _planes(images):
    """Red, green, blue about 0, red - green, blue - green: [N, H, W, 5]."""
    images = images - 128.0
    return ops.concatenate([images, images[..., ::2] - images[..., 1:2]], axis=-1)


def _filtered(images, kernel):
    """Correlates [N, H, W, 3] with whole numbers, where the kernel fits; exact in float32."""
    rows, columns = len(kernel), len(kernel[0])
    height, width = ops.shape(images)[1] - rows + 1, ops.shape(images)[2] - columns + 1
    result = 0.0
    for y, x in itertools.product(range(rows), range(columns)):
        result += kernel[y][x] * images[:, y : y + height, x : x + width]
    return result


def _rounded(residuals, step: int, levels: int):
    """The level of each residual, int32 0..levels - 1."""
    outermost = levels // 2
    rounded = ops.floor((residuals + step // 2) / step)
    return ops.cast(ops.clip(rounded, -outermost, outermost), "int32") + outermost


def _histogram(levels, pattern, count: int):
    """The shares of each combination in a pattern, float32 [N, count ** len(pattern)]."""
    down, right = (max(place[axis] for place in pattern) for axis in (0, 1))
    height, width = ops.shape(levels)[1] - down, ops.shape(levels)[2] - right
    code = 0
    for y, x, colour in pattern:
        code = code * count + levels[:, y : y + height, x : x + width, colour]
    code = ops.reshape(code, (-1, height * width))
    combinations = count ** len(pattern)
    code += ops.arange(ops.shape(code)[0])[:, None] * combinations
    ones = ops.ones_like(ops.reshape(code, (-1,)), dtype="float32")
    counts = ops.segment_sum(
        ones, ops.reshape(code, (-1,)), num_segments=ops.shape(code)[0] * combinations
    )
    return ops.reshape(counts, (-1, combinations)) / ops.cast(height * width, "float32")


@functools.cache
def _mirrored(kernel, pattern, count: int) -> np.ndarray:
    """For each feature the combinations that it is the mean of, those of mirrored images.

    Returns:
        int32 [4, features]: a combination, and what it is in an image mirrored left to right,
        top to bottom, and both.
    """
    combinations = np.indices((count,) * len(pattern)).reshape(len(pattern), -1)
    codes = [combinations]
    for axis in (1, 0):
        codes += [_mirror(c, kernel, pattern, count, axis) for c in codes]
    numbers = np.stack([np.ravel_multi_index(tuple(c), (count,) * len(pattern)) for c in codes])
    first = np.flatnonzero(numbers.min(axis=0) == numbers[0])
    return numbers[:, first].astype(np.int32)


def _mirror(combinations, kernel, pattern, count: int, axis: int) -> np.ndarray:
    kernel = np.array(kernel)
    end = max(place[axis] for place in pattern)
    places = [tuple(end - p if i == axis else p for i, p in enumerate(at)) for at in pattern]
    mirrored = combinations[[pattern.index(place) for place in places]]
    # A kernel that mirroring turns into its negative answers the negative there.
    same = np.array_equal(np.flip(kernel, axis), kernel)
    return mirrored if same else count - 1 - mirrored
