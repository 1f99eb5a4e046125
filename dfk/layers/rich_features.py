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
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from dfk.layers.tiles import Tile, added, counted, summed

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


# Kernels that are the difference of neighbours of another one.
_DIFFERENCES = {"first": "none", "second": "first", "third": "second"}

_TABLES = 4  # That an image is counted in
_ALIGNED = 16  # Values at whose multiples TensorFlow may share memory
_OVERLAP = 6  # Rows and columns that the largest pattern has beside its first


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

    @property
    def margins(self) -> tuple[int, int]:
        """Rows and columns that it needs beside the first of both."""
        rows, columns = (max(place[axis] for place in self.places) for axis in (0, 1))
        return rows + len(self.matrix) - 1, columns + len(self.matrix[0]) - 1

    @property
    def turned(self) -> bool:
        """Whether its kernel is a row."""
        return len(self.matrix) < len(self.matrix[0])

    def turn(self) -> _Way:
        """The same in an image whose rows are columns."""
        places = tuple((x, y, plane) for y, x, plane in self.places)
        return self._replace(matrix=tuple(zip(*self.matrix, strict=True)), places=places)


@keras.saving.register_keras_serializable(package="dfk")
class RichFeatures(keras.layers.Layer):
    """Images of any size from 8 x 8 to as many features: roots of shares of pixels.

    Mirroring an image changes nothing; turning it by 90 degrees exchanges features. Roots bring
    rare and common combinations to scales alike (Hellinger's distance).

    Call it on images [N, H, W, 3] in 0..255, of any real dtype, which are rounded to whole
    numbers; it counts exactly and returns [N, features] in 0..1, in the dtype that its policy
    computes in, float32 by default. It has no weights, and no gradient.

    Args:
        cooccurrences: the histograms, each (kernel, step, pattern, levels).

    Raises:
        ValueError: for a kernel or a pattern that there is none of.
    """

    SMALLEST_IMAGE = 8  # Pixels a side
    BYTES_PER_PIXEL = (
        10  # Of memory while it counts, beside 200 MB for a tile; with 2 to 64 threads
    )

    def __init__(self, cooccurrences: Iterable[Sequence] = COOCCURRENCES, **kwargs: Any):
        # Not cast: bfloat16 would round the pixels.
        super().__init__(autocast=False, **{"dtype": "float32", "trainable": False, **kwargs})
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
        ways, (height, width) = list(self._ways()), ops.shape(images)[1:3]
        sizes = [way.levels ** len(way.places) for way in ways]
        counts = summed(images, functools.partial(_counts, ways), sum(sizes), _OVERLAP)
        places = [(height - way.margins[0]) * (width - way.margins[1]) for way in ways]
        places = ops.repeat(ops.cast(ops.stack(places), "float32"), np.array(sizes))
        shares = ops.cast(counts, "float32") / places
        starts = np.cumsum([0, *sizes[:-1]], dtype=np.int32)
        mirrored = [_mirrored(way) + start for way, start in zip(ways, starts, strict=True)]
        shares = ops.take(shares, np.concatenate(mirrored, axis=1), axis=1)
        return ops.cast(ops.sqrt(ops.mean(shares, axis=1)), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cooccurrences": [list(c) for c in self.cooccurrences]}

    def _ways(self) -> Iterator[_Way]:
        """Each histogram along rows and, where that is another one, along columns."""
        for kernel, step, pattern, levels in self.cooccurrences:
            matrix, places = KERNELS[kernel], PATTERNS[pattern]
            yield (way := _Way(kernel, matrix, step, places, levels))
            turned = way.turn()
            if turned.matrix != matrix or set(turned.places) != set(places):
                yield turned


def _counts(ways: Sequence[_Way], tile: Tile):
    """How often each combination of each way is in a tile: int32 [n, combinations of all]."""
    counts = {}
    for turned in (False, True):
        some = [way for way in ways if way.turned == turned]
        if some:
            strip = _Strip(tile.turned() if turned else tile)
            counts |= {way: strip.count(way.turn() if turned else way) for way in some}
    return ops.concatenate([counts[way] for way in ways], axis=1)


class _Strip:
    """The planes of a tile as one long row each, row after row.

    A neighbour is then at the same distance everywhere, and one below at a multiple of `_ALIGNED`,
    for which TensorFlow copies nothing. At the end of a row there are neighbours that are none;
    no such place is a tile's own.
    """

    def __init__(self, tile: Tile):
        self.tile = tile
        self.images, height, width = ops.shape(tile.images)[:3]
        more = -width % _ALIGNED
        self.width = width + more
        self.pixels = self.images * height * self.width
        x = ops.round(ops.cast(tile.images, "float32")) - 128.0
        x = ops.pad(ops.transpose(x, (3, 0, 1, 2)), [(0, 0)] * 3 + [(0, more)])
        beyond = _OVERLAP * (self.width + _ALIGNED)
        x = ops.pad(ops.reshape(x, (3, self.pixels)), ((0, 0), (0, beyond)))
        red, green, blue = ops.unstack(x, 3)
        self.planes = (red, green, blue, red - green, blue - green)
        # What several histograms need is computed once.
        for name in ("residual", "level", "digit", "tables"):
            setattr(self, name, functools.cache(getattr(self, name)))

    def count(self, way: _Way):
        """How often each combination is there: int32 [n, combinations]."""
        size = way.levels ** len(way.places)
        codes = [self.tables(size, way.margins)]
        for power, (y, x, plane) in enumerate(reversed(way.places)):
            digit = self.digit(way.kernel, way.step, way.levels, plane, power)
            codes.append(_from(digit, y * self.width + x, self.pixels))
        bins = counted(added(codes), self.images * _TABLES * size)
        return ops.sum(ops.reshape(bins, (self.images, _TABLES, size)), axis=1)

    def tables(self, size: int, margins: tuple[int, int]):
        """Where the table of each place begins; of a place that is not to be counted, beyond all.

        Neighbours are often alike, and a CPU that counts them in the same number waits for one
        before it counts the next; so an image has several tables, which take turns.
        """
        images, rows, columns = self.tile.own(margins, self.width)
        beyond = self.images * _TABLES * size
        image = ops.arange(self.images, dtype="int32") * (_TABLES * size)
        table = ops.arange(self.width, dtype="int32") % _TABLES * size
        image, table = ops.where(images, image, beyond), ops.where(columns, table, beyond)
        row = ops.where(rows, 0, beyond)
        rows = ops.expand_dims(image[:, None] + row, -1)  # LiteRT's slices have no new axis
        return ops.reshape(rows + table, (-1,))

    def digit(self, kernel: str, step: int, levels: int, plane: int, power: int):
        """What a level adds to a code."""
        level = self.level(kernel, step, levels, plane)
        return level * levels**power if power else level

    def level(self, kernel: str, step: int, levels: int, plane: int):
        """The level of each residual, int32 0..levels - 1."""
        # Half a unit more keeps whole numbers away from the edges, where a quotient may fall on
        # either side. What is cut off as it is cast is positive.
        outermost = levels // 2
        residual = self.residual(kernel, plane) + (step // 2 + 0.5 + outermost * step)
        return ops.cast(ops.clip(residual * (1 / step), 0, levels - 1), "int32")

    def residual(self, kernel: str, plane: int):
        """A plane, correlated with a kernel along columns; exact in float32."""
        if kernel == "none":
            return self.planes[plane]
        if kernel in _DIFFERENCES:
            return _difference(self.residual(_DIFFERENCES[kernel], plane), self.width)
        if kernel == "square":
            return _difference(-_difference(self.residual("second", plane), 1), 1)
        x, w = self.planes[plane], self.width
        length = ops.shape(x)[0] - 2 * w - _ALIGNED
        starts = (1, w, w + 1, w + 2, 2 * w + 1)
        up, left, centre, right, down = (_from(x, start, length) for start in starts)
        extreme = ops.minimum if kernel == "least" else ops.maximum
        return extreme(extreme(up, down), extreme(left, right)) - centre


def _difference(x, distance):
    """By how much the value at that distance is larger."""
    length = ops.shape(x)[0] - (distance + -distance % _ALIGNED)
    return _from(x, distance, length) - _from(x, 0, length)


def _from(x, start, length):
    """So many values from there on."""
    return x[start : start + length]


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
