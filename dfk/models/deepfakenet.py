"""DeepFakeNet, the study's own CNN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from absl import logging

from dfk import layers
from dfk.models import starts, transfer
from dfk.models.applications import Policy, application
from dfk.models.classifier import InputShape, network_of
from dfk.models.seeds import Seeds

# Pixels a side; three poolings leave nothing of a smaller image.
SMALLEST_IMAGE = 8

_FILTERS, _DROPOUT = (32, 64, 128), (0.25, 0.3, 0.4)


def DeepFakeNet(  # noqa: N802 -- named as keras.applications names its models
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
    dropout: Sequence[float] | None = None,
    input_range: tuple[float, float] | None = None,
    temperature: float = 1.0,
    seed: int | None = None,
    dtype: Policy = None,
    name: str = "deepfakenet",
) -> keras.Model:
    """Builds DeepFakeNet: a block per filter of (3x3 conv, BatchNorm, ReLU) twice, pool, dropout.

    Args:
        include_top: whether the model has its head. Without, it answers features: the last block's
            map, [N, H // 8, W // 8, 128], or what `pooling` makes of it, float32 [N, 128].
        weights: a run's folder, a `.keras` file, the name of a model that comes with dfk, or a
            `.weights.h5` file; None for fresh weights. Of an ensemble it is its first member of
            this kind. The head is fresh where the classes are others.
        input_tensor: a Keras tensor [N, H, W, 3] that the model sees instead of an input of its
            own; what it was made of is the model's input then.
        input_shape: (height, width, 3) that images are resized to; (None, None, 3) for native.
            None is the size of `input_tensor`, or 128 x 128.
        pooling: of the features where there is no head: None, "avg" or "max" over the image.
        classes: C, number of classes.
        classifier_activation: "softmax", or None for logits; heeded where there is a head.
        class_names: C names; "0", "1", ... without them.
        filters: channels of each block's convolutions. None, as of what follows: as the weights
            have it, without them (32, 64, 128).
        dropout: rate after each block; (0.25, 0.3, 0.4).
        input_range: what 0 and 255 are mapped to inside the model. None is as the weights have it,
            without them (0, 1); weights that learned on another range are converted.
        temperature: of the final softmax.
        seed: of weights and dropout; None draws one.
        dtype: the dtype policy of the convolutional part; None is Keras' own, as
            `keras.config.set_dtype_policy` has set it.
        name: the model's name.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255, any H and W, to calibrated
        probabilities, float32 [N, C].

    Raises:
        UsageError: if the weights are not there, damaged, or another network's.
        ValueError: if `class_names` are not `classes` names, or a shape, a pooling or an activation
            is none that it has.
    """
    start = starts.find(weights, shape_of, "deepfakenet")
    (filters,) = starts.settle(start, filters=(filters, _FILTERS))
    learned_on = start.shape.get("input_range") if start else None
    input_range = input_range or learned_on or (0.0, 1.0)
    if dropout is None:
        dropout = start.shape.get("dropout", _DROPOUT) if start else _DROPOUT
    class_names = starts.names(start, classes, class_names)
    seeds = Seeds(seed)
    model = application(
        lambda: _base(filters, dropout, input_range, seeds, dtype),
        lambda features: _head(features, classes, seeds),
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        default_shape=(128, 128, 3),
        smallest_image=2 ** len(filters),
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
        class_names=class_names,
        temperature=temperature,
        name=name,
    )
    transfer.give(model, start, class_names)
    if learned_on:
        _convert(network_of(model), learned_on, input_range)
    return model


def _convert(
    network: keras.Model, learned_on: tuple[float, float], given: tuple[float, float]
) -> None:
    """Lets weights that learned on inputs in one range answer alike to inputs in another.

    An input as it was is `scale` times what it is now, plus `offset`. The scale goes into the first
    kernel, the offset into the mean that is then subtracted. Answers differ at the border alone,
    where the zeros around an image stand for another grey.
    """
    scale = (learned_on[1] - learned_on[0]) / (given[1] - given[0])
    offset = learned_on[0] - scale * given[0]
    if (scale, offset) == (1, 0):
        return
    first, norm = (network.get_layer(name) for name in ("block1_conv1", "block1_conv1_bn"))
    (kernel,) = first.get_weights()
    first.set_weights([scale * kernel])
    norm.moving_mean.assign(norm.moving_mean - offset * kernel.sum(axis=(0, 1, 2)))
    ranges = [" to ".join(f"{end:g}" for end in ends) for ends in (learned_on, given)]
    logging.info("Its first layer, which learned on inputs from %s, now takes %s.", *ranges)


def shape_of(layers: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments that a network with these layers was built with; None of another kind."""
    if "block1_dropout" not in layers or "rescale" not in layers:
        return None
    blocks = [i for i in range(1, 99) if f"block{i}_dropout" in layers]
    scale, low = layers["rescale"]["scale"], layers["rescale"]["offset"]
    return {
        "filters": tuple(layers[f"block{i}_conv1"]["filters"] for i in blocks),
        "dropout": tuple(layers[f"block{i}_dropout"]["rate"] for i in blocks),
        "input_range": (low, round(low + 255 * scale, 6)),
    }


def _base(
    filters: Sequence[int],
    dropout: Sequence[float],
    input_range: tuple[float, float],
    seeds: Seeds,
    dtype: Policy,
) -> keras.Model:
    """Images [N, H, W, 3] in 0..255 to the map of the last block."""
    low, high = input_range
    images = keras.Input((None, None, 3), name="pixels")
    # In float32: bfloat16 would round a pixel before it is centred.
    x = keras.layers.Rescaling((high - low) / 255, low, dtype="float32", name="rescale")(images)
    for block, (width, rate) in enumerate(zip(filters, dropout, strict=True), start=1):
        x = _conv(x, width, seeds, dtype, f"block{block}_conv1")
        x = keras.layers.ReLU(dtype=dtype, name=f"block{block}_relu1")(x)
        x = _conv(x, width, seeds, dtype, f"block{block}_conv2")
        # max(relu(x)) = relu(max(x)): pooling first leaves a quarter of the ReLU's work.
        x = keras.layers.MaxPooling2D(2, dtype=dtype, name=f"block{block}_pool")(x)
        x = keras.layers.ReLU(dtype=dtype, name=f"block{block}_relu2")(x)
        x = layers.Dropout(rate, seed=seeds.next(), dtype=dtype, name=f"block{block}_dropout")(x)
    return keras.Model(images, x)


def _head(features, classes: int, seeds: Seeds):
    """Features [N, H, W, D] to float32 logits [N, classes]."""
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="average")(features)
    initializer = keras.initializers.GlorotUniform(seeds.next())
    return keras.layers.Dense(
        classes, kernel_initializer=initializer, dtype="float32", name="logits"
    )(x)


def _conv(x, width: int, seeds: Seeds, dtype: Policy, name: str):
    x = keras.layers.Conv2D(
        width,
        3,
        padding="same",
        use_bias=False,  # BatchNormalization's beta is the bias.
        kernel_initializer=keras.initializers.HeNormal(seeds.next()),
        dtype=dtype,
        name=name,
    )(x)
    return layers.BatchNormalization(momentum=0.9, dtype=dtype, name=f"{name}_bn")(x)
