"""Scores images with models that are loaded, and shows where they looked."""

from __future__ import annotations

from dfk.inference.classifier import BATCH_SIZE, Classifier, Prediction
from dfk.inference.loading import load, loaded, make_predict_fn
from dfk.runs.locate import find_model, versions

__all__ = [
    "BATCH_SIZE",
    "Classifier",
    "Prediction",
    "find_model",
    "load",
    "loaded",
    "make_predict_fn",
    "versions",
]
