"""Which layers of a network train: the head always, the base from some layer on."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from dfk.config.start import ALL
from dfk.errors import UsageError
from dfk.models.classifier import network_of

# The first layer of a head, in the order in which they are looked for.
_HEADS = ("average", "logits")


def set_trainable_from(model: keras.Model, layer: str | None) -> None:
    """Freezes the layers of a network's base below one; the head always trains.

    The head is what follows the convolutions, or in a network of dense layers the last one. A
    frozen BatchNormalization keeps its statistics and normalises by them. Compile after.

    Args:
        model: an `image_classifier`.
        layer: the first block ("block4") or layer ("block4_conv2") that trains; "all" trains
            everything, None or "" the head alone.

    Raises:
        UsageError: if the base has no such block or layer.
    """
    base = base_of(network_of(model))
    start = first([x.name for x in base], layer)
    for i, x in enumerate(base):
        if x.weights:
            x.trainable = i >= start


def base_of(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers below the head of a network, in their order."""
    layers = [x for x in network.layers if not isinstance(x, keras.layers.InputLayer)]
    names = [layer.name for layer in layers]
    head = next((name for name in _HEADS if name in names), names[-1])
    return layers[: names.index(head)]


def first(
    names: Sequence[str], layer: str | None, of: str = "the network", blocks: str = ""
) -> int:
    """Which of the names of a base is the first of a block, or of a layer with what follows it.

    Raises:
        UsageError: if none is.
    """
    if layer == ALL:
        return 0
    if not layer:
        return len(names)
    starts = [i for i, name in enumerate(names) if f"{name}_".startswith(f"{layer}_")]
    if not starts:
        has = f"{blocks}{', '.join(names)}"
        raise UsageError(f"{of} has no block or layer {layer!r}; it has {has}")
    return starts[0]
