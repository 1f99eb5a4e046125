"""A large image is more evidence: what a network answers to crops of it, averaged."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from dfk.layers.sizes import largest, least

# Crops of an image at most, and pixels that they have together, so that a call takes so much
# memory and time and no more. A crop alone may have more pixels than that.
MOST_CROPS, MOST_PIXELS = 9, 2**20
# A JPEG's blocks: a network that learned on whole images saw none that a crop's edge had cut.
_BLOCK = 8


def most_crops(side: int) -> int:
    """How many crops of `side` pixels are made of an image at most."""
    return max(1, min(MOST_CROPS, MOST_PIXELS // side**2))


def grid(height, width, side: int) -> tuple:
    """The crops of an image: rows, columns, and the height and width of each.

    As many as cover it but for less than a block, where `most_crops` are enough; an image that is
    not larger is its only crop. Height and width are numbers, or scalar tensors of a graph; so is
    what is returned.
    """
    most = most_crops(side)
    high, wide = (
        least(-(-pixels // side), 1 + largest(pixels - side, 0) // _BLOCK)
        for pixels in (height, width)
    )
    rows = least(high, largest(math.isqrt(most), most // wide))
    return rows, least(wide, most // rows), least(height, side), least(width, side)


@keras.saving.register_keras_serializable(package="dfk")
class NativeCrops(keras.layers.Layer):
    """Cuts each of the images [N, H, W, 3] into K crops, [N * K, h, w, 3]; nothing is resized.

    Crops have `side` pixels, or the image's where it has fewer: h = min(H, side). As many as
    cover the image are taken, but no more than 9, and of a side above 341 as many as have 2^20
    pixels together. They lie evenly from edge to edge in rows and columns (`grid`), and begin at
    multiples of 8 pixels, as the blocks of a JPEG do. The K crops of an image stand together.

    An image that is not larger than a crop stays as it is, bit for bit. Any dtype comes out as that
    of the layer's policy, float32, which holds all pixels; there are no weights, and gradients go
    through to the pixels.

    Args:
        side: of a crop, in pixels.

    Raises:
        ValueError: for a side below 1, and where it is called on something else than images.
    """

    def __init__(self, side: int, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        if not 1 <= side == int(side):
            raise ValueError(f"a crop has a whole number of pixels a side, got {side}")
        self.side = int(side)
        self.input_spec = keras.InputSpec(ndim=4)

    def call(self, images):
        """Cuts crops out of `images`, of one size."""
        height, width = ops.shape(images)[1:3]
        rows, columns, high, wide = grid(height, width, self.side)
        x = ops.take(images, _places(height, rows, high), axis=1)
        x = ops.take(x, _places(width, columns, wide), axis=2)
        x = ops.reshape(x, (-1, rows, high, columns, wide, images.shape[-1]))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (-1, high, wide, images.shape[-1]))
        return ops.cast(x, self.compute_dtype)

    def windows(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Where the crops of an image lie, in their order: their rows and columns in it."""
        rows, columns, high, wide = grid(height, width, self.side)
        tops, lefts = (
            ops.convert_to_numpy(_starts(*place)).tolist()
            for place in ((height, rows, high), (width, columns, wide))
        )
        return [(slice(y, y + high), slice(x, x + wide)) for y in tops for x in lefts]

    def compute_output_shape(self, input_shape):
        count, height, width, channels = input_shape
        if not (height and width):
            return (None, None, None, channels)
        rows, columns, high, wide = grid(height, width, self.side)
        return (count and count * rows * columns, high, wide, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side}


@keras.saving.register_keras_serializable(package="dfk")
class AverageCrops(keras.layers.Layer):
    """Averages the logits of the crops of each image.

    Call it on [logits [N * K, C], images [N, ...]], as `NativeCrops` made crops of the images; it
    returns float32 [N, C].

    Raises:
        ValueError: where it is called on something else, or on rows that are not K for each image.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})

    def call(self, inputs):
        """Averages each N * K / N rows."""
        logits, images = inputs
        _check_rows(logits.shape, images.shape)
        count = ops.shape(images)[0]
        crops = ops.shape(logits)[0] // largest(count, 1)
        logits = ops.reshape(ops.cast(logits, "float32"), (count, crops, logits.shape[-1]))
        return ops.cast(ops.mean(logits, axis=1), self.compute_dtype)

    def build(self, input_shape):
        fits = isinstance(input_shape, list | tuple) and len(input_shape) == 2
        if not fits or not isinstance(input_shape[0], list | tuple):
            raise ValueError(f"it is called on [logits, images]; got the shapes {input_shape}")
        self.input_spec = [keras.InputSpec(ndim=2), keras.InputSpec(min_ndim=1)]
        self.built = True

    def compute_output_shape(self, input_shape):
        logits, images = input_shape
        _check_rows(logits, images)
        return (images[0], logits[-1])


def _check_rows(logits, images) -> None:
    """Raises ValueError for shapes of logits and images of which each image has no K rows."""
    rows, count = logits[0], images[0]
    if len(logits) != 2 or (None not in (rows, count) and rows % max(count, 1)):
        raise ValueError(
            f"logits are [N * K, C], K rows for each of the N images [N, ...]; got the shapes "
            f"{tuple(logits)} and {tuple(images)}"
        )


def _starts(side, count, size):
    """Where along a side crops of `size` begin; the one crop of what is larger is its middle."""
    alone = 2 - least(count, 2)
    steps = 2 * ops.arange(count, dtype="int32") + alone
    return steps * (side - size) // (2 * largest(count - 1, 1)) // _BLOCK * _BLOCK


def _places(side, count, size):
    """The pixels along a side of all crops, one crop after the other."""
    pixels = _starts(side, count, size)[:, None] + ops.arange(size, dtype="int32")
    return ops.reshape(pixels, (-1,))
