"""The end of a run for TensorBoard: final figures, flags, the confusion matrix, images of classes.

`tensorboard --logdir=runs` shows them beside the curves, of several runs beside each other; under
HPARAMS runs can be sorted by flags and figures.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image

from dfk.data.catalog import Split
from dfk.reports.plots import MANY
from dfk.reports.samples import CLASSES, OF_EACH
from dfk.text import shortened

# Beside `train` and `holdout`, which Keras writes as epochs end
FOLDER = "validation"
FIGURES = ("accuracy", "macro_f1", "ece", "nll")
_SIDE = 96  # Pixels, of an image


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
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hparams

    names = [row["class"] for row in measured["per_class"]]
    writer = tf.summary.create_file_writer(str(folder / FOLDER))
    with writer.as_default(step=measured["epochs"]):
        for name in FIGURES:
            tf.summary.scalar(f"final/{name}", measured[name])
        hparams.hparams(dict(flags))
        tf.summary.image("confusion matrix", _matrix(measured["confusion_matrix"], names)[None])
        for label, name in enumerate(names[:CLASSES]):
            if len(found := np.flatnonzero(split.labels == label)[:OF_EACH]):
                pictures = np.stack([_picture(split.images[i]) for i in found])
                tf.summary.image(f"images/{name}", pictures, max_outputs=OF_EACH)
    writer.close()


def _matrix(counts: Any, names: list[str]) -> np.ndarray:
    """The confusion matrix as a picture, uint8 [H, W, 3]."""
    from sklearn.metrics import ConfusionMatrixDisplay

    side = float(np.clip(len(names), 5, 20))
    labels, file = [shortened(name) for name in names], io.BytesIO()
    display = ConfusionMatrixDisplay(np.array(counts), display_labels=labels)
    look = {"cmap": "Blues", "colorbar": False, "xticks_rotation": "vertical"}
    with warnings.catch_warnings(), style.context(["default", {"text.parse_math": False}]):
        warnings.filterwarnings("ignore", message="Glyph")  # The font lacks some of a name's.
        figure = Figure(figsize=(side, side))
        # Of many classes the colours tell more than a number in each cell would, and sooner.
        display.plot(ax=figure.subplots(), include_values=len(names) <= MANY, **look)
        figure.savefig(file, format="png", bbox_inches="tight")
    return np.asarray(Image.open(file).convert("RGB"))


def _picture(pixels: np.ndarray) -> np.ndarray:
    """An image, uint8 [H, W, 3], in a square of `_SIDE` pixels, without being stretched."""
    picture = Image.fromarray(np.asarray(pixels))
    picture.thumbnail((_SIDE, _SIDE))
    square = Image.new("RGB", (_SIDE, _SIDE))
    square.paste(picture)
    return np.asarray(square)
