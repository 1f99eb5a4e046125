"""Keras functional models, built as `keras.applications` builds its own."""

from __future__ import annotations

from dfk.models.classifier import class_names_of, classifier, network_of
from dfk.models.deepfakenet import DeepFakeNet

# What `--model` names.
BUILDERS = {"deepfakenet": DeepFakeNet}

__all__ = ["BUILDERS", "DeepFakeNet", "class_names_of", "classifier", "network_of"]
