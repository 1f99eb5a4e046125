"""What is left of an image without its content, as a Keras layer: fixed high-pass filters."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

# Second differences along rows and columns, and the squares of 3 x 3 and 5 x 5 pixels.
_SECOND = np.outer((0, 0, 1, 0, 0), (0, 1, -2, 1, 0)) / 2
_SQUARE_3 = -np.outer((0, 1, -2, 1, 0), (0, 1, -2, 1, 0)) / 4
_SQUARE_5 = np.array(
    (
        (-1, 2, -2, 2, -1),
        (2, -6, 8, -6, 2),
        (-2, 8, -12, 8, -2),
        (2, -6, 8, -6, 2),
        (-1, 2, -2, 2, -1),
    )
) / 12  # fmt: skip
FILTERS = np.stack((_SECOND, _SECOND.T, _SQUARE_3, _SQUARE_5), axis=-1)
_MARGIN = 2  # Pixels around one that its answers depend on
# Grey levels at which half of the range is spent: noise is that strong, edges are stronger.
KNEE = 4.0


@keras.saving.register_keras_serializable(package="dfk")
class HighPass(keras.layers.Layer):
    """Images to the answers of four high-pass filters on each colour, squeezed into -1..1.

    A generator's traces are far weaker than what an image shows, which a convolutional network
    sees first; these filters take that away. The filters are those of Fridrich & Kodovsky, 2012,
    "Rich Models for Steganalysis of Digital Images"; beside the colours, of Zhou et al., 2018,
    "Learning Rich Features for Image Manipulation Detection". Where those cut strong answers
    off, x / (4 + |x|) keeps their order.

    Call it on images [N, H, W, 3] in 0..255, H and W from 3, of any real dtype; it returns
    float32 [N, H, W, 12], the four answers of red first. It has no weights.

    Raises:
        ValueError: where it is called on something else, or on images of fewer pixels.
    """

    SMALLEST_IMAGE = _MARGIN + 1  # Pixels a side: a mirror has no more than lies beside it

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.input_spec = keras.InputSpec(ndim=4)

    def call(self, images):
        """Filters images [N, H, W, 3], mirrored at their edges."""
        self._check(images.shape)
        images = ops.cast(images, self.compute_dtype)
        edges = (_MARGIN, _MARGIN)
        images = ops.pad(images, ((0, 0), edges, edges, (0, 0)), mode="reflect")
        kernel = np.repeat(FILTERS[:, :, None], images.shape[-1], axis=2)
        kernel = ops.convert_to_tensor(kernel, self.compute_dtype)
        return ops.softsign(ops.depthwise_conv(images, kernel) / KNEE)

    def compute_output_shape(self, input_shape):
        self._check(input_shape)
        return (*input_shape[:-1], input_shape[-1] * FILTERS.shape[-1])

    def _check(self, shape) -> None:
        *sides, channels = shape[1:]
        if channels is None or any(x is not None and x < self.SMALLEST_IMAGE for x in sides):
            raise ValueError(
                f"images [N, H, W, 3] have {self.SMALLEST_IMAGE} pixels a side at least; got the "
                f"shape {tuple(shape)}"
            )
