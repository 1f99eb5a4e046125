"""A rich model: what the noise of an image does together, counted, and a small network on it.

No convolution is learned. `dfk.layers.noise_statistics` and `dfk.layers.rich_features` measure,
which takes some milliseconds an image and, without augmentation, happens once; two dense layers
learn in a minute or two of a CPU what a convolutional network takes an hour for.
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

# Pixels a side, for what is counted.
SMALLEST_IMAGE = max(layers.NoiseStatistics.SMALLEST_IMAGE, layers.RichFeatures.SMALLEST_IMAGE)

_UNITS = (192, 192)


def RichNet(  # noqa: N802 -- named as keras.applications names its models
    *,
    include_top: bool = True,
    weights: str | Path | None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: InputShape | None = None,
    pooling: str | None = None,
    classes: int = 5,
    classifier_activation: str | Callable | None = "softmax",
    class_names: Sequence[str] | None = None,
    units: Sequence[int] | None = None,
    dropout: float = 0.5,
    temperature: float = 1.0,
    seed: int | None = None,
    dtype: Policy = None,
    name: str = "rich",
) -> keras.Model:
    """Builds the network: `NoiseStatistics` and `RichFeatures`, standardised, and dense layers.

    Source of the idea, with an ensemble of linear classifiers on the features: Kodovsky et al.,
    2012, "Ensemble Classifiers for Steganalysis of Digital Media".

    Args:
        include_top: whether the model has its head. Without, it answers features: of the
            last dense layer, [N, 192].
        weights: a run's folder, a `.keras` file, the name of a model that comes with dfk, or a
            `.weights.h5` file; None for fresh weights. Of an ensemble it is its first member of
            this kind. The head is fresh where the classes are others.
        input_tensor: a Keras tensor [N, H, W, 3] that the model sees instead of an input of its
            own; what it was made of is the model's input then.
        input_shape: (height, width, 3) that images are resized to; None, as (None, None, 3), leaves
            them at their own size, which keeps the noise that the features are about.
        pooling: None, "avg" or "max", of which none changes what has no places in the image.
        classes: C, number of classes.
        classifier_activation: "softmax", or None for logits; heeded where there is a head.
        class_names: C names; "0", "1", ... without them.
        units: of each dense layer; None is what the weights have, without them (192, 192), which
            has 2.4 million parameters.
        dropout: rate after each dense layer; of the features .4 times as many are dropped.
        temperature: of the final softmax.
        seed: of weights and dropout; None draws one.
        dtype: the dtype policy of the dense layers; None is Keras' own, as
            `keras.config.set_dtype_policy` has set it.
        name: the model's name.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255, any H and W from 8, to
        calibrated probabilities, float32 [N, C].

    Raises:
        UsageError: if the weights are not there, damaged, or another network's.
        ValueError: if `class_names` are not `classes` names, or a shape, a pooling or an activation
            is none that it has.
    """
    start = starts.find(weights, shape_of, "rich")
    (units,) = starts.settle(start, units=(units, _UNITS))
    class_names = starts.names(start, classes, class_names)
    seeds = Seeds(seed)
    model = application(
        lambda: _base(units, dropout, seeds, dtype),
        lambda features: _dense(features, classes, seeds, "float32", "logits"),
        include_top=include_top,
        input_tensor=input_tensor,
        input_shape=input_shape,
        default_shape=(None, None, 3),
        smallest_image=SMALLEST_IMAGE,
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
    if "rich" not in layers or "features" not in layers:
        return None
    dense = [layers[f"dense{i}"] for i in range(1, 99) if f"dense{i}" in layers]
    return {"units": tuple(layer["units"] for layer in dense)}


def _base(units: Sequence[int], dropout: float, seeds: Seeds, dtype: Policy) -> keras.Model:
    """Images [N, H, W, 3] in 0..255 to what the last layer but the logits answers, [N, D]."""
    images = keras.Input((None, None, 3), name="pixels")
    measured = [layers.NoiseStatistics(name="statistics"), layers.RichFeatures(name="rich")]
    x = keras.layers.Concatenate(dtype="float32", name="features")([m(images) for m in measured])
    # A combination that is rare counts as much as one that is common.
    x = layers.BatchNormalization(
        momentum=0.9, center=False, scale=False, epsilon=1e-6, dtype="float32", name="standardise"
    )(x)
    x = layers.Dropout(0.4 * dropout, seed=seeds.next(), dtype="float32", name="features_drop")(x)
    for number, width in enumerate(units, start=1):
        x = _dense(x, width, seeds, dtype, f"dense{number}")
        x = layers.BatchNormalization(momentum=0.9, dtype="float32", name=f"dense{number}_bn")(x)
        x = keras.layers.ReLU(dtype=dtype, name=f"dense{number}_relu")(x)
        x = layers.Dropout(dropout, seed=seeds.next(), dtype=dtype, name=f"dense{number}_drop")(x)
    return keras.Model(images, x)


def _dense(x, width: int, seeds: Seeds, dtype: Policy, name: str):
    initializer = keras.initializers.GlorotUniform(seeds.next())
    return keras.layers.Dense(width, kernel_initializer=initializer, dtype=dtype, name=name)(x)
