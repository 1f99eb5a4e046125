"""What training draws for a batch: without state, so that a seed says it all.

Numbers alone, a few for each image; `dfk.data.augment` and `dfk.data.mixing` change the pixels by
them, and so does `dfk.data.resident` where the images lie on a GPU: with the same draws. Every
function takes how many images there are, int32 [], and a stateless seed, int64 [2].
"""

from __future__ import annotations

import math

import tensorflow as tf


def count_of(images: tf.Tensor) -> tf.Tensor:
    """N, int32 [], of images [N, ...]."""
    return tf.shape(images)[0]


def keys(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Seeds made of one, each with draws of its own."""
    return [tf.random.experimental.stateless_fold_in(seed, i) for i in range(count)]


def uniform(
    count: tf.Tensor, seed: tf.Tensor, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Draws float32 [N, *shape] in [low, high), a value of its own for each image."""
    return tf.random.stateless_uniform([count, *shape], seed, low, high)


def flip(count: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Which images are mirrored, bool [N]."""
    return uniform(count, seed, ()) < probability


def turn(count: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Quarters that each image is turned by, int32 [N] in 0..3."""
    drawn = uniform(count, seed, ()) / probability
    return tf.where(drawn < 1, 1 + tf.cast(3 * drawn, tf.int32), 0)


def rotate(count: tf.Tensor, degrees: float, seed: tf.Tensor) -> tf.Tensor:
    """The angle of each image in radians, float32 [N]."""
    return uniform(count, seed, (), -degrees, degrees) * (math.pi / 180)


def jitter(count: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Factors of brightness, contrast and saturation, float32 [N, 3]."""
    return uniform(count, seed, (3, 1), 1 - strength, 1 + strength)[..., 0]


def blur(count: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """The weight of either neighbour of a pixel in a 3x3 Gaussian, float32 [N]."""
    drawn = uniform(count, seed, (), min(0.1, sigma), sigma)
    side = tf.exp(-1 / (2 * drawn**2))
    return side / (1 + 2 * side)


def gaussian(count: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """The standard deviation of each image's blur in pixels, float32 [N]."""
    return uniform(count, seed, (), min(0.1, sigma), sigma)


def noise(count: tf.Tensor, sigma: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The standard deviation of each image's noise, float32 [N], and the seed of it, int64 [2]."""
    key = tf.random.experimental.stateless_fold_in(seed, 1)
    return uniform(count, seed, (), min(1.0, sigma), sigma), key


def tone(count: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Brightness, contrast and gamma, float32 [N, 3]: of each image one that is not 1."""
    drawn = uniform(count, seed, (2,))
    factor, kind = 1 + strength * (2 * drawn[:, 0] - 1), tf.cast(drawn[:, 1] * 3, tf.int32)
    return tf.stack([tf.where(kind == k, factor, 1.0) for k in range(3)], axis=1)


def cut(count: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """By axis, which share of its length an image loses, and where of 0..1: float32 [N, 2, 2]."""
    return uniform(count, seed, (2, 2)) * [share, 1.0]


def crop(
    count: tf.Tensor, height: tf.Tensor, width: tf.Tensor, size: int, seed: tf.Tensor
) -> tf.Tensor:
    """The first row and column of a `size` x `size` window in each image, int32 [N, 2]."""
    where = uniform(count, seed, (2,))
    sides = tf.cast(tf.stack([height, width]), tf.float32)
    return tf.cast(where * (sides - size + 1), tf.int32)


def mixup(count: tf.Tensor, alpha: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What is left of each image, float32 [N], and the one that it is blended with, int32 [N]."""
    share_key, order_key = keys(seed, 2)
    return _beta(alpha, count, share_key), _permutation(count, order_key)


def cutmix(
    count: tf.Tensor, height: tf.Tensor, width: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """A box for each image, and the image that fills it, int32 [N].

    A box, int32 [N, 4], is its middle column and row, its width and its height; it may reach
    beyond the border.
    """
    share_key, order_key, y_key, x_key = keys(seed, 4)
    side = tf.sqrt(1 - _beta(alpha, count, share_key))
    order = _permutation(count, order_key)
    y = tf.random.stateless_uniform([count], y_key, 0, height, tf.int32)
    x = tf.random.stateless_uniform([count], x_key, 0, width, tf.int32)
    heights = tf.cast(side * tf.cast(height, tf.float32), tf.int32)
    widths = tf.cast(side * tf.cast(width, tf.float32), tf.int32)
    return tf.stack([x, y, widths, heights], axis=1), order


def is_cutmix(switch_prob: float, seed: tf.Tensor) -> tf.Tensor:
    """Whether a batch, of which either is asked, is mixed by CutMix and not by MixUp: bool []."""
    return tf.random.stateless_uniform([], seed) < switch_prob


def _beta(alpha: float, count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws float32 [count] from Beta(alpha, alpha)."""
    draws = tf.random.stateless_gamma([2, count], seed, alpha)
    # A small alpha draws gammas that are zero in float32: then one of the two has it all.
    return tf.math.divide_no_nan(draws[0], tf.reduce_sum(draws, axis=0))


def _permutation(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.experimental.stateless_shuffle(tf.range(count), seed)
