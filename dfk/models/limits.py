"""What a model can take, read off its own layers."""

from __future__ import annotations

import keras

from dfk.layers import Resizing
from dfk.models.classifier import network_of
from dfk.models.ensemble import members_of

_LARGEST = 1024  # Pixels a side: no network needs more, unless it takes one size alone


def smallest_image(model: keras.Model) -> int:
    """The least pixels a side of an image that a `classifier` answers; 1 where it resizes."""
    members = members_of(model)
    if members:
        return max(map(smallest_image, members))
    resizes = any(isinstance(layer, Resizing) for layer in model.layers)
    return 1 if resizes else smallest_input(network_of(model))


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


def _images_of(tensors) -> list:
    """Those of a layer's inputs or outputs that are [N, H, W, C]."""
    return [x for x in keras.tree.flatten(tensors) if len(x.shape) == 4]
