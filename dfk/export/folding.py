"""A trained network made lean for inference: fewer layers, and bfloat16 where that is asked for."""

from __future__ import annotations

from collections import Counter

import keras
import numpy as np
from keras import ops

_CONVOLUTION = keras.layers.Conv2D
# What training runs in bfloat16, too; the rest of a network is float32 always.
_BFLOAT16 = (
    _CONVOLUTION,
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.Add,
)


def lean(network: keras.Model, *, precision: str = "float32", fold: bool = True) -> keras.Model:
    """Copies a network for inference; the original stays as it is.

    A BatchNormalization right after a convolution is an affine map of its channels, so it goes
    into the convolution's kernel and bias (Jacob et al., 2018, "Quantization and Training of
    Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 3.2). Dropout,
    which does nothing in inference, is left out.

    Args:
        network: a functional model without nested ones, images [N, H, W, 3] to logits [N, C].
        precision: `float32`, or `mixed_bfloat16` for convolutions in bfloat16, whose weights
            are then kept in bfloat16 as well.
        fold: whether to fold BatchNormalization.

    Returns:
        A functional model with the same input and output, float32.
    """
    folded = _foldable(network) if fold else {}
    absorbed = {norm.name for norm in folded.values()}

    def is_left_out(layer) -> bool:
        return layer.name in absorbed or isinstance(layer, keras.layers.Dropout)

    def clone(layer):
        config = layer.get_config()
        if layer.name in folded:
            config["use_bias"] = True
        # Outside of the convolutional part, everything is float32.
        if precision != "float32" and isinstance(layer, _BFLOAT16) and len(layer.output.shape) == 4:
            # Normalisation keeps its statistics in float32.
            config["dtype"] = "bfloat16" if isinstance(layer, _CONVOLUTION) else precision
        return type(layer).from_config(config)

    def call(layer, x, *args, **kwargs):
        return x if is_left_out(layer) else layer(x, *args, **kwargs)

    copy = keras.models.clone_model(network, clone_function=clone, call_function=call)
    for layer in network.layers:
        if layer.weights and not is_left_out(layer):
            norm = folded.get(layer.name)
            weights = _fold(layer, norm) if norm else layer.get_weights()
            copy.get_layer(layer.name).set_weights(weights)
    return copy


def _foldable(network: keras.Model) -> dict[str, keras.layers.Layer]:
    """By the name of a convolution, the BatchNormalization that alone takes what it answers."""
    tensors = [operation.input for operation in network.operations] + [network.outputs]
    readers = Counter(id(tensor) for tensor in keras.tree.flatten(tensors))
    convolutions = {
        id(layer.output): layer
        for layer in network.layers
        if type(layer) is _CONVOLUTION and layer.activation is keras.activations.linear
    }
    foldable = {}
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3):
            convolution = convolutions.get(id(layer.input))
            if convolution is not None and readers[id(layer.input)] == 1:
                foldable[convolution.name] = layer
    return foldable


def _fold(convolution: keras.layers.Layer, norm: keras.layers.Layer) -> list[np.ndarray]:
    """Kernel and bias that do what the convolution and its normalisation do."""

    def numbers(variable, default: float) -> np.ndarray:
        # In float64, so that the result is rounded once.
        array = default if variable is None else ops.convert_to_numpy(variable)
        return np.asarray(array, np.float64)

    scale = numbers(norm.gamma, 1) / np.sqrt(numbers(norm.moving_variance, 1) + norm.epsilon)
    shift = numbers(convolution.bias, 0) - numbers(norm.moving_mean, 0)
    # The channels that a convolution answers are the last axis of its kernel.
    return [numbers(convolution.kernel, 0) * scale, shift * scale + numbers(norm.beta, 0)]
