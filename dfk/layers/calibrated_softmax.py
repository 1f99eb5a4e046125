"""The last layer of every model: calibrated probabilities, and what a user must know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dfk")
class CalibratedSoftmax(keras.layers.Layer):
    """The last layer of every dfk model: logits [N, C] to calibrated probabilities.

    Computes softmax(logits / temperature) in float32, whatever its dtype (Guo et al., 2017, "On
    Calibration of Modern Neural Networks") and carries what a user of the model
    must know in its config, because plain attributes of a model vanish when it
    is saved.

    Args:
        class_names: C names, in the order of the logits.
        temperature: positive; 1.0 is a plain softmax.
        thresholds: named decision thresholds, each a number, or C of them in the order of the
            logits (`dfk.evaluation.conformal` chooses them and says what they are).
        trained_on: a record of `dfk.data.trained_on`; None where that is not known.

    Raises:
        ValueError: for a temperature that is not positive, and where it is called on logits that
            are not as many as the names.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        temperature: float = 1.0,
        thresholds: Mapping[str, float | Sequence[float]] | None = None,
        trained_on: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.class_names = tuple(class_names)
        self.input_spec = keras.InputSpec(min_ndim=2)
        self.temperature = temperature
        self.thresholds = dict(thresholds or {})
        self.trained_on = trained_on

    @property
    def temperature(self) -> float:
        """What the logits are divided by; whatever was traced with another one keeps that."""
        return self._temperature

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self._temperature = float(temperature)

    def call(self, logits):
        """Returns probabilities, float32 [N, C], each row summing to 1."""
        probabilities = ops.softmax(ops.cast(logits, "float32") / self.temperature, axis=-1)
        return ops.cast(probabilities, self.compute_dtype)

    def build(self, input_shape):
        names, outputs = len(self.class_names), input_shape[-1]
        if outputs not in (None, names):
            raise ValueError(
                f"it names {names} classes and answers {outputs} probabilities, of logits of the "
                f"shape {tuple(input_shape)}"
            )
        self.input_spec = keras.InputSpec(min_ndim=2, axes={-1: names})

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_names": list(self.class_names),
            "temperature": self.temperature,
            "thresholds": self.thresholds,
            "trained_on": self.trained_on,
        }
