"""Traces that generators leave in an image, as features for `svm_forensic`.

Everything is relative to the image's size, so that images of any size from 8 x 8 can be
compared, and mirroring an image changes nothing. The traces are of high frequency: an
image that was resized has lost most of them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import fft

from dfk.errors import UsageError

SMALLEST_IMAGE = 8  # Pixels of a side
BINS = 32  # Of a radial spectrum and of a colour histogram
_BATCH_VALUES = 2**21  # Of pixels, worked on at a time: what a CPU's cache holds.

# JPEG's Y, Cb, Cr out of R, G, B
_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_HORIZONTAL, _VERTICAL = -1, -2

# Co-occurrences count triples of residuals cut to -3..3: the order of the difference, the
# step that it is rounded to (odd, so that the rounding is symmetric), and where the triple
# is: three neighbours of green in a row, or the three colours of a pixel.
_LEVELS = 7
_COOCCURRENCES = ((1, 3, "row"), (1, 1, "colours"), (2, 3, "row"), (2, 3, "colours"))


def features(images: Sequence[np.ndarray]) -> np.ndarray:
    """Computes the features of images, of which every size has as many.

    Args:
        images: N arrays uint8 [H, W, 3], of any sizes from 8 x 8; a large one takes some 100
            bytes a pixel.

    Returns:
        float32 [N, FEATURES], finite: radial spectra, moments and co-occurrences of
        residuals, colour histograms.

    Raises:
        UsageError: for an image that is smaller.
    """
    result = np.empty((len(images), FEATURES), np.float32)
    sizes: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(images):
        sizes.setdefault(image.shape, []).append(i)
    for shape, indices in sizes.items():
        if min(shape[:2]) < SMALLEST_IMAGE:
            raise UsageError(
                f"an image of {shape[1]} x {shape[0]} pixels is too small for forensic features, "
                f"which need {SMALLEST_IMAGE} x {SMALLEST_IMAGE}"
            )
        step = max(1, _BATCH_VALUES // math.prod(shape))
        for start in range(0, len(indices), step):
            batch = indices[start : start + step]
            result[batch] = _features(np.stack([images[i] for i in batch]))
    return result


def _features(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] -> float32 [N, FEATURES]."""
    colours = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    ycc = np.tensordot(colours.astype(np.float32), _YCC, axes=(1, 1)).transpose(0, 3, 1, 2)
    ycc = np.ascontiguousarray(ycc)
    parts = [radial_spectrum(ycc), residual_moments(ycc), colour_histogram(ycc)]
    parts += [cooccurrence(colours, *which) for which in _COOCCURRENCES]
    return np.concatenate(parts, axis=1)


def radial_spectrum(planes: np.ndarray) -> np.ndarray:
    """The mean log power in 32 rings of frequency, from 0 to the corner at sqrt(1/2) per pixel.

    Args:
        planes: float32 [N, C, H, W], about 0..255.

    Returns:
        float32 [N, C * 32]. A Hann window keeps the image's borders out of the spectrum, and
        its energy divides the power, so that white noise scores alike at every size.

    Source: Durall et al., 2020, "Watch your Up-Convolution".
    """
    n, channels, height, width = planes.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    window = (window / np.linalg.norm(window)).astype(np.float32)
    spectrum = fft.rfft2((planes - planes.mean((2, 3), keepdims=True)) * window)
    power = np.log1p(spectrum.real**2 + spectrum.imag**2)
    return _ring_means(power.reshape(n * channels, height, -1), width).reshape(n, -1)


def _ring_means(power: np.ndarray, width: int) -> np.ndarray:
    """Averages [N, H, W // 2 + 1], half of a real image's spectrum, over rings: float32 [N, 32]."""
    fy, fx = np.fft.fftfreq(power.shape[1])[:, None], np.fft.rfftfreq(width)
    ring = (np.hypot(fy, fx) / math.sqrt(0.5) * BINS).astype(int).clip(max=BINS - 1)
    # Most of this half stands for the other one, too.
    weight = np.where((fx == 0) | (fx == 0.5), 1.0, 2.0)
    rows = np.arange(len(power))[:, None, None] * BINS
    sums = np.bincount((ring + rows).ravel(), (power * weight).ravel(), len(power) * BINS)
    counts = np.bincount(ring.ravel(), (weight + 0 * fy).ravel(), BINS)
    full = np.flatnonzero(counts)  # Small images leave rings empty; their neighbours fill them.
    means = sums.reshape(-1, BINS)[:, full] / counts[full]
    fill = np.stack([np.interp(np.arange(BINS), full, row) for row in np.eye(len(full))])
    return (means @ fill).astype(np.float32)


def residual_moments(planes: np.ndarray) -> np.ndarray:
    """How large and how heavy-tailed the first and second differences are, in both directions.

    Args:
        planes: float32 [N, C, H, W], about 0..255.

    Returns:
        float32 [N, C * 12]: log of the mean size, log of the root mean square, log kurtosis.
    """
    n, channels = planes.shape[:2]
    moments = []
    for axis, order in itertools.product((_HORIZONTAL, _VERTICAL), (1, 2)):
        d = np.diff(planes, order, axis=axis).reshape(n * channels, -1)
        squares = d * d
        second = squares.mean(axis=1)
        fourth = np.einsum("ij,ij->i", squares, squares) / d.shape[1]
        kurtosis = fourth / np.maximum(second**2, 1e-6)
        moments += [np.abs(d).mean(axis=1), np.sqrt(second), kurtosis]
    return np.log1p(np.stack(moments, axis=1)).reshape(n, -1)


def colour_histogram(ycc: np.ndarray) -> np.ndarray:
    """Square roots of the shares of pixels in 32 bins of Y, Cb and Cr each.

    Args:
        ycc: float32 [N, 3, H, W], Y in 0..255, Cb and Cr in -128..128.

    Returns:
        float32 [N, 96].
    """
    offset = np.array([0, 128, 128], np.float32)[:, None, None]
    bins = ((ycc + offset) * (BINS / 256)).astype(np.intp).clip(0, BINS - 1)
    return np.concatenate([_histogram(bins[:, c], BINS) for c in range(3)], axis=1)


def cooccurrence(colours: np.ndarray, order: int, step: int, where: str) -> np.ndarray:
    """Square roots of the shares of triples of residuals, horizontal ones, then vertical ones.

    Args:
        colours: uint8 [N, 3, H, W].
        order: of the difference: 1 or 2.
        step: residuals are rounded to multiples of it, and cut to three of them.
        where: `row` for three neighbours of green, `colours` for a pixel's red, green, blue.

    Returns:
        float32 [N, F]; triples that mirroring exchanges share a feature.

    Source: Pevny et al., 2010, "Steganalysis by Subtractive Pixel Adjacency Matrix" (rows);
    Fridrich & Kodovsky, 2012, "Rich Models for Steganalysis of Digital Images" (quantised
    residuals); Goljan et al., 2014, "Rich Model for Steganalysis of Color Images" (colours).
    """
    numbers = _numbers(order, where)
    parts = []
    for axis in (_HORIZONTAL, _VERTICAL):
        planes = colours if where == "colours" else colours[:, 1]
        d = np.diff(planes.astype(np.int16), order, axis=axis)
        d = np.clip((d + step // 2) // step, -3, 3) + 3
        if where == "colours":
            first, second, third = d[:, 0], d[:, 1], d[:, 2]
        else:
            d = np.moveaxis(d, axis, -1)
            first, second, third = d[..., :-2], d[..., 1:-1], d[..., 2:]
        codes = (first * _LEVELS + second) * _LEVELS + third
        parts.append(_histogram(numbers[codes], numbers.max() + 1))
    return np.concatenate(parts, axis=1)


@functools.cache
def _numbers(order: int, where: str) -> np.ndarray:
    """The feature that each triple counts for, int [343]; a mirrored triple has the same."""
    mirrored = np.indices((_LEVELS,) * 3).reshape(3, -1)
    if order == 1:  # Differences of first order change their sign.
        mirrored = _LEVELS - 1 - mirrored
    if where == "row":
        mirrored = mirrored[::-1]
    codes = np.ravel_multi_index(tuple(mirrored), (_LEVELS,) * 3)
    return np.unique(np.minimum(codes, np.arange(len(codes))), return_inverse=True)[1]


def _histogram(bins: np.ndarray, count: int) -> np.ndarray:
    """Roots of the shares of 0..count-1 in each of int [N, ...]: float32 [N, count]."""
    n = len(bins)
    bins = bins.reshape(n, -1)
    counts = np.bincount((bins + np.arange(n)[:, None] * count).ravel(), minlength=n * count)
    # Roots bring rare and common values to scales alike (Hellinger's distance).
    return np.sqrt(counts.reshape(n, count) / bins.shape[1]).astype(np.float32)


FEATURES = _features(np.zeros((1, SMALLEST_IMAGE, SMALLEST_IMAGE, 3), np.uint8)).shape[1]
