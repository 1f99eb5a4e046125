"""Keras functional models, built as `keras.applications` builds its own, and the SVM baselines."""

from __future__ import annotations

from dfk.models.classifier import class_names_of, classifier, logits_of, network_of
from dfk.models.deepfakenet import SMALLEST_IMAGE, DeepFakeNet
from dfk.models.svm import SVM
from dfk.models.vgg import VGG16, WeightsError, check_weights, set_trainable_from

# What `--model` names.
BUILDERS = {"deepfakenet": DeepFakeNet}

__all__ = [
    "BUILDERS",
    "SMALLEST_IMAGE",
    "SVM",
    "VGG16",
    "DeepFakeNet",
    "WeightsError",
    "check_weights",
    "class_names_of",
    "classifier",
    "logits_of",
    "network_of",
    "set_trainable_from",
]
