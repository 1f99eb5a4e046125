"""The end of a run for TensorBoard: final figures, flags, the confusion matrix, images of classes.

`tensorboard --logdir=runs` shows them beside the curves, of several runs beside each other; under
HPARAMS runs can be sorted by flags and figures.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay
from tensorboard.plugins.hparams import api as hparams

from dfk.data.catalog import Split

# Beside `train` and `holdout`, which Keras writes as epochs end
FOLDER = "validation"
FIGURES = ("accuracy", "macro_f1", "ece", "nll")
_OF_EACH, _SIDE = 4, 96  # Images of a class, and pixels a side


def write(
    folder: Path, measured: Mapping[str, Any], flags: Mapping[str, str], split: Split
) -> None:
    """Writes what there is to see of a run that has ended.

    Args:
        folder: the run's for TensorBoard.
        measured: the content of its `metrics.json`.
        flags: of the run, as text.
        split: what `measured` is of.
    """
    names = [row["class"] for row in measured["per_class"]]
    writer = tf.summary.create_file_writer(str(folder / FOLDER))
    with writer.as_default(step=measured["epochs"]):
        for name in FIGURES:
            tf.summary.scalar(f"final/{name}", measured[name])
        hparams.hparams(dict(flags))
        tf.summary.image("confusion matrix", _matrix(measured["confusion_matrix"], names)[None])
        for label, name in enumerate(names):
            if len(found := np.flatnonzero(split.labels == label)[:_OF_EACH]):
                pictures = np.stack([_picture(split.images[i]) for i in found])
                tf.summary.image(f"images/{name}", pictures, max_outputs=_OF_EACH)
    writer.close()


def _matrix(counts: Any, names: list[str]) -> np.ndarray:
    """The confusion matrix as a picture, uint8 [H, W, 3]."""
    side = float(np.clip(len(names), 5, 20))
    figure, file = Figure(figsize=(side, side)), io.BytesIO()
    display = ConfusionMatrixDisplay(np.array(counts), display_labels=names)
    display.plot(ax=figure.subplots(), cmap="Blues", colorbar=False, xticks_rotation="vertical")
    figure.savefig(file, format="png", bbox_inches="tight")
    return np.asarray(Image.open(file).convert("RGB"))


def _picture(pixels: np.ndarray) -> np.ndarray:
    """An image, uint8 [H, W, 3], in a square of `_SIDE` pixels, without being stretched."""
    picture = Image.fromarray(np.asarray(pixels))
    picture.thumbnail((_SIDE, _SIDE))
    square = Image.new("RGB", (_SIDE, _SIDE))
    square.paste(picture)
    return np.asarray(square)
