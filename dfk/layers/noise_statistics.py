"""Statistics of an image's noise and colours as a Keras layer: few numbers that say much.

`dfk.layers.rich_features` counts what neighbouring pixels do together.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from dfk.layers.tiles import Tile, after, counted, summed, whole_products

BINS = 32  # Of a radial spectrum and of a colour histogram
_BRIGHTNESSES, _STRENGTHS = 16, 10  # Bins of 16 of brightness, octaves of the noise's strength
_ORDERS = (1, 2)  # Of the differences whose moments are taken
_MOMENTS = 3 * 2 * len(_ORDERS) * 3
WINDOW = 2048  # Pixels a side whose spectrum is one

# JPEG's Y, Cb, Cr out of R, G, B, in millionths: whole numbers fall into the same bin everywhere.
_YCC = ((299000, 587000, 114000), (-168736, -331264, 500000), (500000, -418688, -81312))
_MILLION = 1_000_000
_LOWEST = (0, -128 * _MILLION, -128 * _MILLION)


@keras.saving.register_keras_serializable(package="dfk")
class NoiseStatistics(keras.layers.Layer):
    """Images of any size from 8 x 8 to 388 numbers, which mirroring does not change.

    In their order: the mean log power in 32 rings of frequency of Y, Cb, Cr (Durall et al., 2020,
    "Watch your Up-Convolution"); of their first and second differences, horizontal and vertical,
    the logarithms of mean size, root mean square and kurtosis; roots of the shares of pixels in 32
    bins of Y, Cb, Cr; and of pixels as bright and as noisy, in 16 bins and 10 octaves.

    The power of an image beyond 2,048 pixels a side is the mean of as few equal windows as cover
    it (Welch, 1967), so that time and memory for a pixel stay what they are.

    Call it on images [N, H, W, 3] in 0..255, of any real dtype, which are rounded to whole
    numbers; it measures in float32 and returns [N, 388] in the dtype that its policy computes in,
    float32 by default. It has no weights, and no gradient.
    """

    SMALLEST_IMAGE = 8  # Pixels a side
    BYTES_PER_PIXEL = 10  # Of memory while it measures, beside 300 MB for a window
    FEATURES = 3 * BINS + _MOMENTS + 3 * BINS + _BRIGHTNESSES * _STRENGTHS

    def __init__(self, **kwargs: Any):
        # Not cast: bfloat16 would round the pixels.
        super().__init__(autocast=False, **{"dtype": "float32", "trainable": False, **kwargs})

    def call(self, images):
        """Measures images [N, H, W, 3]."""
        with whole_products():
            parts = [_spectrum(images), _counts(images)]
        return ops.cast(ops.concatenate(parts, axis=1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.FEATURES)


def _channels(images) -> list:
    """Whole numbers of [n, h, w, 3], int32 [n, h, w] each."""
    return [ops.cast(ops.round(_float(images[..., i])), "int32") for i in range(3)]


def _ycc(channels: list, plane: int):
    """One of Y, Cb, Cr, in millionths."""
    return sum(share * x for share, x in zip(_YCC[plane], channels, strict=True))


def _spectrum(images):
    """[N, H, W, 3] to [N, 3 * 32]."""
    sums = summed(images, _ring_means, 3 * BINS + 1, 0, dtype="float32", side=WINDOW)
    return sums[:, :-1] / sums[:, -1:]


def _ring_means(window: Tile):
    """The mean log power in the rings of each plane, and 1, of images [n, h, w, 3]: [n, 97].

    Hann's window keeps the borders out of the spectrum. Its energy is 1, so that white noise scores
    alike at every size.
    """
    images, height, width = ops.shape(window.images)[:3]
    ring, number = _half_rings(height, width)
    counts = ops.segment_sum(number, ring, num_segments=BINS)
    means = []
    for plane in range(3):
        with after(*means[-1:]):  # Three planes at once would take more memory.
            x = _float(_ycc(_channels(window.images), plane)) / _MILLION
            x = x - ops.mean(x, axis=(1, 2), keepdims=True)
            power = _log_power(x * _hann(height)[:, None] * _hann(width))
            power = ops.reshape(power, (images, -1)) * number
            sums = ops.segment_sum(ops.transpose(power), ring, num_segments=BINS)
            # Small images leave rings empty, which are 0 then.
            means.append(ops.transpose(sums / ops.maximum(counts, 1)[:, None]))
    own = _float(window.own((0, 0), width)[0])[:, None]
    return ops.concatenate([*means, ops.ones_like(own)], axis=1) * own


def _log_power(x):
    """log(1 + power) of each wave along an image's columns and rows: [n, H, W] to [n, h, w].

    Of h = H // 2 + 1 and w = W // 2 + 1 frequencies, the mean of waves that run to either side.
    """
    cosines, sines = map(_along_rows, _along_rows(x))
    (cc, cs), (sc, ss) = cosines, sines
    return (_log_of(cc - ss, cs + sc) + _log_of(cc + ss, cs - sc)) / 2


def _log_of(real, imaginary):
    return ops.log1p(real * real + imaginary * imaginary)


def _along_rows(x):
    """Cosine and sine transforms along rows, as columns: [n, H, W] to [n, W // 2 + 1, H] of both.

    They are matrix products, since a complex transform is not among what ONNX and LiteRT compute.
    About the middle of a row, one half of it is enough: power is the same wherever waves begin.
    """
    size = ops.shape(x)[-1]
    half = (size + 1) // 2
    start, end = x[..., :half], ops.flip(x, axis=-1)[..., :half]
    twice = 2 * ops.arange(half, dtype="int32") - (size - 1)  # The distance from the middle
    turns = twice[:, None] * ops.arange(size // 2 + 1, dtype="int32") % (2 * size)
    angle = _float(turns) * (math.pi / _float(size))
    # What lies in the middle of an odd number is in both halves.
    share = ops.where(twice == 0, 0.5, 1.0)[:, None]
    cosines = ops.matmul(start + end, share * ops.cos(angle))
    return tuple(
        ops.swapaxes(wave, 1, 2) for wave in (cosines, ops.matmul(start - end, ops.sin(angle)))
    )


def _half_rings(height, width):
    """The rings of `_log_power`'s waves, int32 [h * w], and of how many frequencies each is."""
    ring = ops.reshape(rings(height, width), (height, width))
    numbers = []
    for size in (height, width):
        k = ops.arange(size // 2 + 1, dtype="int32")
        # All but the first, and the last of an even number, have a negative one.
        numbers.append(ops.where((k == 0) | (2 * k == size), 1.0, 2.0))
    number = numbers[0][:, None] * numbers[1]
    ring = ring[: height // 2 + 1, : width // 2 + 1]
    return ops.reshape(ring, (-1,)), ops.reshape(number, (-1,))


def rings(height, width):
    """The ring of each frequency of an image's Fourier transform, int32 [H * W] in 0..31.

    They divide the frequencies evenly from 0 to the corner, at sqrt(1/2) per pixel.
    """
    fy, fx = _frequencies(height), _frequencies(width)
    radius = ops.sqrt((fy * fy)[:, None] + fx * fx) / math.sqrt(0.5)
    # A little more than it is: what lies on an edge between rings belongs to the outer one.
    ring = ops.cast(radius * BINS + 1e-4, "int32")
    return ops.reshape(ops.minimum(ring, BINS - 1), (-1,))


def _hann(size):
    """Hann's window, float32 [size], without the zeros at its ends; its energy is 1."""
    window = 0.5 - 0.5 * ops.cos(2 * math.pi * _float(ops.arange(1, size + 1)) / _float(size + 1))
    return window / ops.sqrt(ops.sum(window * window))


def _frequencies(size):
    """Of a Fourier transform, in cycles per pixel up to 1/2: float32 [size]."""
    steps = ops.arange(size)
    return _float(ops.minimum(steps, size - steps)) / _float(size)


def _counts(images):
    """What sums over pixels tell, [N, H, W, 3] to [N, 36 + 3 * 32 + 160]."""
    numbers = (_MOMENTS, 3 * BINS, _BRIGHTNESSES * _STRENGTHS)
    sums = summed(images, _sums, sum(numbers), 2, dtype="float32")
    height, width = ops.shape(images)[1:3]
    moments, colours, noise = ops.split(sums, (numbers[0], sum(numbers[:2])), axis=1)
    parts = [
        _moments(moments, height, width),
        ops.sqrt(colours / _float(height * width)),
        ops.sqrt(noise / _float((height - 2) * (width - 2))),
    ]
    return ops.concatenate(parts, axis=1)


def _sums(tile: Tile):
    """Powers of differences, and counts of colours and of noise, at a tile's own places."""
    channels = _channels(tile.images)
    planes = [_ycc(channels, plane) for plane in range(3)]
    powers = [x for plane in planes for x in _powers(tile, _float(plane) / _MILLION)]
    bins = [_binned(p - lowest, BINS) for p, lowest in zip(planes, _LOWEST, strict=True)]
    colours = [_histogram(tile, codes, BINS, (0, 0)) for codes in bins]
    return ops.concatenate(
        [ops.stack(powers, axis=1), *colours, _noise(tile, channels[1], planes[0])], axis=1
    )


def _own(tile: Tile, margins: tuple[int, int]):
    """Where patterns begin that are the tile's to count: bool [n, h, w] without the margins."""
    height, width = ops.shape(tile.images)[1:3]
    images, rows, columns = tile.own(margins, width)
    rows, columns = rows[: height - margins[0]], columns[: width - margins[1]]
    return images[:, None, None] & rows[:, None] & columns


def _powers(tile: Tile, plane):
    """Of differences of [n, h, w], the sums of sizes, squares and fourth powers: 12 of [n]."""
    for axis in (2, 1):
        differences = plane
        for order in _ORDERS:
            differences = ops.diff(differences, axis=axis)
            places = _own(tile, (0, order) if axis == 2 else (order, 0))
            own = ops.where(places, differences, 0.0)
            squares = own * own
            yield from (ops.sum(x, axis=(1, 2)) for x in (ops.abs(own), squares, squares * squares))


def _moments(sums, height, width):
    """Sums of powers [N, 3 * 12] to logarithms of mean size, root mean square and kurtosis."""
    places = [height * (width - order) for order in _ORDERS]
    places += [(height - order) * width for order in _ORDERS]
    means = ops.reshape(sums, (-1, 3, 4, 3)) / _float(ops.stack(places))[:, None]
    size, second, fourth = (means[..., i] for i in range(3))
    kurtosis = fourth / ops.maximum(second * second, 1e-6)
    return ops.reshape(ops.log1p(ops.stack([size, ops.sqrt(second), kurtosis], 3)), (-1, _MOMENTS))


def _noise(tile: Tile, green, y):
    """How many pixels are as bright and as noisy, of int32 [n, h, w] of both: [n, 160]."""
    rows = green[:, :-2] - 2 * green[:, 1:-1] + green[:, 2:]
    residual = ops.abs(rows[..., :-2] - 2 * rows[..., 1:-1] + rows[..., 2:])
    # The octave as a count of powers of 2: exact, where a logarithm may round either way.
    strength = sum(ops.cast(residual + 1 >= 2**k, "int32") for k in range(1, _STRENGTHS))
    brightness = _binned(y[:, 1:-1, 1:-1], _BRIGHTNESSES)
    codes = brightness * _STRENGTHS + strength
    return _histogram(tile, codes, _BRIGHTNESSES * _STRENGTHS, (2, 2))


def _histogram(tile: Tile, codes, count: int, margins: tuple[int, int]):
    """How often 0..count - 1 is in int32 [n, h, w] at a tile's own places: float32 [n, count]."""
    images = ops.shape(codes)[0]
    first = ops.arange(images, dtype="int32")[:, None, None] * count
    codes = ops.where(_own(tile, margins), codes + first, images * count)
    return _float(ops.reshape(counted(codes, images * count), (images, count)))


def _binned(millionths, count: int):
    """The bin of each value, 0..256 * 10**6, int32 0..count - 1."""
    bins = ops.floor_divide(millionths, 256 // count * _MILLION)
    return ops.clip(bins, 0, count - 1)


def _float(number):
    return ops.cast(number, "float32")
