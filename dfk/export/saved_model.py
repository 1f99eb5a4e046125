"""A model as a SavedModel for TF Serving, and what a server reads beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from dfk import models
from dfk.errors import DfkError
from dfk.evaluation import conformal
from dfk.export import check, serving_files
from dfk.export.dense import Dense
from dfk.export.signatures import BYTES, IMAGES, Served

MODULES = ()


class Writer:
    """Writes a model in this format.

    Args:
        name: of the model, as clients give it.
        model: as it was trained.
        dense: its dense part.
        max_pixels: of the largest image that it answers; 0 for what takes 4 GiB of memory.

    Attributes:
        facts: what `dfk.json` is to say.
    """

    # By precision, by how much a probability may differ from the trained model's.
    tolerance: Mapping[str, float] = {"float32": 1e-5, "mixed_bfloat16": 0.05}

    def __init__(self, name: str, model: keras.Model, dense: Dense, max_pixels: int):
        least = model.layers[-1].thresholds.get(conformal.UNKNOWN, 0.0)
        self._served = Served(dense, models.class_names_of(model), max_pixels, least)
        self._model = model
        self.facts = {
            **serving_files.describe(name, model, dense, self._served.max_pixels),
            "signatures": {BYTES: "image_bytes", IMAGES: "images"},
        }

    def write(self, folder: Path) -> None:
        """Writes the model to a folder that is not there yet.

        Raises:
            DfkError: if it cannot be written.
        """
        try:
            self._served.save(folder)
        except tf.errors.OpError as error:  # A full disk, for TensorFlow is no OSError.
            raise DfkError(f"{folder.name} cannot be written: {error.message}") from error

    def difference(self, folder: Path, examples: Sequence[bytes]) -> float:
        """The largest difference of a probability from the trained model's; NaN for none."""
        return check.largest_difference(self._model, folder, examples)

    def finish(self, folder: Path, facts: dict[str, Any], examples: Sequence[bytes]) -> None:
        """Writes into the folder what a server reads of a version."""
        serving_files.write_inside(folder, facts, examples)

    def write_beside(self, output_dir: Path, facts: dict[str, Any]) -> None:
        """Writes beside the versions how to serve them."""
        serving_files.write_beside(output_dir, facts)
