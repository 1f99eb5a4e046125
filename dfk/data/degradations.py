"""What happens to images on their way through the world, drawn without state for training.

The functions are called as those of `dfk.data.augment` are: images float32 [N, H, W, 3] in
0..255, a strength and a seed, int64 [2]. What they return is whole numbers, as a file would
hold. `dfk.evaluation.degrade` has Pillow's operations, on which a model is tested.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from dfk.config.augmentation import DEGRADATIONS as NAMES
from dfk.config.augmentation import STRENGTHS
from dfk.data import draws
from dfk.data.draws import count_of, uniform

_LONGEST = 3  # Operations that an image goes through
_LARGEST = 1.3  # Factor that an image is enlarged by


def gaussian(images: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """Blurs with a whole Gaussian whose standard deviation is drawn from 0.1 to `sigma` pixels."""
    drawn = draws.gaussian(count_of(images), sigma, seed)[:, None, None]

    def weights(size: tf.Tensor) -> tf.Tensor:
        place = tf.range(size)
        weight = tf.exp(-(((place - place[:, None]) / drawn) ** 2) / 2)
        return weight / tf.reduce_sum(weight, axis=2, keepdims=True)

    return _filter(images, weights)


def jpeg(images: tf.Tensor, quality: float, seed: tf.Tensor) -> tf.Tensor:
    """Writes each image as JPEG, with a quality drawn from `quality` to 100, and reads it.

    Two of three have their colours at half the size (4:2:0), as most files. The others (4:4:4) are
    of the next lower multiple of 5, or of `quality`: TensorFlow takes no drawn one for them.
    """
    drawn = uniform(count_of(images), seed, (2,))
    qualities = tf.cast(tf.round(quality + drawn[:, 0] * (100 - quality)), tf.int32)
    steps = [round(quality), *range(5 * (round(quality) // 5 + 1), 101, 5)]

    def with_whole_colours(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
        files = [
            functools.partial(tf.io.encode_jpeg, image, quality=step, chroma_downsampling=False)
            for step in steps
        ]
        return tf.switch_case(tf.reduce_sum(tf.cast(quality >= steps, tf.int32)) - 1, files)

    def through_a_file(drawn: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, quality, halved = drawn
        file = tf.cond(
            halved,
            lambda: tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality),
            lambda: with_whole_colours(image, quality),
        )
        return tf.ensure_shape(tf.io.decode_jpeg(file, dct_method="INTEGER_ACCURATE"), image.shape)

    spec = tf.TensorSpec(images.shape[1:], tf.uint8)
    batch = tf.cast(_whole(images), tf.uint8), qualities, drawn[:, 1] < 2 / 3

    def through_files() -> tf.Tensor:
        return tf.cast(tf.map_fn(through_a_file, batch, fn_output_signature=spec), tf.float32)

    # Of no image, `map_fn` would have to know the size.
    return tf.cond(tf.shape(images)[0] > 0, through_files, lambda: images)


def resize(images: tf.Tensor, factor: float, seed: tf.Tensor) -> tf.Tensor:
    """Resizes by a factor drawn from `factor` to 1.3, and back to the former size.

    Bilinear, bicubic (a = -1/2) or Lanczos (3 lobes), each as likely, and each with antialiasing
    where it shrinks, as Pillow has them.
    """
    drawn = uniform(count_of(images), seed, (2,))
    factors = (factor + drawn[:, 0] * (_LARGEST - factor))[:, None, None]
    kinds = tf.cast(drawn[:, 1] * len(_KERNELS), tf.int32)[:, None, None]

    def weights(size: tf.Tensor) -> tf.Tensor:
        other, most = tf.maximum(tf.round(size * factors), 1), tf.math.ceil(size * _LARGEST)
        there = _resampling(size, size, most, other, kinds)
        return tf.matmul(_resampling(most, other, size, size, kinds), there)

    return _filter(images, weights)


def noise(images: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """Adds Gaussian noise to each value, whose standard deviation is drawn from 1 to `sigma`."""
    drawn, key = draws.noise(count_of(images), sigma, seed)
    normal = tf.random.stateless_normal(tf.shape(images), key)
    return _whole(images + drawn[:, None, None, None] * normal)


def tone(images: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast about the mean, or gamma by a factor within 1 +- `strength`."""
    factors = draws.tone(count_of(images), strength, seed)[..., None, None, None]
    brightness, contrast, gamma = tf.unstack(factors, axis=1)
    mean = tf.reduce_mean(tf.reduce_mean(images, axis=1, keepdims=True), axis=(2, 3), keepdims=True)
    changed = tf.clip_by_value((images * brightness - mean) * contrast + mean, 0, 255)
    return _whole(255 * (changed / 255) ** gamma)


def cut(images: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Cuts up to `share` of a side away, somewhere, and fills what is free by reflection.

    What is left begins at the corner, so that the blocks of a JPEG no longer do.
    """
    drawn = draws.cut(count_of(images), share, seed)[..., None]
    for axis in (1, 2):
        size = tf.cast(tf.shape(images)[axis], tf.float32)
        kept = tf.maximum(tf.round(size * (1 - drawn[:, axis - 1, 0])), 2)
        first = tf.floor(drawn[:, axis - 1, 1] * (size - kept + 1))
        place = tf.math.floormod(tf.range(size), 2 * kept - 2)
        place = first + tf.minimum(place, 2 * kept - 2 - place)
        images = tf.gather(images, tf.cast(place, tf.int32), axis=axis, batch_dims=1)
    return images


def degrade(
    images: tf.Tensor, probability: float, seed: tf.Tensor, without: str | None = None
) -> tf.Tensor:
    """Does one to three of the operations, one after another, to some of the images.

    An image is degraded with the given probability; the others stay clean. Each length of a chain,
    and each operation in it, is as likely, and each is drawn up to its default strength. WebP is
    none of them, since TensorFlow cannot write it.

    Source of the idea: Wang et al., 2020, "CNN-generated images are surprisingly easy to spot ...
    for now"; chains of several mild ones as in Wang et al., 2021, "Real-ESRGAN".

    Args:
        without: an operation that is left out, so that one may test on it.
    """
    names = [name for name in NAMES if name != without]
    drawn = uniform(count_of(images), seed, (1 + _LONGEST,))
    length = tf.cast(_LONGEST * drawn[:, 0] / probability, tf.int32) + 1
    length = tf.where(drawn[:, 0] < probability, length, 0)
    kinds = tf.cast(drawn[:, 1:] * len(names), tf.int32)

    def once(turn: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for place, name in enumerate(names):
            chosen = tf.where((kinds[:, turn] == place) & (turn < length))
            key = tf.random.experimental.stateless_fold_in(seed, turn * len(names) + place)
            part = tf.ensure_shape(tf.gather(images, chosen[:, 0]), [None, *images.shape[1:]])
            degraded = DEGRADATIONS[name](part, STRENGTHS[name].default, key)
            images = tf.tensor_scatter_nd_update(images, chosen, degraded)
        return turn + 1, images

    # A loop of the graph: unrolled, it would take three times as long to trace.
    return tf.while_loop(lambda turn, _: turn < _LONGEST, once, (0, images))[1]


Degradation = Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]
DEGRADATIONS: dict[str, Degradation] = dict(
    zip(NAMES, (gaussian, jpeg, resize, noise, tone, cut), strict=True)
)
# `degrade`, and what leaves one of them out.
CHAINS: dict[str, Degradation] = {
    "degrade": degrade,
    **{f"degrade_without_{name}": functools.partial(degrade, without=name) for name in NAMES},
}


def _filter(images: tf.Tensor, weights: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Filters rows and columns by `weights` of their length: [N, to, from], a set per image.

    Two products of matrices: the filters of a batch differ, which no convolution allows.
    """
    height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
    images = tf.einsum("nij,njwc->niwc", weights(height), images)
    images = tf.einsum("nij,nhjc->nhic", weights(width), images)
    return _whole(images)


def _resampling(many: tf.Tensor, size: tf.Tensor, most: tf.Tensor, other: tf.Tensor, kinds):
    """Weights [N, most, many] that make `other` [N, 1, 1] pixels of the first `size` of `many`.

    Past `other` and past `size` they are zero.
    """
    scale = size / other
    to, of = tf.range(most)[:, None], tf.range(many)
    # Antialiasing: a kernel is as wide as the pixels that it makes.
    distance = ((of + 0.5) - (to + 0.5) * scale) / tf.maximum(scale, 1)
    weight = tf.zeros_like(distance)
    for kind, kernel in enumerate(_KERNELS):
        weight = tf.where(kinds == kind, kernel(tf.abs(distance)), weight)
    weight = tf.where((to < other) & (of < size), weight, 0)
    return tf.math.divide_no_nan(weight, tf.reduce_sum(weight, axis=2, keepdims=True))


def _linear(x: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1 - x, 0)


def _cubic(x: tf.Tensor) -> tf.Tensor:
    """With a = -1/2 (Keys, 1981)."""
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return tf.where(x < 1, near, tf.where(x < 2, far, 0))


def _lanczos(x: tf.Tensor) -> tf.Tensor:
    """With 3 lobes."""
    return tf.where(x < 3, _sinc(x) * _sinc(x / 3), 0)


def _sinc(x: tf.Tensor) -> tf.Tensor:
    x = tf.maximum(math.pi * x, 1e-6)
    return tf.sin(x) / x


_KERNELS: Sequence[Callable[[tf.Tensor], tf.Tensor]] = (_linear, _cubic, _lanczos)


def _whole(images: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(tf.round(images), 0, 255)
