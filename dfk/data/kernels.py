"""What moves and changes the pixels of a batch: functions that XLA fuses into single loops.

TensorFlow's own kernels read and write the whole batch for each operation; fused, an
augmentation costs a third to a tenth. Nothing is drawn here: XLA's random numbers are not
TensorFlow's. The images [N, H, W, 3] have a static shape, but for N; a shape that is new is
compiled in a tenth of a second.
"""

from __future__ import annotations

import functools

import tensorflow as tf

# Of a kernel f, `f.python_function` is the same in TensorFlow's operations.
compiled = functools.partial(tf.function, jit_compile=True, autograph=False)


@compiled
def mirror(images: tf.Tensor, chosen: tf.Tensor, axis: int) -> tf.Tensor:
    """Reverses the chosen images, bool [N], along an axis of the batch."""
    return tf.where(chosen[:, None, None, None], tf.reverse(images, [axis]), images)


@compiled
def turn(images: tf.Tensor, quarters: tf.Tensor) -> tf.Tensor:
    """Turns square images by `quarters` int32 [N] times 90 degrees, counter-clockwise."""
    side = images.shape[1]
    place = tf.reshape(tf.range(side * side), [side, side])
    turned = tf.stack([tf.image.rot90(place[..., None], k)[..., 0] for k in range(4)])
    return _rearrange(images, tf.gather(turned, quarters))


@compiled
def rotate(images: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Turns about the centre by radians [N]: the nearest pixel, the border reflected."""
    height, width = images.shape[1:3]
    cos, sin = tf.cos(angle)[:, None, None], tf.sin(angle)[:, None, None]
    x, y = (width - 1) / 2, (height - 1) / 2
    across = tf.range(width, dtype=tf.float32)
    down = tf.range(height, dtype=tf.float32)[:, None]
    column = _nearest(cos * across - sin * down + (x - x * cos + y * sin), width)
    row = _nearest(sin * across + cos * down + (y - x * sin - y * cos), height)
    return _rearrange(images, row * width + column)


def _nearest(place: tf.Tensor, size: int) -> tf.Tensor:
    """The index within 0..size-1 of where a coordinate falls, reflected at the edges."""
    inside = tf.where(place < 0, -place - 1, place)
    inside = tf.where(inside >= size, 2 * size - 1 - inside, inside)
    # Away from zero at one half; there is nothing below zero.
    return tf.cast(tf.floor(tf.clip_by_value(inside, 0, size - 1) + 0.5), tf.int32)


@compiled
def recolour(images: tf.Tensor, matrix: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Multiplies pixels by a 3x3 matrix an image, adds [N, 3], clips to 0..255."""
    # Three columns at a time: a product with so small a matrix would not be fused.
    mixed = sum(images[..., k : k + 1] * matrix[:, None, None, k] for k in range(3))
    return tf.clip_by_value(mixed + offset[:, None, None], 0, 255)


def blur(images: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Mixes each pixel with its neighbours, `weight` [N] of either, down and then across.

    The edges are reflected: beyond the first pixel lies the second.
    """
    # As one kernel, XLA would compute the first pass anew for every pixel of the second.
    return _blur_across(_blur_down(images, weight), weight)


@compiled
def _blur_down(images: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    return _smooth(images, weight, axis=1, step=1)


@compiled
def _blur_across(images: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    return _smooth(images, weight, axis=2, step=3)


def _smooth(images: tf.Tensor, weight: tf.Tensor, axis: int, step: int) -> tf.Tensor:
    """One pass of `blur`, on rows as vectors of W * 3 numbers: XLA makes fast loops of those."""
    height, width = images.shape[1:3]
    rows = tf.reshape(images, [-1, height, width * 3])
    end = rows.shape[axis]

    def part(first: int, last: int) -> tf.Tensor:
        return rows[:, first:last] if axis == 1 else rows[:, :, first:last]

    side = weight[:, None, None]
    centre = 1 - 2 * side
    smoothed = [
        centre * part(0, step) + 2 * side * part(step, 2 * step),
        centre * part(step, end - step) + side * (part(0, end - 2 * step) + part(2 * step, end)),
        centre * part(end - step, end) + 2 * side * part(end - 2 * step, end - step),
    ]
    return tf.reshape(tf.concat(smoothed, axis), tf.shape(images))


@compiled
def blend(images: tf.Tensor, share: tf.Tensor, order: tf.Tensor) -> tf.Tensor:
    """`share` [N] of each image and the rest of the one that `order` [N] puts in its place."""
    share = share[:, None, None, None]
    return share * images + (1 - share) * tf.gather(images, order)


def _rearrange(images: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Takes each pixel from elsewhere: `places` int32 [N, H, W] are indices into H * W."""
    pixels = tf.reshape(images, [-1, images.shape[1] * images.shape[2], 3])
    flat = tf.reshape(places, [-1, images.shape[1] * images.shape[2]])
    return tf.reshape(tf.gather(pixels, flat, batch_dims=1), tf.shape(images))
