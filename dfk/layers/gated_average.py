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

    A logistic regression on statistics of the image tells how degraded it looks, 0 to 1. There is a
    weight for each member, and one scale, on clean images and on degraded ones; an image has what
    lies between them. How sure the members are says nothing: on noise they are sure and wrong.

    It is a mixture of experts (Jacobs et al., 1991, "Adaptive Mixtures of Local Experts") whose
    mean is that of the logits (Heskes, 1998, "Selecting Weighting Factors in Logarithmic Opinion
    Pools"), with an inverse temperature for each image, so that the answer to a degraded one may
    be less sure. Its gate has so few numbers to learn since a holdout is small.

    Call it on a list of M tensors of probabilities, [N, C] each, with at least 2 classes, and
    behind them the statistics, [N, D]; it returns logits, float32 [N, C]. As built, members have
    equal weights and the scale is 1.

    Raises:
        ValueError: where it is called on something else, or on more or fewer tensors than before.
    """

    # Statistics count as no further from the mean, in standard deviations: beyond what the gate
    # has learned from, its answers stay what they are at the edge.
    _FURTHEST = 4.0
    # Of the logistic regression: the inverse of its penalty on squared weights.
    _FREEDOM = 0.1

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape):
        *members, statistics = _checked_gate(input_shape)
        width = statistics[-1]

        def fixed(name, shape, initializer="zeros"):
            return self.add_weight(name=name, shape=shape, initializer=initializer, trainable=False)

        self.mean, self.deviation = fixed("mean", (width,)), fixed("deviation", (width,), "ones")
        self.look, self.look_bias = fixed("look", (width, 1)), fixed("look_bias", (1,))
        # Logarithms, on clean images and on degraded ones
        self.log_weights = self.add_weight(
            name="log_weights", shape=(2, len(members)), initializer="zeros"
        )
        self.log_scales = self.add_weight(name="log_scales", shape=(2, 1), initializer="zeros")

    def adapt(self, clean: np.ndarray, degraded: np.ndarray) -> None:
        """Learns to tell degraded images from clean ones, which count as much as those.

        Args:
            clean: statistics of images as they are, float [N, D].
            degraded: of images that something was done to, float [K, D].
        """
        from sklearn.linear_model import LogisticRegression

        both = np.concatenate([clean, degraded])
        self.mean.assign(clean.mean(axis=0))
        # What is the same in all of them says nothing.
        self.deviation.assign(np.maximum(both.std(axis=0), 1e-3))
        regression = LogisticRegression(C=self._FREEDOM, class_weight="balanced", max_iter=1000)
        is_degraded = np.arange(len(both)) >= len(clean)
        regression.fit(ops.convert_to_numpy(self._standardised(both)), is_degraded)
        self.look.assign(regression.coef_.T)
        self.look_bias.assign(regression.intercept_)

    def call(self, inputs):
        """Averages M tensors of probabilities [N, C], by statistics [N, D], to logits [N, C]."""
        shapes = _checked_gate([tuple(x.shape) for x in inputs], self.log_weights.shape[1])
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
        """The weights on a clean image: M positive numbers that sum to 1."""
        return tuple(ops.convert_to_numpy(ops.softmax(self.log_weights[0])).tolist())

    def degradedness(self, statistics):
        """How degraded each image looks by its statistics [N, D]: float32 [N, 1] in 0..1."""
        look, bias = _float(self.look), _float(self.look_bias)
        return ops.sigmoid(ops.matmul(self._standardised(statistics), look) + bias)

    def _standardised(self, statistics):
        x = (_float(statistics) - _float(self.mean)) / _float(self.deviation)
        return ops.clip(x, -self._FURTHEST, self._FURTHEST)

    def _gate(self, statistics):
        """Weights [N, M] and scales [N, 1], both float32."""
        degraded = self.degradedness(statistics)
        logs, scales = (
            (1 - degraded) * x[0] + degraded * x[1]
            for x in map(_float, (self.log_weights, self.log_scales))
        )
        return ops.softmax(logs), ops.exp(scales)

    def compute_output_shape(self, input_shape):
        return _checked_gate(input_shape)[0]


def _float(x):
    """In float32 whatever the policy: statistics differ by more than bfloat16 can hold."""
    return ops.cast(x, "float32")


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
