"""What this machine is, how fast it multiplies matrices, and how much of that a network asks."""

from __future__ import annotations

import datetime
import functools
import time

from dfk.system import hardware

_SIDE, _ROUNDS = 2048, 8


@functools.cache
def rate(precision: str) -> float:
    """The best rate of a product of square matrices, FLOP/s, in `float32` or `mixed_bfloat16`."""
    import tensorflow as tf

    dtype = tf.float32 if precision == "float32" else tf.bfloat16
    matrix = tf.cast(tf.random.uniform([_SIDE, _SIDE]), dtype)
    multiply = tf.function(lambda: tf.matmul(matrix, matrix)[0, 0])
    multiply()

    def seconds() -> float:
        start = time.perf_counter()
        multiply().numpy()
        return time.perf_counter() - start

    return 2 * _SIDE**3 / min(seconds() for _ in range(_ROUNDS))


def describe() -> str:
    """A line with the CPU, its matrix rates, the versions and the day."""
    import keras
    import tensorflow as tf

    rates = ", ".join(
        f"{name} {rate(precision) / 1e9:.0f} GFLOP/s"
        for name, precision in (("float32", "float32"), ("bfloat16", "mixed_bfloat16"))
    )
    return (
        f"{hardware.cpu()}, {hardware.cores()} cores, matrices in {rates}; "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}; {datetime.date.today()}"
    )


def inference_flops(network, side: int) -> float:
    """Of the convolutions and dense layers for one image, a multiplication and addition as two.

    Args:
        network: a functional Keras model from images [N, H, W, 3].
        side: of the images, in pixels.
    """
    return sum(_flops(network, side).values())


@functools.cache
def training_flops(name: str, side: int) -> float:
    """Of a training step per image: forward, and backward to weights and to all inputs but the
    images.
    """
    from dfk import models

    model = models.BUILDERS[name](input_shape=(None, None, 3))
    return training_flops_of(models.network_of(model), side)


def training_flops_of(network, side: int) -> float:
    """The same of a network that is there."""
    first, *rest = _flops(network, side).values()
    return 2 * first + 3 * sum(rest)


def _flops(network, side: int) -> dict[str, float]:
    import keras
    import numpy as np

    layers = [x for x in network.layers if isinstance(x, keras.layers.Conv2D | keras.layers.Dense)]
    outputs = keras.Model(network.input, [layer.output for layer in layers])
    answers = outputs(np.zeros((1, side, side, 3), np.float32))
    # The last axis of a kernel is that of the output, so a value of it costs the rest of them.
    return {
        layer.name: 2.0 * np.prod(answer.shape[:-1]) * np.prod(layer.kernel.shape)
        for layer, answer in zip(layers, answers, strict=True)
    }
