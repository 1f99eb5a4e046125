"""Named augmentations of a batch, drawn without state.

Every function takes images float32 [N, H, W, 3] in 0..255 (those of `MOVES` take uint8, too, at a
quarter of the cost), its strength and a stateless seed, int64 [2], and draws for each image of
the batch by itself. The caller makes the seed from (run seed, step), so a batch repeats
whatever the number of threads, and no two steps share their draws.

What a generator leaves is fine and faint. Flips and quarter turns move pixels and change none;
what happens to an image on its way through the world is in `dfk.data.degradations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from dfk.config.augmentation import PRESETS, STRENGTHS, Step, degrades, expand, parse
from dfk.data import degradations, draws, kernels
from dfk.data.draws import count_of
from dfk.errors import UsageError

__all__ = [
    "AUGMENTATIONS",
    "MOVES",
    "PRESETS",
    "Step",
    "augment",
    "check",
    "degrades",
    "expand",
    "parse",
]

Augmentation = Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]


def flip(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors left and right with the given probability."""
    return kernels.mirror(images, draws.flip(count_of(images), probability, seed), axis=2)


def vflip(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors top and bottom with the given probability."""
    return kernels.mirror(images, draws.flip(count_of(images), probability, seed), axis=1)


def turn(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Turns by 90, 180 or 270 degrees, each as likely, with the given probability.

    No pixel changes its value, so nothing is lost. 3/4 makes all four orientations alike, and
    with a `flip` of 1/2 all eight symmetries of a square.

    Raises:
        UsageError: for images that are not square.
    """
    check([Step("turn", probability)], *images.shape[1:3])
    return kernels.turn(images, draws.turn(count_of(images), probability, seed))


def rotate(images: tf.Tensor, degrees: float, seed: tf.Tensor) -> tf.Tensor:
    """Turns about the centre by up to `degrees` either way.

    Nearest neighbour, so that it moves pixels and does not blur them (the
    traces of a generator are high-frequency); the border is reflected.
    """
    return kernels.rotate(images, draws.rotate(count_of(images), degrees, seed))


def jitter(images: tf.Tensor, strength: float, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation by factors within 1 +- `strength`.

    All three are linear in the pixel, so they are one 3x3 matrix and an offset
    per image. Contrast moves about the image's mean grey level.
    """
    factors = draws.jitter(count_of(images), strength, seed)[..., None]
    brightness, contrast, saturation = tf.unstack(factors, axis=1)
    grey = tf.constant([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
    to_grey = tf.tile(grey[:, None], [1, 3])
    saturate = saturation[..., None] * tf.eye(3) + (1 - saturation[..., None]) * to_grey
    # Over whole rows first: TensorFlow is five times as slow at both axes at once.
    mean = tf.reduce_mean(tf.reduce_mean(images, axis=1), axis=1)
    mean = tf.reduce_sum(mean * grey, axis=-1, keepdims=True)
    matrix = (brightness * contrast)[..., None] * saturate
    offset = brightness * (1 - contrast) * mean
    return kernels.recolour(images, matrix, offset)


def blur(images: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """Blurs with a 3x3 Gaussian whose standard deviation is drawn from 0.1 to `sigma` pixels.

    Three pixels hold no more than the middle of a wide Gaussian: 2 does what `gaussian` does
    with 0.8. It is the study's kernel.
    """
    return kernels.blur(images, draws.blur(count_of(images), sigma, seed))


def random_crop(images: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Cuts a `size` x `size` window at a place of its own from each image."""
    count, height, width, _ = tf.unstack(tf.shape(images))
    top, left = tf.unstack(draws.crop(count, height, width, size, seed), axis=1)
    window = tf.range(size)
    images = tf.gather(images, top[:, None] + window, axis=1, batch_dims=1)
    images = tf.gather(
        tf.transpose(images, [0, 2, 1, 3]), left[:, None] + window, axis=1, batch_dims=1
    )
    return tf.transpose(images, [0, 2, 1, 3])


# These move pixels and change none.
MOVES = ("flip", "vflip", "turn", "rotate")

# Name -> the function and its strength where none is given.
AUGMENTATIONS: dict[str, tuple[Augmentation, float]] = {
    name: (function, STRENGTHS[name].default)
    for name, function in {
        **{function.__name__: function for function in (flip, vflip, turn, rotate, jitter, blur)},
        **degradations.DEGRADATIONS,
        **degradations.CHAINS,
    }.items()
}


def pairs(images: tf.Tensor, steps: Sequence[Step], seed: tf.Tensor) -> tf.Tensor:
    """Both views of images: as `augment` makes them and, in channels 3 to 5, before they degrade.

    They are moved and cut alike: [N, H, W, 3] to [N, H, W, 6], float32.
    """
    views = [augment(images, steps, seed, clean) for clean in (False, True)]
    return tf.concat([tf.cast(view, tf.float32) for view in views], axis=-1)


def check(steps: Sequence[Step], height: int, width: int) -> None:
    """Refuses steps that images of this size cannot take.

    Raises:
        UsageError: if they are to be turned and are not square.
    """
    if height != width and any(step.name == "turn" for step in steps):
        raise UsageError(
            f"the augmentation 'turn' needs square images, these are {width} x {height}; take "
            "flip,vflip instead, or an --image_size"
        )


def augment(
    images: tf.Tensor, steps: Sequence[Step], seed: tf.Tensor, clean: bool = False
) -> tf.Tensor:
    """Applies `steps` in their order to images [N, H, W, 3], uint8 or float32; the shape stays.

    The result is uint8 only if the images were and no step has changed a value.

    Args:
        clean: leave out those that degrade; the others draw what they would draw beside them.
    """
    for position, step in enumerate(steps):
        if clean and degrades([step]):
            continue
        function, _ = AUGMENTATIONS[step.name]
        key = tf.random.experimental.stateless_fold_in(seed, position)
        if step.name not in MOVES:
            images = tf.cast(images, tf.float32)
        images = tf.ensure_shape(function(images, step.strength, key), images.shape)
    return images
