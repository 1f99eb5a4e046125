"""Keras' Dropout with cheaper masks."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dfk")
class Dropout(keras.layers.Dropout):
    """Keras' Dropout with masks of 16 random bits per element instead of 32.

    Half the random numbers, and no conversion to float: the bits are compared
    with the rate as an integer, so the rate is met to 1/65,536. The mask is keyed
    by (seed, step) through Keras' `SeedGenerator`, whose state is among the
    model's `variables`: a run that restores them draws what it would have drawn.
    """

    def call(self, inputs, training: bool = False):
        """Zeroes a share `rate` of `inputs` in training and scales the rest by 1 / (1 - rate)."""
        inputs = ops.cast(inputs, self.compute_dtype)  # Keras leaves whole numbers as they are.
        if training and self.rate == 1:
            return ops.zeros_like(inputs)
        if (
            not (training and self.rate > 0)
            or keras.backend.backend() != "tensorflow"
            or self.noise_shape
        ):
            return super().call(inputs, training=training)
        import tensorflow as tf

        shape = tf.shape(inputs)
        count = tf.reduce_prod(shape)
        bits = tf.random.stateless_uniform(
            [(count + 1) // 2],
            seed=tf.cast(self.seed_generator.next(), tf.int32),
            minval=None,
            maxval=None,
            dtype=tf.uint32,
        )
        bits = tf.reshape(tf.reshape(tf.bitcast(bits, tf.uint16), [-1])[:count], shape)
        kept = bits >= tf.constant(min(round(self.rate * 65536), 65535), tf.uint16)
        return tf.where(kept, inputs * (1 / (1 - self.rate)), tf.zeros([], inputs.dtype))
