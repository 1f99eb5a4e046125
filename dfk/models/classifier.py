"""What every dfk model is: a resize, a network that answers logits, calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from dfk.data import class_names
from dfk.layers import AverageCrops, CalibratedSoftmax, NativeCrops, Resizing

InputShape = tuple[int | None, int | None, int]


def image_classifier(
    network: keras.Model,
    *,
    input_shape: InputShape,
    class_names: Sequence[str],
    temperature: float = 1.0,
    name: str,
) -> keras.Model:
    """Wraps a network into the model that is saved and served.

    Args:
        network: images [N, H, W, 3] in 0..255, any H and W, to logits [N, C].
        input_shape: (height, width, 3) that images are resized to where theirs differs;
            (None, None, 3) for a model that takes them at their own size.
        class_names: C names, in the order of the logits.
        temperature: of the softmax.
        name: the model's name.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255, any H and W, to calibrated
        probabilities, float32 [N, C].
    """
    images = keras.Input((None, None, 3), name="images")
    logits = network(resized(images, input_shape))
    probabilities = CalibratedSoftmax(class_names, temperature, name="probabilities")(logits)
    return keras.Model(images, probabilities, name=name)


def resized(images: keras.KerasTensor, input_shape: InputShape) -> keras.KerasTensor:
    """Images at the size of `input_shape`; at their own for (None, None, 3)."""
    height, width, _ = input_shape
    return Resizing(height, width, name="resize")(images) if height and width else images


def with_test_crop(model: keras.Model, side: int) -> keras.Model:
    """The same `image_classifier`, which averages the logits of crops of larger images.

    Args:
        model: of a network that takes images at their own size. Its weights are shared.
        side: of the crops, in pixels, as `dfk.layers.NativeCrops` makes them. The answer to an
            image that is not larger stays what it is.
    """
    images = keras.Input((None, None, 3), name="images")
    logits = network_of(model)(NativeCrops(side, name="crops")(images))
    logits = AverageCrops(name="average_crops")([logits, images])
    head = model.layers[-1]
    return keras.Model(images, head.from_config(head.get_config())(logits), name=model.name)


def crops_of(model: keras.Model) -> NativeCrops | None:
    """What cuts large images into crops in an `image_classifier`; None where nothing does."""
    return next((layer for layer in model.layers if isinstance(layer, NativeCrops)), None)


def names_of(classes: int, class_names: Sequence[str] | None) -> tuple[str, ...]:
    """`class_names`, or "0", "1", ... without them.

    Raises:
        ValueError: if they are not `classes` names.
    """
    names = tuple(class_names or map(str, range(classes)))
    if len(names) != classes:
        raise ValueError(f"{classes} classes, but {len(names)} class names")
    return names


def network_of(model: keras.Model) -> keras.Model:
    """The part of an `image_classifier` that is trained: resized images to logits."""
    return model.get_layer("network")


def logits_of(model: keras.Model) -> keras.Model:
    """The same `image_classifier` without its softmax: images [N, H, W, 3] to logits [N, C]."""
    return keras.Model(model.input, model.layers[-1].input)


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Gives an `image_classifier` another temperature, also where it has answered before.

    A function that was traced around the model, such as a `tf.function`, keeps the one it saw.

    Raises:
        ValueError: if it is not positive.
    """
    model.layers[-1].temperature = temperature
    # Keras traces them once; compiling, too, has them traced anew.
    model.train_function = model.test_function = model.predict_function = None


def set_thresholds(model: keras.Model, thresholds: Mapping[str, float | Sequence[float]]) -> None:
    """Gives an `image_classifier` the named thresholds that it is saved and served with."""
    model.layers[-1].thresholds = dict(thresholds)


def set_trained_on(model: keras.Model, record: Mapping[str, Any] | None) -> None:
    """Gives an `image_classifier` the record, of `dfk.data.trained_on`, of what it has seen."""
    model.layers[-1].trained_on = record


def rename_classes(model: keras.Model, given: Mapping[str, str]) -> None:
    """Gives classes of an `image_classifier` other names, as `class_names.renamed` does."""
    head = model.layers[-1]
    head.class_names = class_names.renamed(head.class_names, given)


def class_names_of(model: keras.Model) -> tuple[str, ...]:
    """The class names that an `image_classifier` carries, in the order of its outputs."""
    return model.layers[-1].class_names
