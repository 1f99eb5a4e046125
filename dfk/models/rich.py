"""A rich model: what the noise of an image does together, counted, and a small network on it.

No convolution is learned. `dfk.layers.noise_statistics` and `dfk.layers.rich_features` measure,
which takes some milliseconds an image and, without augmentation, happens once; two dense layers
learn in a minute or two of a CPU what a convolutional network takes an hour for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

from dfk import layers
from dfk.model_files import keras_files
from dfk.models.classifier import InputShape, image_classifier, names_of
from dfk.models.seeds import Seeds

# Pixels a side, for what is counted.
SMALLEST_IMAGE = max(layers.NoiseStatistics.SMALLEST_IMAGE, layers.RichFeatures.SMALLEST_IMAGE)


def RichNet(  # noqa: N802 -- named as keras.applications names its models
    *,
    weights: str | Path | None = None,
    input_shape: InputShape = (None, None, 3),
    classes: int = 5,
    class_names: Sequence[str] | None = None,
    units: Sequence[int] = (192, 192),
    dropout: float = 0.5,
    temperature: float = 1.0,
    seed: int | None = None,
    dtype: str = "float32",
    name: str = "rich",
) -> keras.Model:
    """Builds the network: `NoiseStatistics` and `RichFeatures`, standardised, and dense layers.

    Source of the idea, with an ensemble of linear classifiers on the features: Kodovsky et al.,
    2012, "Ensemble Classifiers for Steganalysis of Digital Media".

    Args:
        weights: a `.weights.h5` file of this model, or None for fresh weights.
        input_shape: (height, width, 3) that images are resized to; (None, None, 3) for native,
            which keeps the noise that the features are about.
        classes: C, number of classes.
        class_names: C names; "0", "1", ... without them.
        units: of each dense layer; the default has 2.4 million parameters.
        dropout: rate after each dense layer; of the features .4 times as many are dropped.
        temperature: of the final softmax.
        seed: of weights and dropout; None draws one.
        dtype: the dtype policy of the dense layers, `float32` or `mixed_bfloat16`.
        name: the model's name.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255, any H and W from 8, to
        calibrated probabilities, float32 [N, C].

    Raises:
        ValueError: if `class_names` are not `classes` names.
    """
    class_names = names_of(classes, class_names)
    model = image_classifier(
        _network(classes, units, dropout, seed, dtype),
        input_shape=input_shape,
        class_names=class_names,
        temperature=temperature,
        name=name,
    )
    if weights is not None:
        keras_files.load_weights(model, weights)
    return model


def _network(
    classes: int, units: Sequence[int], dropout: float, seed: int | None, dtype: str
) -> keras.Model:
    """Images [N, H, W, 3] in 0..255 to float32 logits [N, classes]."""
    seeds = Seeds(seed)
    images = keras.Input((None, None, 3), name="images")
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
    logits = _dense(x, classes, seeds, "float32", "logits")
    return keras.Model(images, logits, name="network")


def _dense(x, width: int, seeds: Seeds, dtype: str, name: str):
    initializer = keras.initializers.GlorotUniform(seeds.next())
    return keras.layers.Dense(width, kernel_initializer=initializer, dtype=dtype, name=name)(x)
