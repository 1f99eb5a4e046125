"""Keras layers of our own, registered under "dfk".

On TensorFlow the two layers that dominate the cost of a small CNN beside its
convolutions, `BatchNormalization` and `Dropout`, take a faster path than
Keras' own; everywhere else they are Keras' layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from dfk.high_pass import HighPass as HighPass
from dfk.noise_statistics import NoiseStatistics as NoiseStatistics
from dfk.rich_features import RichFeatures as RichFeatures

_register = keras.saving.register_keras_serializable(package="dfk")


def _on_tensorflow() -> bool:
    return keras.backend.backend() == "tensorflow"


@_register
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' BatchNormalization on TensorFlow's fused kernel.

    The same arguments, variables and values as `keras.layers.BatchNormalization`
    (Ioffe & Szegedy, 2015), so weights interchange. Keras 3 normalises in
    float32 with separate ops; the fused kernel reads and writes bfloat16 where
    the dtype policy says so and keeps the statistics in float32. It serves
    inputs [N, H, W, C] on TensorFlow with `axis=-1`; another backend, another
    axis or rank, a mask, `renorm`, `synchronized` or float64 run Keras' code.
    """

    def __init__(self, axis: int = -1, momentum: float = 0.9, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(axis=axis, momentum=momentum, epsilon=epsilon, **kwargs)

    def call(self, inputs, training: bool | None = None, mask=None):
        """Normalises `inputs` [N, H, W, C]; returns the same shape in the compute dtype."""
        if mask is not None or not self._fusable(inputs):
            return super().call(inputs, training=training, mask=mask)
        return self._fused(inputs, bool(training) and self.trainable)

    def _fusable(self, inputs) -> bool:
        return (
            _on_tensorflow()
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

        channels = inputs.shape[-1]
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.convert_to_tensor(self.gamma) if self.scale else tf.ones(channels),
            offset=ops.convert_to_tensor(self.beta) if self.center else tf.zeros(channels),
            # In training the kernel fills these with the statistics of the batch.
            mean=tf.zeros(0) if training else ops.convert_to_tensor(self.moving_mean),
            variance=tf.zeros(0) if training else ops.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            # The kernel returns the unbiased variance, Keras averages the biased one.
            count = tf.cast(tf.size(inputs) // channels, tf.float32)
            variance *= (count - 1.0) / count
            self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1 - self.momentum))
            self.moving_variance.assign(
                self.moving_variance * self.momentum + variance * (1 - self.momentum)
            )
        return tf.cast(outputs, self.compute_dtype)


@_register
class Dropout(keras.layers.Dropout):
    """Keras' Dropout with masks of 16 random bits per element instead of 32.

    Half the random numbers, and no conversion to float: the bits are compared
    with the rate as an integer, so the rate is met to 1/65,536. The mask is keyed
    by (seed, step) through Keras' `SeedGenerator`, whose state is among the
    model's `variables`: a run that restores them draws what it would have drawn.
    """

    def call(self, inputs, training: bool = False):
        """Zeroes a share `rate` of `inputs` in training and scales the rest by 1 / (1 - rate)."""
        if not (training and self.rate > 0) or not _on_tensorflow() or self.noise_shape:
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


@_register
class Resizing(keras.layers.Resizing):
    """Resizes [N, H, W, 3], any real dtype, to float32 [N, height, width, 3], bilinear.

    The one resize of the project: the input pipeline calls this layer too, so a model
    sees in serving what it saw in training. An image that has the size stays as it is.

    Keras' own layer has a `training` argument whose default, True, Keras hands on to the
    layers after it: `model(x)` would drop out and normalise by the batch. This one has none.
    """

    def __init__(self, height: int, width: int, **kwargs: Any):
        super().__init__(height, width, **{"dtype": "float32", **kwargs})

    def call(self, images):
        """Resizes `images`, keeping their value range."""
        # `self.backend` is TensorFlow inside a tf.data pipeline, whatever Keras runs on. Cast
        # first: Keras rounds what it resizes in integers.
        return super().call(self.backend.cast(images, "float32"), training=False)


@_register
class CalibratedSoftmax(keras.layers.Layer):
    """The last layer of every dfk model: logits [N, C] to calibrated probabilities.

    Computes softmax(logits / temperature) in float32 (Guo et al., 2017, "On
    Calibration of Modern Neural Networks") and carries what a user of the model
    must know in its config, because plain attributes of a model vanish when it
    is saved.

    Args:
        class_names: C names, in the order of the logits.
        temperature: positive; 1.0 is a plain softmax.
        thresholds: named decision thresholds, each a number, or C of them in the order of the
            logits (`dfk.evaluation.conformal` chooses them and says what they are).

    Raises:
        ValueError: for a temperature that is not positive.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        temperature: float = 1.0,
        thresholds: Mapping[str, float | Sequence[float]] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{"dtype": "float32", **kwargs})
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.class_names = tuple(class_names)
        self.temperature = float(temperature)
        self.thresholds = dict(thresholds or {})

    def call(self, logits):
        """Returns probabilities, float32 [N, C], each row summing to 1."""
        return ops.softmax(ops.cast(logits, "float32") / self.temperature, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_names": list(self.class_names),
            "temperature": self.temperature,
            "thresholds": self.thresholds,
        }


@_register
class ConfidenceWeightedAverage(keras.layers.Layer):
    """Averages members' probabilities, each weighing by how certain it is of that image.

    A member's weight on an image is its certainty there, 1 - entropy / log C, times a weight
    of its own that is learned and the same for all images; over the members the weights sum
    to 1 (after Jimenez, 1998, "Dynamically weighted ensemble neural networks for
    classification"). A member that answers uniformly has next to no say; if all of them do,
    the learned weights decide alone.

    Call it on a list of M tensors of probabilities, [N, C] each, with at least 2 classes; it
    returns their average, float32 [N, C], each row summing to 1.
    """

    # What a member is taken to be certain of at least: all at zero would divide by zero.
    _LEAST_CERTAINTY = 1e-6

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape):
        # Logarithms: whatever the optimizer does, a weight stays positive.
        self.log_weights = self.add_weight(
            shape=(len(input_shape),), initializer="zeros", name="log_weights"
        )

    def call(self, probabilities):
        """Averages M tensors [N, C] to one, float32 [N, C]."""
        weights = self.weights_for(probabilities)
        return ops.sum(weights[:, :, None] * self._stack(probabilities), axis=1)

    def weights_for(self, probabilities):
        """The weight of each member on each image, float32 [N, M], each row summing to 1."""
        certainty = ops.maximum(_certainty(self._stack(probabilities)), self._LEAST_CERTAINTY)
        weights = ops.softmax(self.log_weights) * certainty
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    @property
    def member_weights(self) -> tuple[float, ...]:
        """The learned part of the weights: M positive numbers that sum to 1."""
        return tuple(ops.convert_to_numpy(ops.softmax(self.log_weights)).tolist())

    def _stack(self, probabilities):
        """M tensors [N, C] to one, [N, M, C]."""
        return ops.cast(ops.stack(probabilities, axis=1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def _certainty(probabilities):
    """1 - normalised entropy over the last axis: 0 for uniform probabilities, 1 for one-hot."""
    # Where p is 0, p log p is 0, and its gradient must not be NaN.
    logs = ops.log(ops.maximum(probabilities, 1e-30))
    entropy = -ops.sum(probabilities * logs, axis=-1)
    return 1.0 - entropy / math.log(probabilities.shape[-1])


@_register
class Scale(keras.layers.Layer):
    """Multiplies logits, [N, C], by one learned positive number: an inverse temperature."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape):
        self.log_scale = self.add_weight(shape=(), initializer="zeros", name="log_scale")

    def call(self, logits):
        """Scales `logits`, keeping their shape."""
        return logits * ops.exp(self.log_scale)


@_register
class Frozen(keras.Model):
    """A functional model that always infers: no dropout, no batch statistics, no training.

    `trainable = False` alone would leave the dropout of a nested model on in
    `model(x, training=True)`, and a functional model hands its own `training` on to its
    layers over what they were built with. A `Frozen` model is functional, so its layers
    can be looked into as those of any other.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # Keras sets it before the model has its layers, so they would not hear of it.
        self.trainable = False

    def call(self, inputs, training: bool | None = None, mask=None):
        """Runs the model on `inputs` in inference mode, whatever `training` says."""
        return super().call(inputs, training=False, mask=mask)
