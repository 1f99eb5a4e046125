"""Named augmentations of a batch, drawn without state.

Every function takes images float32 [N, H, W, 3] in 0..255 (those of `MOVES` take uint8, too, at a
quarter of the cost), its strength and a stateless seed, int64 [2], and draws for each image of
the batch by itself. The caller makes the seed from (run seed, step), so a batch repeats
whatever the number of threads, and no two steps share their draws.

What a generator leaves is fine and faint. Flips and quarter turns move pixels and change none;
`jpeg`, `gaussian` and `resize` do to an image what happens to it on its way through the world,
and `degrade` does at most one of them to an image, so that a model still learns from clean ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from dfk.config.augmentation import PRESETS, STRENGTHS, Step, expand, parse
from dfk.data import kernels
from dfk.errors import UsageError

__all__ = ["AUGMENTATIONS", "MOVES", "PRESETS", "Step", "augment", "check", "expand", "parse"]

Augmentation = Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]


def flip(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors left and right with the given probability."""
    return kernels.mirror(images, _uniform(images, seed, ()) < probability, axis=2)


def vflip(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors top and bottom with the given probability."""
    return kernels.mirror(images, _uniform(images, seed, ()) < probability, axis=1)


def turn(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Turns by 90, 180 or 270 degrees, each as likely, with the given probability.

    No pixel changes its value, so nothing is lost. 3/4 makes all four orientations alike, and
    with a `flip` of 1/2 all eight symmetries of a square.

    Raises:
        UsageError: for images that are not square.
    """
    check([Step("turn", probability)], *images.shape[1:3])
    drawn = _uniform(images, seed, ()) / probability
    return kernels.turn(images, tf.where(drawn < 1, 1 + tf.cast(3 * drawn, tf.int32), 0))


def rotate(images: tf.Tensor, degrees: float, seed: tf.Tensor) -> tf.Tensor:
    """Turns about the centre by up to `degrees` either way.

    Nearest neighbour, so that it moves pixels and does not blur them (the
    traces of a generator are high-frequency); the border is reflected.
    """
    angle = _uniform(images, seed, (), -degrees, degrees) * (math.pi / 180)
    return kernels.rotate(images, angle)


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
    drawn = _uniform(images, seed, (), min(0.1, sigma), sigma)
    side = tf.exp(-1 / (2 * drawn**2))
    return kernels.blur(images, side / (1 + 2 * side))


def gaussian(images: tf.Tensor, sigma: float, seed: tf.Tensor) -> tf.Tensor:
    """Blurs with a whole Gaussian whose standard deviation is drawn from 0.1 to `sigma` pixels.

    The result is rounded, as a file would be.
    """
    drawn = _uniform(images, seed, (), min(0.1, sigma), sigma)[:, None, None]

    def weights(size: tf.Tensor) -> tf.Tensor:
        place = tf.range(size)
        weight = tf.exp(-(((place - place[:, None]) / drawn) ** 2) / 2)
        return weight / tf.reduce_sum(weight, axis=2, keepdims=True)

    return _filter(images, weights)


def resize(images: tf.Tensor, factor: float, seed: tf.Tensor) -> tf.Tensor:
    """Shrinks by a factor drawn from `factor` to 1 and enlarges to the former size again.

    Both are bicubic (a = -1/2), the first with antialiasing, as Pillow has them. The result
    is rounded, as a file would be.
    """
    drawn = _uniform(images, seed, (), factor, 1)[:, None, None]

    def weights(size: tf.Tensor) -> tf.Tensor:
        small = tf.maximum(tf.round(size * drawn), 1)
        place = tf.range(size)[:, None]
        kernel = _cubic((tf.range(size) + 0.5) * small / size - place - 0.5)
        kernel = tf.where(place < small, kernel, 0)  # [N, small pixel, large pixel]
        shrink = tf.math.divide_no_nan(kernel, tf.reduce_sum(kernel, axis=2, keepdims=True))
        enlarge = kernel / tf.reduce_sum(kernel, axis=1, keepdims=True)
        return tf.matmul(enlarge, shrink, transpose_a=True)

    return _filter(images, weights)


def jpeg(images: tf.Tensor, quality: float, seed: tf.Tensor) -> tf.Tensor:
    """Writes each image as JPEG, with a quality drawn from `quality` to 100, and reads it."""
    drawn = tf.cast(tf.round(_uniform(images, seed, (), quality, 100)), tf.int32)

    def through_a_file(image_and_quality: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, quality = image_and_quality
        file = tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality)
        return tf.ensure_shape(tf.io.decode_jpeg(file), image.shape)

    spec = tf.TensorSpec(images.shape[1:], tf.uint8)
    files = tf.map_fn(through_a_file, (_to_pixels(images), drawn), fn_output_signature=spec)
    return tf.cast(files, tf.float32)


def degrade(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Does one of `gaussian=2`, `jpeg=30` and `resize=0.5`, each as likely, to some of the images.

    An image is degraded with the given probability, and in one way only: what two do to it at
    once is mostly what the worse of them does, and a network of a short training learns nothing
    from an image that holds no trace any more.

    Source: Wang et al., 2020, "CNN-generated images are surprisingly easy to spot ... for now",
    which blurs (sigma 0 to 3) and compresses (quality 30 to 100).
    """
    kind = _uniform(images, seed, ()) * len(_DEGRADATIONS) / probability
    for place, (operation, worst) in enumerate(_DEGRADATIONS):
        chosen = tf.where((place <= kind) & (kind < place + 1))
        key = tf.random.experimental.stateless_fold_in(seed, place)
        degraded = operation(tf.gather(images, chosen[:, 0]), worst, key)
        images = tf.tensor_scatter_nd_update(images, chosen, degraded)
    return images


_DEGRADATIONS = ((gaussian, 2.0), (jpeg, 30.0), (resize, 0.5))


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


# These move pixels and change none.
MOVES = ("flip", "vflip", "turn", "rotate")

# Name -> the function and its strength where none is given.
AUGMENTATIONS: dict[str, tuple[Augmentation, float]] = {
    function.__name__: (function, STRENGTHS[function.__name__].default)
    for function in (flip, vflip, turn, rotate, jitter, blur, gaussian, resize, jpeg, degrade)
}


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


def augment(images: tf.Tensor, steps: Sequence[Step], seed: tf.Tensor) -> tf.Tensor:
    """Applies `steps` in their order to images [N, H, W, 3], uint8 or float32; the shape stays.

    The result is uint8 only if the images were and no step has changed a value.
    """
    for position, step in enumerate(steps):
        function, _ = AUGMENTATIONS[step.name]
        key = tf.random.experimental.stateless_fold_in(seed, position)
        if step.name not in MOVES:
            images = tf.cast(images, tf.float32)
        images = tf.ensure_shape(function(images, step.strength, key), images.shape)
    return images


def _uniform(
    images: tf.Tensor, seed: tf.Tensor, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Draws float32 [N, *shape] in [low, high), a value of its own for each image."""
    return tf.random.stateless_uniform([tf.shape(images)[0], *shape], seed, low, high)


def _filter(images: tf.Tensor, weights: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Filters rows and columns by `weights` of their length: [N, to, from], a set per image.

    Two products of matrices: the filters of a batch differ, which no convolution allows.
    """
    height, width = _size(images)
    images = tf.einsum("nij,njwc->niwc", weights(height), images)
    images = tf.einsum("nij,nhjc->nhic", weights(width), images)
    return tf.clip_by_value(tf.round(images), 0, 255)


def _cubic(x: tf.Tensor) -> tf.Tensor:
    """The bicubic kernel with a = -1/2 (Keys, 1981)."""
    x = tf.abs(x)
    near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return tf.where(x < 1, near, tf.where(x < 2, far, 0))


def _to_pixels(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(tf.clip_by_value(images, 0, 255)), tf.uint8)


def _size(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.cast(tf.shape(images), tf.float32)
    return shape[1], shape[2]
