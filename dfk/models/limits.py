"""What a model can take, read off its own layers: the least image, and what a pixel costs."""

from __future__ import annotations

import math

import keras

from dfk.data.limits import Memory
from dfk.layers import Resizing
from dfk.models.classifier import crops_of, network_of
from dfk.models.ensemble import members_of

_LARGEST = 1024  # Pixels a side: no network needs more, unless it takes one size alone
_SIDE = 256  # Pixels, of the image that a network's layers are weighed with

# What TensorFlow takes for what the layers hold at once: of 13 networks of 8 to 64 channels in
# front, on 2 cores, it was 1.1 to 1.35 times as much.
_OVERHEAD = 1.3
# Bytes of a pixel that is decoded and turned to float32, or resized.
DECODED = 24


def input_size(model: keras.Model) -> tuple[int, int] | None:
    """The size (H, W) that a classifier itself resizes images to; None if they keep their own."""
    sizes = ((x.height, x.width) for x in model.layers if isinstance(x, Resizing))
    return next(sizes, None)


def image_sizes(model: keras.Model) -> list[tuple[int, int]]:
    """The sizes (H, W) that a classifier, or some member of an ensemble, resizes images to."""
    if size := input_size(model):
        return [size]
    # A member may be an ensemble itself.
    sizes = [size for member in members_of(model) for size in image_sizes(member)]
    return list(dict.fromkeys(sizes))


def smallest_image(model: keras.Model) -> int:
    """The least side of an image that an `image_classifier` answers; 1 where it resizes."""
    members = members_of(model)
    if members:  # And what a gate looks at
        beside = [getattr(layer, "SMALLEST_IMAGE", 1) for layer in network_of(model).layers]
        return max([*beside, *map(smallest_image, members)])
    return 1 if input_size(model) else smallest_input(network_of(model))


def smallest_input(network: keras.Model) -> int:
    """The least side of images [N, H, W, 3] of which a network's layers leave something.

    Poolings and strides leave nothing of smaller ones. A layer that needs more of what enters it
    says so by an attribute `SMALLEST_IMAGE`.
    """
    ends = [(layer, x) for layer in network.layers for x in _images_of(layer.output)]
    starts = [(layer, x) for layer in network.layers for x in _images_of(layer.input)]
    needed = [getattr(layer, "SMALLEST_IMAGE", 1) for layer, _ in starts] + [1] * len(ends)
    probe = keras.Model(network.input, [x for _, x in [*starts, *ends]])

    def fits(side: int) -> bool:
        try:
            shapes = probe.compute_output_shape((1, side, side, 3))
        except ValueError:  # Of a layer that would be left with less than nothing
            return False
        return all(min(shape[1:3]) >= least for shape, least in zip(shapes, needed, strict=True))

    return next(filter(fits, range(1, _LARGEST)), 1)


def memory(model: keras.Model) -> Memory:
    """The memory that images take while a model [N, H, W, C] answers, or explains."""
    inside = _inside(model)
    return inside._replace(bytes_per_pixel=DECODED + inside.bytes_per_pixel)


def training_bytes_per_pixel(network: keras.Model) -> float:
    """The memory that a pixel of a training batch takes: what the layers answer, kept to the end.

    Measured on a CPU, of `deepfakenet`, `residual` and `vgg16`, it was .7 to 1.1 times as much.
    """
    tensors = [x for layer in network.layers for x in _images_of(layer.output)]
    shapes = keras.Model(network.input, tensors).compute_output_shape((1, _SIDE, _SIDE, 3))
    return sum(_bytes(s, x.dtype) for x, s in zip(tensors, shapes, strict=True)) / _SIDE**2


def _inside(layer: keras.layers.Layer) -> Memory:
    """The memory that a layer, or model, takes for images that enter it.

    Of a model it is what its layers hold at once, one after the other: what enters and leaves a
    layer and what later ones will need. Members of an ensemble may be at work all at once. What
    a layer takes inside itself it says by an attribute `BYTES_PER_PIXEL`.
    """
    if not isinstance(layer, keras.Model):
        return Memory(getattr(layer, "BYTES_PER_PIXEL", 0))
    if input_size(layer) or not _images_of(layer.input):
        return Memory(0)
    parts = list(map(_inside, layer.layers))
    own = sum(part.bytes_per_pixel for part in parts)
    if cut := crops_of(layer):
        crop = _OVERHEAD * _bytes(layer.input.shape[-1:], "float32")
        return Memory(0, ((crop + own, cut.side),))
    return Memory(_held(layer) + own, sum((part.crops for part in parts), ()))


def _held(model: keras.Model) -> float:
    """The bytes per pixel that lie between the layers of a model, at the worst moment."""
    layers = model.layers
    used = {id(x): i for i, inner in enumerate(layers) for x in _images_of(inner.input)}
    tensors = [x for inner in layers for x in _images_of(inner.output)]
    size = [side or _SIDE for side in model.input.shape[1:3]]
    shape = (1, *size, model.input.shape[-1])
    shapes = keras.Model(model.input, tensors).compute_output_shape(shape)
    sizes = {id(x): _bytes(s, x.dtype) for x, s in zip(tensors, shapes, strict=True)}
    live, peak = set(), 0
    for i, inner in enumerate(layers):
        live |= {id(x) for x in _images_of(inner.output)}
        peak = max(peak, sum(sizes[x] for x in live))
        live = {x for x in live if used.get(x, 0) > i}
    return _OVERHEAD * peak / math.prod(size)


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return math.prod(shape) * (2 if dtype in ("bfloat16", "float16") else 4)


def _images_of(tensors) -> list:
    """Those of a layer's inputs or outputs that are [N, H, W, C]."""
    return [x for x in keras.tree.flatten(tensors) if len(x.shape) == 4]
