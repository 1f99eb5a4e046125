"""Answers of a model of three classes, without the model."""

import numpy as np

from dfk.inference import Prediction
from dfk.inference.answers import Answers

NAMES = ("0", "a,b", "c")
FOUND = Prediction("a,b", 0.5, np.array([0.2, 0.5, 0.3], np.float32))
UNREAD = Prediction("", 0.0, np.zeros(3, np.float32), "damaged\n or cut off")


def likely(probabilities):
    """A set of the classes of 0.3 and more; a threshold is float32, as probabilities are."""
    return [name for name, p in zip(NAMES, probabilities, strict=True) if p >= np.float32(0.3)]


def none(probabilities):
    return []


def tiny(set_of=None, names=NAMES, **labelling):
    """The columns of such a model, which names the most probable class."""
    return Answers(names, lambda probabilities: names[probabilities.argmax()], set_of, labelling)
