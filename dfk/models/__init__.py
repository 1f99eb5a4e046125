"""Keras functional models, built as `keras.applications` builds its own."""

from __future__ import annotations

from dfk.models.classifier import class_names_of, classifier, logits_of, network_of
from dfk.models.deepfakenet import SMALLEST_IMAGE, DeepFakeNet

# What `--model` names.
BUILDERS = {"deepfakenet": DeepFakeNet}

__all__ = [
    "BUILDERS",
    "SMALLEST_IMAGE",
    "DeepFakeNet",
    "class_names_of",
    "classifier",
    "logits_of",
    "network_of",
]
