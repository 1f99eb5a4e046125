"""`.keras` files and files of weights, whoever made them."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dfk.errors import UsageError
from dfk.layers import CalibratedSoftmax, Resizing
from dfk.model_files import archives, bounds, facts, hdf5, keras_config
from dfk.model_files.refused import Refused, reason, told

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
_ENTRIES = ("metadata.json", CONFIG, WEIGHTS)
# What a model keeps beside its weights: the states of its generators.
_STATES = 2**16


def load(path: Path) -> keras.Model:
    """Loads an `image_classifier`, not compiled; its network is made of Keras' own layers.

    Keras sees a copy in which all has been looked at: it makes objects of every name that it
    finds, makes weights before it knows whether the file holds them, and unpacks what it finds.

    Raises:
        UsageError: if there is none, it is damaged, names no classes or what no image
            classifier is made of, or holds or would make more than a file of its size can.
    """
    with told(path, "cannot be loaded as a Keras model"):
        with archives.opened(path, _ENTRIES) as archive:
            config = keras_config.read(archives.read(archive, CONFIG))
            weights = archives.read(archive, WEIGHTS)
        held = hdf5.size(io.BytesIO(weights), bounds.unpacked(path))
        _check_size(config, held)
        model = _load(config, weights)
        _check_head(path, model)
        return model


def configuration(path: Path) -> dict[str, Any]:
    """What a `.keras` file says that its model is made of; nothing is made of it.

    Raises:
        Refused: if there is none, it is damaged, or names what no image classifier is made of.
    """
    with archives.opened(path, _ENTRIES) as archive:
        return json.loads(keras_config.read(archives.read(archive, CONFIG)))


def load_weights(model: keras.Model, path: str | Path) -> None:
    """Loads the weights of a model like this one.

    Args:
        model: that takes them.
        path: a `.weights.h5` or `.keras` file, or the `.h5` that Keras downloads.

    Raises:
        UsageError: if it is not there, damaged, or does not fit.
    """
    with told(Path(path), "cannot be loaded as weights"), weights(Path(path)) as file:
        try:
            model.load_weights(file)
        except hdf5.DAMAGED as error:
            raise Refused(f"they do not fit ({reason(error)})") from error


@contextlib.contextmanager
def weights(path: Path) -> Iterator[Path]:
    """The HDF5 file of weights that a file is, or for a while the one that a `.keras` file holds.

    Raises:
        Refused: if there is none, it is damaged, or what it holds lies elsewhere or is too much.
    """
    bounds.check_regular(path)
    if path.suffix != ".keras":
        hdf5.size(path, bounds.unpacked(path))
        yield path
        return
    with archives.opened(path, _ENTRIES) as archive:
        data = archives.read(archive, WEIGHTS)
    hdf5.size(io.BytesIO(data), bounds.unpacked(path))
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, WEIGHTS)
        file.write_bytes(data)
        yield file


def _load(config: str, weights: bytes) -> keras.Model:
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "model.keras")
        with zipfile.ZipFile(copy, "w") as archive:
            archive.writestr(CONFIG, config)
            archive.writestr(WEIGHTS, weights)
        try:
            return keras.models.load_model(copy, compile=False, safe_mode=True)
        except Exception as error:  # Keras lets whatever does not fit cause any.
            raise Refused(reason(error)) from error


def _check_head(path: Path, model: keras.Model) -> None:
    head = model.layers[-1] if model.layers else None
    if not isinstance(head, CalibratedSoftmax):
        raise UsageError(f"{path} is a Keras model, but none of dfk's: it names no classes")
    facts.check_names(head.class_names, model.output_shape[-1])
    facts.check_thresholds(head.thresholds, len(head.class_names))
    facts.check_temperature(head.temperature)
    facts.check_trained_on(head.trained_on, len(head.class_names))
    facts.check_sizes(_resizes(model))


def _resizes(model: keras.Model) -> Iterator[tuple[int, int]]:
    for layer in model.layers:
        if isinstance(layer, Resizing):
            yield layer.height, layer.width
        elif isinstance(layer, keras.Model):  # An ensemble's members
            yield from _resizes(layer)


def _check_size(config: str, held: int) -> None:
    """Makes sure that the model's weights are no more than the file's, before there are any.

    In a scope of Keras' in which nothing is allocated, of a thread of its own: Keras would
    allocate it at the next such scope of the thread.
    """
    with ThreadPoolExecutor(1) as thread:
        needed = thread.submit(_bytes_of, config).result()
    if needed > held + _STATES:
        need, have = needed / 2**20, held / 2**20
        raise Refused(f"its layers take weights of {need:,.0f} MiB, it holds {have:,.1f}")


def _bytes_of(config: str) -> int:
    with keras.StatelessScope(initialize_variables=False):
        try:
            model = keras.saving.deserialize_keras_object(json.loads(config), safe_mode=True)
            variables = model.variables
        except Exception as error:
            raise Refused(reason(error)) from error
    return sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in variables)
