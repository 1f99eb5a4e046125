"""Gives a network the weights that it starts with.

The arrays go to the layers of the same names. The last layer is kept where the classes are the
same, and stays fresh where they are others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
from absl import logging

from dfk.errors import UsageError
from dfk.model_files import keras_files
from dfk.model_files.refused import told
from dfk.models.classifier import network_of
from dfk.models.starts import Start

HEAD = "logits"  # The last layer of every network


def give(model: keras.Model, start: Start | None, class_names: Sequence[str] | None) -> None:
    """Gives a network the weights that it starts with; a head for other classes stays fresh.

    Args:
        model: of a builder, with fresh weights.
        start: whose shape it has; None changes nothing.
        class_names: of its classes; None if any of the same number are the same.

    Raises:
        UsageError: if the weights are damaged or do not fit.
    """
    if start is None:
        return
    donor = _donor(start, model)
    known = start.network.class_names if start.network else None
    own, others = _layers(model), _layers(donor)
    order = _order(known, class_names)
    fresh = own.get(HEAD)
    if fresh and HEAD in others and _fits(fresh, others[HEAD]) and order is not None:
        fresh = None
    taken = {name: layer for name, layer in own.items() if layer.weights and layer is not fresh}
    if wrong := [n for n, x in taken.items() if n not in others or not _fits(x, others[n])]:
        raise UsageError(f"{start.file} does not fit: its layers {', '.join(wrong[:5])} are others")
    for name, layer in taken.items():
        values = others[name].get_weights()
        layer.set_weights([v[..., order] for v in values] if name == HEAD and order else values)
    _tell(start, taken.values(), own.values(), fresh, known)


def _donor(start: Start, model: keras.Model) -> keras.Model:
    """A model of the file's weights."""
    if start.network is None:
        with told(start.file, "cannot be loaded as weights"):
            donor = _with_classes(model, _classes_in(start.file))
        keras_files.load_weights(donor, start.file)
        return donor
    donor = keras_files.load(start.file)
    for name in start.network.place:
        donor = network_of(donor).get_layer(name)
    return donor


def _layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers of a model's network by name."""
    return {layer.name: layer for layer in network_of(model).layers}


def _fits(layer: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    return [w.shape for w in layer.weights] == [w.shape for w in other.weights]


def _order(known: Sequence[str] | None, names: Sequence[str] | None) -> list[int] | None:
    """Where each class is among those that the weights know; [] as it is, None if others."""
    if known is None or names is None:
        return []
    known, names = (_composed(some) for some in (known, names))
    return [known.index(name) for name in names] if set(known) == set(names) else None


def _composed(names: Sequence[str]) -> list[str]:
    return [unicodedata.normalize("NFC", name) for name in names]


def _tell(
    start: Start,
    taken: Iterable[keras.layers.Layer],
    own: Iterable[keras.layers.Layer],
    fresh: keras.layers.Layer | None,
    known: Sequence[str] | None,
) -> None:
    """Says how many arrays of how many were taken, and of which head."""
    count = sum(len(layer.weights) for layer in taken)
    of = sum(len(layer.weights) for layer in own)
    within = f", its member {start.network.name}" if start.network and start.network.place else ""
    others = f", for other classes than {', '.join(known)}" if known else ""
    head = f"; the head is fresh{others}" if fresh else ""
    what = "Starting with %s%s: %d of %d arrays taken%s."
    logging.info(what, start.file, within, count, of, head)


def _classes_in(file: Path) -> int | None:
    """How many classes the last dense layer in a file of a whole model's weights is for."""
    with keras_files.weights(file) as checked, h5py.File(checked) as opened:
        layers = opened.get("layers/functional/layers") or {}
        dense = [name for name in layers if name.split("_")[0] == "dense"]
        dense.sort(key=lambda name: int(name.partition("_")[2] or 0))
        biases = [layers[name].get("vars/1") for name in dense[-1:]]
        return next((len(x) for x in biases if x is not None and x.ndim == 1), None)


def _with_classes(model: keras.Model, classes: int | None) -> keras.Model:
    """A model like this one, for another number of classes."""
    config = model.get_config()
    for layer in _configs(config):
        if layer["name"] == HEAD and classes:
            layer["units"] = classes
        if "class_names" in layer and classes:
            layer["class_names"] = list(map(str, range(classes)))
    return type(model).from_config(config)


def _configs(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for layer in config.get("layers", ()):
        layer.pop("build_config", None)  # The shapes that it had
        yield layer["config"]
        yield from _configs(layer["config"])
