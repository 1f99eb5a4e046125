"""Keras' BatchNormalization on TensorFlow's fused kernel."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dfk")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' BatchNormalization on TensorFlow's fused kernel.

    The same arguments, variables and values as `keras.layers.BatchNormalization`
    (Ioffe & Szegedy, 2015), so weights interchange. Keras 3 normalises in
    float32 with separate ops; the fused kernel reads and writes bfloat16 and
    float16 where the dtype policy says so and computes in float32. It serves
    inputs [N, H, W, C] on TensorFlow with `axis=-1`; another backend, another
    axis or rank, a mask, `renorm`, `synchronized` or float64 run Keras' code.
    """

    def call(self, inputs, training: bool | None = None, mask=None):
        """Normalises `inputs` [N, H, W, C]; returns the same shape in the compute dtype."""
        if mask is not None or not self._fusable(inputs):
            return super().call(inputs, training=training, mask=mask)
        return self._fused(inputs, bool(training) and self.trainable)

    def _fusable(self, inputs) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and not self.renorm
            and not self.synchronized
            and keras.backend.standardize_dtype(inputs.dtype) != "float64"
            # The fused kernel refuses a smaller one.
            and self.epsilon >= 1e-5
        )

    def _fused(self, inputs, training: bool):
        import tensorflow as tf

        if not keras.backend.is_float_dtype(inputs.dtype):
            inputs = tf.cast(inputs, tf.float32)
        channels = inputs.shape[-1]
        moving_mean, moving_variance = map(_exact, (self.moving_mean, self.moving_variance))
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=_exact(self.gamma) if self.scale else tf.ones(channels),
            offset=_exact(self.beta) if self.center else tf.zeros(channels),
            # In training the kernel fills these with the statistics of the batch.
            mean=tf.zeros(0) if training else moving_mean,
            variance=tf.zeros(0) if training else moving_variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            # The kernel returns the unbiased variance, Keras averages the biased one.
            count = tf.cast(tf.size(inputs) // channels, tf.float32)
            variance *= (count - 1.0) / count
            self.moving_mean.assign(moving_mean * self.momentum + mean * (1 - self.momentum))
            self.moving_variance.assign(
                moving_variance * self.momentum + variance * (1 - self.momentum)
            )
        return tf.cast(outputs, self.compute_dtype)


def _exact(variable):
    """A variable in float32, which the kernel takes alone."""
    return ops.cast(variable, "float32")
