"""What a model sees in an image: the numbers that its logits are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from dfk.errors import UsageError
from dfk.layers import AverageCrops, Frozen
from dfk.models.classifier import network_of


def features_of(model: keras.Model) -> keras.Model:
    """A model that answers what the last layer of a classifier's network makes logits of.

    It shares its layers with the classifier, and always infers. Of crops of a large image the
    features are averaged, as the logits are; an ensemble has those of its members side by side, in
    their order.

    Args:
        model: an `image_classifier`, as all dfk models are.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255 to float32 [N, D].

    Raises:
        UsageError: if it is an SVM, or another model that has no such features.
    """
    images, features, _ = _opened(model)
    return Frozen(images, features, name=f"{model.name}_features")


def with_features(model: keras.Model) -> keras.Model:
    """A classifier that answers its probabilities and, behind them, its features: [N, C + D].

    Arguments and errors are those of `features_of`.
    """
    images, features, answers = _opened(model)
    both = ops.concatenate([ops.cast(answers, "float32"), features], axis=1)
    return Frozen(images, both, name=f"{model.name}_with_features")


def _opened(model: keras.Model) -> tuple[Any, Any, Any]:
    """Images, features and what the model answers, on layers of the model."""
    if not isinstance(model, keras.Model):
        raise UsageError("only Keras models have features before their logits; an SVM has none")
    if "network" not in [layer.name for layer in model.layers]:
        raise UsageError(f"{model.name} is no dfk model: it has no network")
    network = network_of(model)
    inner, found = _open_network(network), []

    def call(layer, *args, **kwargs):
        if layer is network:
            features, answers = inner(*args)
            found.append(features)
            return answers
        if isinstance(layer, AverageCrops):
            (_, images), features = args[0], found.pop()
            found.append(AverageCrops(name="average_features")([features, images]))
        return layer(*args, **kwargs)

    images, answers = _again(model, call)
    return images, *found, answers


def _open_network(network: keras.Model) -> keras.Model:
    """Images [N, H, W, 3] to features, float32 [N, D], and logits."""
    if not any(isinstance(layer, Frozen) for layer in network.layers):
        features = network.layers[-1].input
        if not isinstance(features, keras.KerasTensor) or len(features.shape) != 2:
            raise UsageError(
                f"the last layer of {network.name} makes its answer of no features [N, D]"
            )
        return keras.Model(network.input, [ops.cast(features, "float32"), network.output])
    found = []

    def call(layer, *args, **kwargs):
        if not isinstance(layer, Frozen):
            return layer(*args, **kwargs)
        images, features, answers = _opened(layer)
        features, answers = Frozen(images, [features, answers], name=layer.name)(*args)
        found.append(features)
        return answers

    images, logits = _again(network, call)
    return keras.Model(images, [ops.concatenate(found, axis=1), logits])


def _again(model: keras.Model, call: Callable) -> tuple[Any, Any]:
    """The same layers called once more, by `call`: the new input and output."""
    again = keras.models.clone_model(model, clone_function=lambda x: x, call_function=call)
    return again.input, again.output
