"""The dense part of a model: pixels of fixed sizes in, probabilities out. It may run on a TPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from dfk import models
from dfk.data.limits import Memory
from dfk.export.folding import lean
from dfk.layers import Resizing

# (height, width) that a model resizes images to; None for one that takes them at their own.
Size = tuple[int, int] | None
_Answer = Callable[[Mapping[Size, tf.Tensor]], tf.Tensor]


class Dense(NamedTuple):
    """A model without its resizing, as one function.

    Attributes:
        resizes: for each size that the model's networks take, the layer that makes it; None
            where images keep their own.
        smallest: least pixels a side of an image.
        memory: that an image takes, from its file to the answer.
        function: takes an image batch float32 [N, H, W, 3] in 0..255 per size, in their order;
            answers probabilities, float32 [N, C].
    """

    resizes: dict[Size, Resizing | None]
    smallest: int
    memory: Memory
    function: tf.types.experimental.PolymorphicFunction


def dense_part(model: keras.Model, *, precision: str, fold: bool) -> Dense:
    """Takes an `image_classifier`, or an ensemble of them, apart at its resizing.

    Members that take images of the same size share the resizing.

    Args:
        model: as loaded; it is left as it is.
        precision: `float32` or `mixed_bfloat16`.
        fold: whether BatchNormalization is folded into the convolutions.
    """
    resizes: dict[Size, Resizing | None] = {}
    answer = _answer(model, resizes, precision=precision, fold=fold)
    sizes = list(resizes)

    def function(*images: tf.Tensor) -> tf.Tensor:
        return answer(dict(zip(sizes, images, strict=True)))

    signature = [tf.TensorSpec([None, *_sides(size), 3], tf.float32) for size in sizes]
    function = tf.function(function, input_signature=signature, autograph=False)
    costs = models.smallest_image(model), models.memory(model)
    return Dense(resizes, *costs, function)


def _answer(model: keras.Model, resizes: dict, **options) -> _Answer:
    """What answers the model's probabilities from its images by size; it adds to `resizes`."""
    network, softmax = models.network_of(model), model.layers[-1]
    parts = [_answer(m, resizes, **options) for m in models.members_of(model)]
    if parts:
        combine = network.get_layer("combine")
        if measure := models.statistics_of(model):  # Of images at their own size
            resizes.setdefault(None, None)
            parts.append(lambda images: measure(images[None]))
        return lambda images: softmax(combine([part(images) for part in parts]))
    resize = next((layer for layer in model.layers if isinstance(layer, Resizing)), None)
    size = (resize.height, resize.width) if resize else None
    resizes.setdefault(size, resize)
    copy = _with_constants(lean(network, **options))
    crops = models.crops_of(model)
    if crops is None:
        return lambda images: softmax(copy(images[size]))
    average = model.get_layer("average_crops")
    return lambda images: softmax(average([copy(crops(images[size])), images[size]]))


def _with_constants(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """What the network answers, with its weights as constants of the graph.

    What a kernel knows to be constant it lays out once, not at every call: an image alone is
    answered a third faster.
    """
    trainable, other = (
        [keras.ops.convert_to_numpy(variable) for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    )

    def answer(images: tf.Tensor) -> tf.Tensor:
        values = [[tf.constant(value) for value in values] for values in (trainable, other)]
        return network.stateless_call(*values, images, training=False)[0]

    return answer


def _sides(size: Size) -> tuple[int | None, int | None]:
    return size or (None, None)
