"""Traces that generators leave in an image, as features for `svm_forensic`.

The layers of `RichNet` measure them, of images of any size from 8 x 8; mirroring an image changes
nothing. The traces are of high frequency: an image that was resized has lost most of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from dfk.data.stored import shapes_of
from dfk.errors import UsageError
from dfk.layers import NoiseStatistics, RichFeatures
from dfk.layers.noise_statistics import BINS, rings
from dfk.models import rbf

SMALLEST_IMAGE = 8  # Pixels of a side
FEATURES = 2000  # Saved machines take as many.
# Of memory; the layers measure one after the other.
BYTES_PER_PIXEL = max(NoiseStatistics.BYTES_PER_PIXEL, RichFeatures.BYTES_PER_PIXEL)
_BATCH_VALUES = 2**19  # Of pixels, measured at a time: what a CPU's cache holds.

_NO_RING_EMPTY = 32  # Pixels a side from which on every ring has a frequency
_STATISTICS = 228  # Of the layer's: spectra, moments and colours, without noise by brightness
_COOCCURRENCES = (
    ("first", 3, "row"),
    ("first", 1, "colours"),
    ("second", 3, "row"),
    ("second", 3, "colours"),
)


def features(images: Sequence[np.ndarray], progress: rbf.Progress = iter) -> np.ndarray:
    """Computes the features of images, of which every size has as many.

    Args:
        images: N arrays uint8 [H, W, 3], of any sizes from 8 x 8.
        progress: wraps the list of batches, as `tqdm` does.

    Returns:
        float32 [N, FEATURES], finite: radial spectra, moments of residuals, colour histograms,
        and co-occurrences of residuals.

    Raises:
        UsageError: for an image that is smaller.
    """
    result = np.empty((len(images), FEATURES), np.float32)
    sizes: dict[tuple[int, int], list[int]] = {}
    batches = []
    for i, shape in enumerate(shapes_of(images)):
        sizes.setdefault(shape, []).append(i)
    for (height, width), indices in sizes.items():
        if min(height, width) < SMALLEST_IMAGE:
            raise UsageError(
                f"an image of {width} x {height} pixels is too small for forensic features, "
                f"which need {SMALLEST_IMAGE} x {SMALLEST_IMAGE}"
            )
        step = max(1, _BATCH_VALUES // (height * width * 3))
        batches += [indices[i : i + step] for i in range(0, len(indices), step)]
    for batch in progress(batches):
        result[batch] = _features(np.stack([images[i] for i in batch]))
    return result


def _features(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] -> float32 [N, FEATURES]."""
    measure, count, combinations = _measures()
    statistics = ops.convert_to_numpy(measure(images))[:, :_STATISTICS]
    spectra = statistics[:, : 3 * BINS].reshape(-1, 3, BINS)
    if min(images.shape[1:3]) < _NO_RING_EMPTY:
        spectra = spectra @ _between(*images.shape[1:3])
    # A feature is the sum of what mirroring exchanges, where the layer answers its mean.
    counts = ops.convert_to_numpy(count(images)) * np.sqrt(combinations)
    parts = [spectra.reshape(-1, 3 * BINS), statistics[:, 3 * BINS :], counts]
    return np.concatenate(parts, axis=1)


@functools.cache
def _measures() -> tuple[Callable, Callable, np.ndarray]:
    """The two layers, and how many combinations of levels each feature of the second is for."""
    rich = RichFeatures(_COOCCURRENCES)
    return _compiled(NoiseStatistics()), _compiled(rich), rich.combinations


def _compiled(layer: keras.layers.Layer) -> Callable:
    """The layer, for images of all sizes at once on TensorFlow; JAX compiles it for each size."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    import jax

    return jax.jit(layer)


@functools.lru_cache(maxsize=1024)
def _between(height: int, width: int) -> np.ndarray:
    """What fills the rings that a small image leaves empty by their neighbours: [BINS, BINS]."""
    full = np.unique(ops.convert_to_numpy(rings(height, width)))
    matrix = np.zeros((BINS, BINS), np.float32)
    matrix[full] = [np.interp(np.arange(BINS), full, row) for row in np.eye(len(full))]
    return matrix
