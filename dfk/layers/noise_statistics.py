"""Statistics of an image's noise and colours as a Keras layer: few numbers that say much.

`dfk.layers.rich_features` counts what neighbouring pixels do together.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from dfk.layers.tiles import counted

BINS = 32  # Of a radial spectrum and of a colour histogram
_BRIGHTNESSES, _STRENGTHS = 16, 10  # Bins of 16 of brightness, octaves of the noise's strength
_ORDERS = (1, 2)  # Of the differences whose moments are taken

# JPEG's Y, Cb, Cr out of R, G, B, in millionths: whole numbers fall into the same bin everywhere.
_YCC = ((299000, 587000, 114000), (-168736, -331264, 500000), (500000, -418688, -81312))
_MILLION = 1_000_000


@keras.saving.register_keras_serializable(package="dfk")
class NoiseStatistics(keras.layers.Layer):
    """Images of any size from 8 x 8 to 388 numbers, which mirroring does not change.

    In their order: the mean log power in 32 rings of frequency of Y, Cb, Cr (Durall et al., 2020,
    "Watch your Up-Convolution"); of their first and second differences, horizontal and vertical,
    the logarithms of mean size, root mean square and kurtosis; roots of the shares of pixels in 32
    bins of Y, Cb, Cr; and of pixels as bright and as noisy, in 16 bins and 10 octaves.

    Call it on images [N, H, W, 3] in 0..255, of any real dtype, which are rounded to whole
    numbers; it returns float32 [N, 388]. It has no weights, and no gradient.
    """

    SMALLEST_IMAGE = 8  # Pixels a side
    BYTES_PER_PIXEL = 250  # Of memory while it measures, with 2 to 32 threads
    FEATURES = 3 * BINS + 3 * 2 * len(_ORDERS) * 3 + 3 * BINS + _BRIGHTNESSES * _STRENGTHS

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})

    def call(self, images):
        """Measures images [N, H, W, 3]."""
        images = ops.cast(ops.round(ops.cast(images, self.compute_dtype)), "int32")
        red, green, blue = images[..., 0], images[..., 1], images[..., 2]
        ycc = ops.stack([r * red + g * green + b * blue for r, g, b in _YCC], axis=1)
        planes = ops.cast(ycc, "float32") / _MILLION
        parts = [_spectrum(planes), _moments(planes), _colours(ycc), _noise(green, ycc[:, 0])]
        return ops.concatenate(parts, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.FEATURES)


def _spectrum(planes):
    """[N, 3, H, W] to [N, 3 * 32].

    Hann's window keeps the image's borders out of the spectrum, and its energy divides the power,
    so that white noise scores alike at every size.
    """
    height, width = ops.shape(planes)[2:]
    window = _hann(height)[:, None] * _hann(width)
    window = window / ops.sqrt(ops.sum(window * window))
    planes = (planes - ops.mean(planes, axis=(2, 3), keepdims=True)) * window
    real, imaginary = ops.fft2((planes, ops.zeros_like(planes)))
    power = ops.log1p(real * real + imaginary * imaginary)
    ring = rings(height, width)
    # Small images leave rings empty, which are 0 then.
    sums = ops.segment_sum(
        ops.transpose(ops.reshape(power, (-1, ops.shape(ring)[0]))), ring, num_segments=BINS
    )
    counts = ops.segment_sum(ops.ones_like(ring, dtype="float32"), ring, num_segments=BINS)
    means = ops.transpose(sums / ops.maximum(counts, 1)[:, None])
    return ops.reshape(means, (-1, 3 * BINS))


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
    """Hann's window, float32 [size], without the zeros at its ends."""
    steps = ops.cast(ops.arange(1, size + 1), "float32")
    return 0.5 - 0.5 * ops.cos(2 * math.pi * steps / ops.cast(size + 1, "float32"))


def _frequencies(size):
    """Of a Fourier transform, in cycles per pixel up to 1/2: float32 [size]."""
    steps = ops.arange(size)
    return ops.cast(ops.minimum(steps, size - steps), "float32") / ops.cast(size, "float32")


def _moments(planes):
    """[N, 3, H, W] to [N, 3 * 12]."""
    moments = []
    for axis in (3, 2):
        differences = planes
        for _ in _ORDERS:
            differences = ops.diff(differences, axis=axis)
            squares = differences * differences
            second, fourth = (ops.mean(x, axis=(2, 3)) for x in (squares, squares * squares))
            kurtosis = fourth / ops.maximum(second * second, 1e-6)
            moments += [ops.mean(ops.abs(differences), axis=(2, 3)), ops.sqrt(second), kurtosis]
    count = len(moments)
    return ops.reshape(ops.log1p(ops.stack(moments, axis=2)), (-1, 3 * count))


def _colours(ycc):
    """Y, Cb, Cr in millionths, int32 [N, 3, H, W], to [N, 3 * 32]."""
    y, cb, cr = (ycc[:, i] for i in range(3))
    bins = [_binned(plane, BINS) for plane in (y, cb + 128 * _MILLION, cr + 128 * _MILLION)]
    return ops.sqrt(ops.concatenate([histogram(b, BINS) for b in bins], axis=1))


def _noise(green, y):
    """How many pixels are as bright and as noisy: int32 [N, H, W] of both to [N, 160]."""
    rows = green[:, :-2] - 2 * green[:, 1:-1] + green[:, 2:]
    residual = ops.abs(rows[..., :-2] - 2 * rows[..., 1:-1] + rows[..., 2:])
    # The octave as a count of powers of 2: exact, where a logarithm may round either way.
    strength = sum(ops.cast(residual + 1 >= 2**k, "int32") for k in range(1, _STRENGTHS))
    code = _binned(y[:, 1:-1, 1:-1], _BRIGHTNESSES) * _STRENGTHS + strength
    return ops.sqrt(histogram(code, _BRIGHTNESSES * _STRENGTHS))


def histogram(codes, count: int):
    """The shares of 0..count - 1 in each of int32 [N, ...]: float32 [N, count]."""
    codes = ops.reshape(codes, (ops.shape(codes)[0], -1))
    images, pixels = ops.shape(codes)
    codes = codes + ops.arange(images, dtype="int32")[:, None] * count
    counts = ops.reshape(counted(codes, images * count), (-1, count))
    return ops.cast(counts, "float32") / ops.cast(pixels, "float32")


def _binned(millionths, count: int):
    """The bin of each value, 0..256 * 10**6, int32 0..count - 1."""
    bins = ops.floor_divide(millionths, 256 // count * _MILLION)
    return ops.clip(bins, 0, count - 1)
