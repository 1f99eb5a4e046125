"""What the builders of networks share: the arguments that keras.applications has, and both ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from dfk.layers import CalibratedSoftmax
from dfk.models.classifier import InputShape, names_of, resized

_POOLINGS = {
    "avg": (keras.layers.GlobalAveragePooling2D, "average"),
    "max": (keras.layers.GlobalMaxPooling2D, "maximum"),
}
_NATIVE = (None, None, 3)

# What a layer takes as `dtype`; None is Keras' own policy.
Policy = str | keras.DTypePolicy | None


def application(
    base: Callable[[], keras.Model],
    head: Callable[[keras.KerasTensor], keras.KerasTensor],
    *,
    include_top: bool,
    input_tensor: keras.KerasTensor | None,
    input_shape: InputShape | None,
    default_shape: InputShape,
    smallest_image: int,
    pooling: str | None,
    classes: int,
    classifier_activation: str | Callable | None,
    class_names: Sequence[str] | None,
    temperature: float,
    name: str,
) -> keras.Model:
    """Joins a base and a head into what a builder returns, once its arguments are known to fit.

    Args:
        base: builds what is between images [N, H, W, 3] in 0..255 and features, a map
            [N, h, w, D] or [N, D].
        head: those features to logits, float32 [N, classes].
        include_top: whether the model has the head; without it, it answers features.
        input_tensor: what the model sees instead of an `Input` of its own, [N, H, W, 3].
        input_shape: (height, width, 3) that images are resized to where theirs differs, or
            (None, None, 3) for images at their own size; None is `default_shape`, or the size of
            `input_tensor` where it has one.
        default_shape: of the builder.
        smallest_image: pixels a side of the least image that the base takes.
        pooling: of a map of features without the head: None, "avg" or "max".
        classes: C, number of classes.
        classifier_activation: "softmax", or None for logits.
        class_names: C names; "0", "1", ... without them.
        temperature: of the softmax.
        name: the model's name.

    Raises:
        ValueError: for an argument that is none of these.
    """
    class_names = names_of(classes, class_names)
    if pooling not in (None, *_POOLINGS):
        raise ValueError(f"pooling is None, 'avg' or 'max', got {pooling!r}")
    answers_logits = _answers_logits(classifier_activation)
    _check_tensor(input_tensor)
    given = input_tensor.shape[1:] if input_tensor is not None else _NATIVE
    if input_shape is None:
        input_shape = _NATIVE if all(given[:2]) else default_shape
    _check_shape(input_shape, smallest_image, name)
    if not input_shape[0] and all(given[:2]):
        _check_shape(given, smallest_image, name)

    images = keras.Input(_NATIVE, name="images") if input_tensor is None else input_tensor
    part = base()
    ends = head if include_top else lambda features: _pooled(features, pooling)
    network = keras.Model(part.input, ends(part.output), name="network")
    answers = network(resized(images, input_shape))
    if include_top and not answers_logits:
        answers = CalibratedSoftmax(class_names, temperature, name="probabilities")(answers)
    sources = [images] if input_tensor is None else keras.utils.get_source_inputs(input_tensor)
    return keras.Model(sources[0] if len(sources) == 1 else sources, answers, name=name)


def _answers_logits(activation: str | Callable | None) -> bool:
    """Whether there is no softmax.

    Raises:
        ValueError: for another activation: calibrated probabilities are those of a softmax.
    """
    function = keras.activations.get(activation)
    if function not in (keras.activations.linear, keras.activations.softmax):
        raise ValueError(
            "classifier_activation is 'softmax', for calibrated probabilities, or None, for "
            f"logits; got {activation!r}"
        )
    return function is keras.activations.linear


def _check_tensor(tensor: keras.KerasTensor | None) -> None:
    if tensor is None:
        return
    if not isinstance(tensor, keras.KerasTensor):
        raise ValueError(f"input_tensor is a Keras tensor, as keras.Input gives; got {tensor!r}")
    if len(tensor.shape) != 4 or tensor.shape[-1] != 3:
        raise ValueError(
            f"input_tensor is of images [N, H, W, 3], which have 3 channels; got {tensor.shape}"
        )


def _check_shape(shape: InputShape, smallest: int, name: str) -> None:
    if len(shape) != 3 or shape[-1] != 3:
        raise ValueError(f"input_shape is (height, width, 3): images have 3 channels; got {shape}")
    sides = shape[:2]
    if (sides[0] is None) != (sides[1] is None):
        raise ValueError(
            f"input_shape has a height and a width, or None for both: (None, None, 3); got {shape}"
        )
    if any(side is not None and side < smallest for side in sides):
        raise ValueError(f"{name} needs images of {smallest}x{smallest} at least, got {shape}")


def _pooled(features: keras.KerasTensor, pooling: str | None) -> keras.KerasTensor:
    if pooling is None or len(features.shape) == 2:
        return features
    layer, name = _POOLINGS[pooling]
    return layer(dtype="float32", name=name)(features)
