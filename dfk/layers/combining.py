"""What ensembles are made of: frozen members, their average, and its sharpness."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dfk")
class ConfidenceWeightedAverage(keras.layers.Layer):
    """Averages members' probabilities, each weighing by how certain it is of that image.

    A member's weight on an image is its certainty there, 1 - entropy / log C, times a weight
    of its own that is learned and the same for all images; over the members the weights sum
    to 1 (after Jimenez, 1998, "Dynamically weighted ensemble neural networks for
    classification"). A member that answers uniformly has next to no say; if all of them do,
    the learned weights decide alone.

    Call it on a list of M tensors of probabilities, [N, C] each, with at least 2 classes; it
    returns their average, float32 [N, C], each row summing to 1.

    Raises:
        ValueError: where it is called on something else, or on more or fewer tensors than before.
    """

    # What a member is taken to be certain of at least: all at zero would divide by zero.
    _LEAST_CERTAINTY = 1e-6

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape):
        check_members(input_shape)
        # Logarithms: whatever the optimizer does, a weight stays positive.
        self.log_weights = self.add_weight(
            shape=(len(input_shape),), initializer="zeros", name="log_weights"
        )

    def call(self, probabilities):
        """Averages M tensors [N, C] to one, float32 [N, C]."""
        weights = self.weights_for(probabilities)
        average = ops.sum(weights[:, :, None] * self._stack(probabilities), axis=1)
        return ops.cast(average, self.compute_dtype)

    def weights_for(self, probabilities):
        """The weight of each member on each image, float32 [N, M], each row summing to 1."""
        certainty = ops.maximum(_certainty(self._stack(probabilities)), self._LEAST_CERTAINTY)
        weights = ops.cast(ops.softmax(self.log_weights), "float32") * certainty
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    @property
    def member_weights(self) -> tuple[float, ...]:
        """The learned part of the weights: M positive numbers that sum to 1."""
        return tuple(ops.convert_to_numpy(ops.softmax(self.log_weights)).tolist())

    def _stack(self, probabilities):
        """M tensors [N, C] to one, float32 [N, M, C]: float16 would hold no small certainty."""
        check_members([tuple(x.shape) for x in probabilities], *self.log_weights.shape)
        return ops.stack([ops.cast(x, "float32") for x in probabilities], axis=1)

    def compute_output_shape(self, input_shape):
        check_members(input_shape)
        return input_shape[0]


def check_members(shapes: Any, members: int | None = None) -> None:
    """Refuses what are no probabilities of `members` members, each [N, C] with 2 classes or more.

    Raises:
        ValueError: for that.
    """
    fits = isinstance(shapes, list | tuple) and len(shapes) == (members or len(shapes)) > 0
    fits = fits and all(isinstance(shape, list | tuple) and len(shape) == 2 for shape in shapes)
    if fits:
        images, classes = ({shape[axis] for shape in shapes} for axis in (0, 1))
        fits = len(images - {None}) <= 1 and len(classes) == 1 and (min(classes, key=bool) or 0) > 1
    if not fits:
        raise ValueError(
            f"members' probabilities are a list of {members or 'some'} tensors [N, C], of the same "
            f"N and the same C, at least 2; got the shapes {shapes}"
        )


def _certainty(probabilities):
    """1 - normalised entropy over the last axis: 0 for uniform probabilities, 1 for one-hot."""
    # Where p is 0, p log p is 0, and its gradient must not be NaN.
    logs = ops.log(ops.maximum(probabilities, 1e-30))
    entropy = -ops.sum(probabilities * logs, axis=-1)
    return 1.0 - entropy / math.log(probabilities.shape[-1])


def log_of(probabilities):
    """Their logarithm; one of 0 counts as 1e-7, which no holdout could tell from it."""
    return ops.log(ops.maximum(probabilities, 1e-7))


@keras.saving.register_keras_serializable(package="dfk")
class Scale(keras.layers.Layer):
    """Multiplies logits, [N, C], by one learned positive number: an inverse temperature."""

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.input_spec = keras.InputSpec(min_ndim=1)  # Of one tensor

    def build(self, input_shape):
        self.log_scale = self.add_weight(shape=(), initializer="zeros", name="log_scale")

    def call(self, logits):
        """Scales `logits`, keeping their shape."""
        scale = ops.cast(ops.exp(self.log_scale), self.compute_dtype)
        return ops.cast(logits, self.compute_dtype) * scale

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="dfk")
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
