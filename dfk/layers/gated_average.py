"""The ensemble's gate: members weighed by what was done to the image."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from dfk.layers.combining import check_members, log_of


@keras.saving.register_keras_serializable(package="dfk")
class GatedAverage(keras.layers.Layer):
    """Averages members' log-probabilities, weighed by what was done to the image.

    A small dense network looks at statistics of the image, not at how sure the members are, and
    answers a weight for each of them, which sum to 1, and one scale: a mixture of experts (Jacobs
    et al., 1991, "Adaptive Mixtures of Local Experts") whose mean is that of the logits (Heskes,
    1998, "Selecting Weighting Factors in Logarithmic Opinion Pools"), with an inverse temperature
    for each image, so that the answer to a degraded one may be less sure.

    Call it on a list of M tensors of probabilities, [N, C] each, with at least 2 classes, and
    behind them the statistics, [N, D]; it returns logits, float32 [N, C]. As built, members have
    equal weights and the scale is 1.

    Args:
        hidden: units of the hidden layer.
        kernel_initializer: of the hidden layer; what follows it begins at 0.
        kernel_regularizer: of both layers.

    Raises:
        ValueError: where it is called on something else, or on more or fewer tensors than before.
    """

    # Statistics count as no further from the mean, in standard deviations: beyond what the gate
    # has learned from, its answers stay what they are at the edge.
    _FURTHEST = 4.0
    # The logarithm of the scale is at most this.
    _WIDEST = 2.0

    def __init__(
        self,
        hidden: int = 16,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.hidden = hidden
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape):
        *members, statistics = _checked_gate(input_shape)
        width, answers = statistics[-1], len(members) + 1

        def weight(name, shape, initializer="zeros", **more):
            return self.add_weight(name=name, shape=shape, initializer=initializer, **more)

        kernel = {"regularizer": self.kernel_regularizer}
        self.mean = weight("mean", (width,), trainable=False)
        self.deviation = weight("deviation", (width,), "ones", trainable=False)
        self.hidden_kernel = weight(
            "hidden_kernel", (width, self.hidden), self.kernel_initializer, **kernel
        )
        self.hidden_bias = weight("hidden_bias", (self.hidden,))
        self.kernel = weight("kernel", (self.hidden, answers), **kernel)
        self.bias = weight("bias", (answers,))

    def adapt(self, clean: np.ndarray, seen: np.ndarray) -> None:
        """Takes the scale of each statistic from images.

        Args:
            clean: of images as they are, float [N, D]; their mean is what others differ from.
            seen: of all images to learn from, float [K, D], which deviate from their own mean.
        """
        self.mean.assign(clean.mean(axis=0))
        # What is the same in all of them says nothing.
        self.deviation.assign(np.maximum(seen.std(axis=0), 1e-3))

    def call(self, inputs):
        """Averages M tensors of probabilities [N, C], by statistics [N, D], to logits [N, C]."""
        shapes = _checked_gate([tuple(x.shape) for x in inputs], self.bias.shape[0] - 1)
        *probabilities, statistics = inputs
        if shapes[-1][-1] != self.mean.shape[0]:
            raise ValueError(f"the gate takes {self.mean.shape[0]} statistics, got {shapes[-1]}")
        weights, scale = self._gate(statistics)
        logs = ops.stack([log_of(ops.cast(p, "float32")) for p in probabilities], axis=1)
        logits = scale * ops.sum(weights[:, :, None] * logs, axis=1)
        return ops.cast(logits, self.compute_dtype)

    def weights_for(self, inputs):
        """The weight of each member on each image, float32 [N, M], each row summing to 1."""
        return self._gate(inputs[-1])[0]

    @property
    def member_weights(self) -> tuple[float, ...]:
        """The weights on an image of average statistics: M positive numbers that sum to 1."""
        weights, _ = self._gate(self.mean[None])
        return tuple(ops.convert_to_numpy(weights)[0].tolist())

    def _gate(self, statistics):
        """Weights [N, M] and scales [N, 1], both float32."""
        x = (ops.cast(statistics, "float32") - self.mean) / self.deviation
        x = ops.clip(x, -self._FURTHEST, self._FURTHEST)
        x = ops.relu(ops.matmul(x, self.hidden_kernel) + self.hidden_bias)
        x = ops.matmul(x, self.kernel) + self.bias
        return ops.softmax(x[:, :-1]), ops.exp(self._WIDEST * ops.tanh(x[:, -1:] / self._WIDEST))

    def compute_output_shape(self, input_shape):
        return _checked_gate(input_shape)[0]

    def get_config(self):
        return {
            **super().get_config(),
            "hidden": self.hidden,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def _checked_gate(shapes: Any, members: int | None = None) -> Any:
    """The shapes, if they are those of `members` members and of statistics behind them.

    Raises:
        ValueError: if not.
    """
    if not isinstance(shapes, list | tuple) or len(shapes) < 2 or len(shapes[-1]) != 2:
        raise ValueError(
            f"a gate takes members' probabilities and statistics [N, D]; got the shapes {shapes}"
        )
    check_members(list(shapes[:-1]), members)
    return shapes
