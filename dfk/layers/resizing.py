"""The one resize of the project."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="dfk")
class Resizing(keras.layers.Resizing):
    """Resizes [N, H, W, 3], any real dtype, to [N, height, width, 3], bilinear, in float32.

    The one resize of the project: the input pipeline calls this layer too, so a model
    sees in serving what it saw in training. An image that has the size stays as it is.

    Keras' own layer has a `training` argument whose default, True, Keras hands on to the
    layers after it: `model(x)` would drop out and normalise by the batch. This one has none.
    It answers whole numbers in the dtype of its policy, too, float32 unless another is given.
    """

    def __init__(self, height: int, width: int, **kwargs: Any):
        super().__init__(height, width, **{"dtype": "float32", **kwargs})

    def call(self, images):
        """Resizes `images`, keeping their value range."""
        return super().call(images, training=False)

    def transform_images(self, images, transformation=None, training: bool = False):
        # Keras rounds what it resizes in integers, which is right where they are to come out.
        exact = keras.backend.is_float_dtype(self.compute_dtype)
        # `self.backend` is TensorFlow inside a tf.data pipeline, whatever Keras runs on.
        images = self.backend.cast(images, "float32" if exact else self.compute_dtype)
        return self.backend.cast(super().transform_images(images), self.compute_dtype)
