"""A residual network for images at their own size: no resize, a stem that keeps every pixel.

Source: He et al., 2016, "Deep Residual Learning for Image Recognition" (basic blocks). What
differs serves the traces of generators, which are a pixel or two wide: stride 1 in the stem,
and pooling by the mean, which aliases less than a stride.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from dfk import layers
from dfk.models import starts, transfer
from dfk.models.applications import Policy, application
from dfk.models.classifier import InputShape
from dfk.models.seeds import Seeds

_FILTERS = (32, 64, 128, 256)


def ResidualNet(  # noqa: N802 -- named as keras.applications names its models
    *,
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: InputShape | None = None,
    pooling: str | None = None,
    classes: int = 5,
    classifier_activation: str | Callable | None = "softmax",
    class_names: Sequence[str] | None = None,
    filters: Sequence[int] | None = None,
    high_pass: bool | None = None,
    dropout: float = 0.2,
    temperature: float = 1.0,
    seed: int | None = None,
    dtype: Policy = None,
    name: str = "residual",
) -> keras.Model:
    """Builds the network: a stem, a residual block per filter with a pooling between, the mean.

    Args:
        include_top: whether the model has its head. Without, it answers features: the last block's
            map, [N, H // 8, W // 8, 256], or what `pooling` makes of it, float32 [N, 256].
        weights: a run's folder, a `.keras` file, the name of a model that comes with dfk, or a
            `.weights.h5` file; None for fresh weights. Of an ensemble it is its first member of
            this kind. The head is fresh where the classes are others.
        input_tensor: a Keras tensor [N, H, W, 3] that the model sees instead of an input of its
            own; what it was made of is the model's input then.
        input_shape: (height, width, 3) that images are resized to; None, as (None, None, 3), leaves
            them at their own size.
        pooling: of the features where there is no head: None, "avg" or "max" over the image.
        classes: C, number of classes.
        classifier_activation: "softmax", or None for logits; heeded where there is a head.
        class_names: C names; "0", "1", ... without them.
        filters: channels of each block; None is what the weights have, without them (32, 64, 128,
            256), which has 1.2 million parameters.
        high_pass: let the stem see `dfk.layers.HighPass` of the image beside its colours. None: as
            the weights have it, without them False.
        dropout: rate before the last layer.
        temperature: of the final softmax.
        seed: of weights and dropout; None draws one.
        dtype: the dtype policy of the convolutional part; None is Keras' own, as
            `keras.config.set_dtype_policy` has set it.
        name: the model's name.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255, to calibrated probabilities,
        float32 [N, C]; H and W from 8, each block beyond four doubles it.

    Raises:
        UsageError: if the weights are not there, damaged, or another network's.
        ValueError: if `class_names` are not `classes` names, or a shape, a pooling or an activation
            is none that it has.
    """
    start = starts.find(weights, shape_of, "residual")
    filters, high_pass = starts.settle(
        start, filters=(filters, _FILTERS), high_pass=(high_pass, False)
    )
    class_names = starts.names(start, classes, class_names)
    seeds = Seeds(seed)
    model = application(
        lambda: _base(filters, high_pass, seeds, dtype),
        lambda features: _head(features, dropout, classes, seeds),
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        default_shape=(None, None, 3),
        smallest_image=smallest_image(filters, high_pass),
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        class_names=class_names,
        temperature=temperature,
        name=name,
    )
    transfer.give(model, start, class_names)
    return model


def shape_of(layers: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments that fix the weights of a network with these layers; None of another kind."""
    if "stem" not in layers or "block1_conv1" not in layers:
        return None
    blocks = [layers[f"block{i}_conv1"] for i in range(1, 99) if f"block{i}_conv1" in layers]
    return {"filters": tuple(x["filters"] for x in blocks), "high_pass": "high_pass" in layers}


def smallest_image(filters: Sequence[int], high_pass: bool) -> int:
    """Pixels a side of the least image that a network with these options takes at its own size."""
    poolings = len(filters) - 1
    return max(2**poolings, layers.HighPass.SMALLEST_IMAGE if high_pass else 1)


def _base(filters: Sequence[int], high_pass: bool, seeds: Seeds, dtype: Policy) -> keras.Model:
    """Images [N, H, W, 3] in 0..255 to the map of the last block."""
    images = keras.Input((None, None, 3), name="pixels")
    # In float32: bfloat16 would round a pixel before it is centred.
    x = keras.layers.Rescaling(2 / 255, -1.0, dtype="float32", name="rescale")(images)
    if high_pass:
        noise = layers.HighPass(name="high_pass")(images)
        x = keras.layers.Concatenate(dtype="float32", name="views")([x, noise])
    x = _conv(x, filters[0], 3, seeds, dtype, "stem")
    x = keras.layers.ReLU(dtype=dtype, name="stem_relu")(x)
    for block, width in enumerate(filters, start=1):
        if block > 1:
            x = keras.layers.AveragePooling2D(2, dtype=dtype, name=f"block{block}_pool")(x)
        x = _block(x, width, seeds, dtype, f"block{block}")
    return keras.Model(images, x)


def _head(features, dropout: float, classes: int, seeds: Seeds):
    """Features [N, H, W, D] to float32 logits [N, classes]."""
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="average")(features)
    x = layers.Dropout(dropout, seed=seeds.next(), dtype="float32", name="dropout")(x)
    initializer = keras.initializers.GlorotUniform(seeds.next())
    return keras.layers.Dense(
        classes, kernel_initializer=initializer, dtype="float32", name="logits"
    )(x)


def _block(x, width: int, seeds: Seeds, dtype: Policy, name: str):
    shortcut = x
    if x.shape[-1] != width:
        shortcut = _conv(x, width, 1, seeds, dtype, f"{name}_shortcut")
    x = _conv(x, width, 3, seeds, dtype, f"{name}_conv1")
    x = keras.layers.ReLU(dtype=dtype, name=f"{name}_relu1")(x)
    x = _conv(x, width, 3, seeds, dtype, f"{name}_conv2", gamma="zeros")
    x = keras.layers.Add(dtype=dtype, name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(dtype=dtype, name=f"{name}_relu2")(x)


def _conv(x, width: int, side: int, seeds: Seeds, dtype: Policy, name: str, gamma: str = "ones"):
    """A convolution and its BatchNormalization, whose beta is the bias.

    A gamma of zeros starts a block as the identity (Goyal et al., 2017, "Accurate, Large
    Minibatch SGD", section 5.1).
    """
    x = keras.layers.Conv2D(
        width,
        side,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.HeNormal(seeds.next()),
        dtype=dtype,
        name=name,
    )(x)
    return layers.BatchNormalization(
        momentum=0.9, gamma_initializer=gamma, dtype=dtype, name=f"{name}_bn"
    )(x)
