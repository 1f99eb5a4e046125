"""Named augmentations of a batch, drawn without state.

Every function takes images float32 [N, H, W, 3] in 0..255, its strength and a
stateless seed, int64 [2], and draws for each image of the batch by itself. The
caller makes the seed from (run seed, step), so a batch repeats whatever the
number of threads, and no two steps share their draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

Augmentation = Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]


class Step(NamedTuple):
    """One augmentation and its strength, as parsed from `name` or `name=strength`."""

    name: str
    strength: float


def flip(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors left and right with the given probability."""
    flipped = _uniform(images, seed, ()) < probability
    return tf.where(flipped[:, None, None, None], tf.reverse(images, [2]), images)


def rotate(images: tf.Tensor, degrees: float, seed: tf.Tensor) -> tf.Tensor:
    """Turns about the centre by up to `degrees` either way.

    Nearest neighbour, so that it moves pixels and does not blur them (the
    traces of a generator are high-frequency); the border is reflected.
    """
    angle = _uniform(images, seed, (), -degrees, degrees) * (math.pi / 180)
    cos, sin = tf.cos(angle), tf.sin(angle)
    height, width = _size(images)
    x, y = (width - 1) / 2, (height - 1) / 2
    zero = tf.zeros_like(angle)
    transforms = tf.stack(
        [cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos, zero, zero], axis=1
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        interpolation="NEAREST",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def jitter(images: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation by factors within 1 +- `strength`.

    All three are linear in the pixel, so they are one 3x3 matrix and an offset
    per image. Contrast moves about the image's mean grey level.
    """
    brightness, contrast, saturation = tf.unstack(
        _uniform(images, seed, (3, 1), 1 - strength, 1 + strength), axis=1
    )
    grey = tf.constant([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
    to_grey = tf.tile(grey[:, None], [1, 3])
    saturate = saturation[..., None] * tf.eye(3) + (1 - saturation[..., None]) * to_grey
    mean = tf.reduce_sum(tf.reduce_mean(images, axis=[1, 2]) * grey, axis=-1, keepdims=True)
    matrix = (brightness * contrast)[..., None] * saturate
    offset = brightness * (1 - contrast) * mean
    pixels = tf.reshape(images, [tf.shape(images)[0], -1, 3])
    pixels = tf.matmul(pixels, matrix) + offset[:, None]
    return tf.clip_by_value(tf.reshape(pixels, tf.shape(images)), 0, 255)


def blur(images: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """Blurs with a 3x3 Gaussian whose standard deviation is drawn from 0.1 to `sigma` pixels."""
    drawn = _uniform(images, seed, (), min(0.1, sigma), sigma)
    side = tf.exp(-1 / (2 * drawn**2))
    weight = (side / (1 + 2 * side))[:, None, None, None]
    for axis in (1, 2):
        padding = [[0, 0]] * axis + [[1, 1]] + [[0, 0]] * (3 - axis)
        padded = tf.pad(images, padding, "REFLECT")
        before, after = (
            tf.gather(padded, tf.range(tf.shape(images)[axis]) + shift, axis=axis)
            for shift in (0, 2)
        )
        images = (1 - 2 * weight) * images + weight * (before + after)
    return images


def random_crop(images: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Cuts a `size` x `size` window at a place of its own from each image."""
    height, width = _size(images)
    where = _uniform(images, seed, (2,))
    top = tf.cast(where[:, 0] * (height - size + 1), tf.int32)
    left = tf.cast(where[:, 1] * (width - size + 1), tf.int32)
    window = tf.range(size)
    images = tf.gather(images, top[:, None] + window, axis=1, batch_dims=1)
    images = tf.gather(
        tf.transpose(images, [0, 2, 1, 3]), left[:, None] + window, axis=1, batch_dims=1
    )
    return tf.transpose(images, [0, 2, 1, 3])


# Name -> the function and its strength where none is given.
AUGMENTATIONS: dict[str, tuple[Augmentation, float]] = {
    "flip": (flip, 0.5),
    "rotate": (rotate, 10.0),
    "jitter": (jitter, 0.1),
    "blur": (blur, 2.0),
}


def parse(spec: Sequence[str]) -> tuple[Step, ...]:
    """Reads `["flip", "rotate=15"]`.

    Raises:
        ValueError: for an unknown name or a strength that is no positive number.
    """
    steps = []
    for item in spec:
        name, _, strength = item.strip().partition("=")
        if name not in AUGMENTATIONS:
            raise ValueError(f"no augmentation {name!r}; there are {', '.join(AUGMENTATIONS)}")
        try:
            value = float(strength) if strength else AUGMENTATIONS[name][1]
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"{item!r}: the strength must be a positive number")
        steps.append(Step(name, value))
    return tuple(steps)


def augment(images: tf.Tensor, steps: Sequence[Step], seed: tf.Tensor) -> tf.Tensor:
    """Applies `steps` in their order to images [N, H, W, 3]; the shape stays."""
    for position, step in enumerate(steps):
        function, _ = AUGMENTATIONS[step.name]
        key = tf.random.experimental.stateless_fold_in(seed, position)
        images = tf.ensure_shape(function(images, step.strength, key), images.shape)
    return images


def _uniform(
    images: tf.Tensor, seed: tf.Tensor, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Draws float32 [N, *shape] in [low, high), a value of its own for each image."""
    return tf.random.stateless_uniform([tf.shape(images)[0], *shape], seed, low, high)


def _size(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.cast(tf.shape(images), tf.float32)
    return shape[1], shape[2]
