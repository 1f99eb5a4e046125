"""A `.keras` file of half the size, to be shipped: fewer bits of each weight, and compressed.

It is a `.keras` file like any other. Weights keep 11 significant bits, as float16 has, and the
whole range of float32, in which the variances of rare features lie; LZMA then packs them into
about two bytes each.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from dfk import inference, models
from dfk.errors import UsageError
from dfk.system import files

_DROPPED = 23 - 10  # Bits of float32's mantissa beyond float16's


def compact(
    source: str | Path, file: Path, *, class_names: Mapping[str, str] | None = None
) -> None:
    """Writes the model of a run's folder or a `.keras` file to `file`, whole or not at all.

    Raises:
        UsageError: if `source` is no Keras model, or `file` is no name of one, is there already,
            or in no folder.
        OSError: if it cannot be written.
    """
    if file.suffix != ".keras":
        raise UsageError(f"{file}: the name of a compact model ends in .keras")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: there is no such folder")
    if os.path.lexists(file):
        raise UsageError(f"{file} is there already; choose another name, or delete it")
    model = inference.load(source).model
    if not isinstance(model, keras.Model):
        raise UsageError(f"{source} is no Keras model; only those can be made compact")
    models.rename_classes(model, class_names or {})
    model.set_weights([_rounded(weight) for weight in model.get_weights()])
    with files.scratch(file.parent) as folder:
        plain = folder / file.name
        model.save(plain)
        files.write_atomic(file, _packed(plain))


def _rounded(weight: np.ndarray) -> np.ndarray:
    """To the nearest number of 11 significant bits, ties away from zero."""
    if weight.dtype != np.float32:
        return weight
    bits = weight.view(np.uint32) + np.uint32(1 << _DROPPED - 1)
    return (bits & np.uint32(0xFFFFFFFF << _DROPPED & 0xFFFFFFFF)).view(np.float32)


def _packed(path: Path) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(data, "w", zipfile.ZIP_LZMA) as packed:
        for entry in plain.infolist():
            # Without the time, so that the same model makes the same file.
            packed.writestr(zipfile.ZipInfo(entry.filename), plain.read(entry), zipfile.ZIP_LZMA)
    return data.getvalue()
