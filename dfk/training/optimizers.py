"""What turns gradients into steps, and may average the weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from dfk.config import Config


def make(config: Config, learning_rate: float) -> keras.optimizers.Optimizer:
    """The optimizer of `config`."""
    options = {"weight_decay": config.fit.weight_decay or None}
    if config.fit.ema:
        options |= {"use_ema": True, "ema_momentum": config.fit.ema}
    if config.fit.optimizer == "adam":
        optimizer = Adam(learning_rate, **options)
    else:
        options |= {"momentum": config.fit.momentum, "nesterov": config.fit.momentum > 0}
        optimizer = SGD(learning_rate, **options)
    if config.fit.weight_decay:
        # Decay would only work against what normalises.
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


class _WarmAverage:
    """Warms up the average that an optimizer keeps of the weights, where Keras does not.

    With t steps before, its momentum is min(ema_momentum, t / (t + 9)). This is the warm-up of
    TensorFlow's `tf.train.ExponentialMovingAverage`, (1 + n) / (10 + n), whose first update has
    n = 0 where Keras' copies the weights. A momentum of .998 from the first step on leaves 77 % of
    what the weights were then in an average of 132 steps.
    """

    def _update_model_variables_moving_average(self, variables: Sequence[keras.Variable]) -> None:
        before = ops.cast(self.iterations, "float32")
        momentum = ops.minimum(self.ema_momentum, before / (before + 9))
        for variable, average in zip(variables, self._model_variables_moving_average, strict=True):
            average.assign(momentum * average + (1 - momentum) * variable)


class Adam(_WarmAverage, keras.optimizers.Adam):
    """Keras' own, whose average of the weights warms up."""


class SGD(_WarmAverage, keras.optimizers.SGD):
    """Keras' own, whose average of the weights warms up."""
