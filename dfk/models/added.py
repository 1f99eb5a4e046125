"""A finished classifier and classes that it gets more: new logits beside what it answers.

All of its network stays as it is, and so does how its own classes compare with each other. Each
new class has one linear function u of what the last layer saw, new class against all others, and

    probabilities = softmax([log p_1, ..., log p_C, u_1, ..., u_K])

where p are what the classifier answers. With one new class, its probability is sigmoid(u), and that
of others p (1 - sigmoid(u)). So a class that has twenty images need not change what was learned
from thousands: all that the others can lose are the images that go to the new class.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from dfk.errors import UsageError
from dfk.models.classifier import (
    class_names_of,
    crops_of,
    image_classifier,
    network_of,
    with_test_crop,
)
from dfk.models.limits import input_size

# Inverse penalties of the weights, where images weigh 1 together and features have deviation 1.
_PENALTIES = (1, 10, 100, 1000)
_FOLDS = 5


def with_classes(model: keras.Model, names: Sequence[str], *, name: str = "added") -> keras.Model:
    """A classifier that answers for classes more, which are next to impossible until it learns.

    Args:
        model: an `image_classifier` that is no ensemble. Its layers are shared.
        names: of the K new classes, which come behind the C that it has.
        name: the model's name.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255 to probabilities, float32
        [N, C + K]. The last layer of its network, dense, sees features and log probabilities,
        float32 [N, D + C]; `dfk.models.features_of` answers them, and `set_logits` gives the layer
        what was learned.

    Raises:
        UsageError: if it is an ensemble, or another model without such features.
    """
    network, temperature = network_of(model), model.layers[-1].temperature
    features = network.layers[-1].input
    if not isinstance(features, keras.KerasTensor) or len(features.shape) != 2:
        raise UsageError(f"the last layer of {model.name} makes its answer of no features [N, D]")
    old = class_names_of(model)
    used = {layer.name for layer in network.layers}
    end = next(f"_{i}" for i in itertools.count(1) if f"logits_{i}" not in used)
    make = keras.layers
    x = make.Rescaling(1 / temperature, dtype="float32", name=f"calibrated{end}")(network.output)
    x = make.Activation("log_softmax", dtype="float32", name=f"log_softmax{end}")(x)
    x = make.Concatenate(dtype="float32", name=f"seen{end}")([features, x])
    head = make.Dense(len(old) + len(names), dtype="float32", name=f"logits{end}")
    whole = keras.Model(network.input, head(x), name="network")
    width = len(names)
    set_logits(whole, np.zeros((features.shape[-1], width)), np.full(width, -20.0))
    added = image_classifier(
        whole,
        input_shape=(*(input_size(model) or (None, None)), 3),
        class_names=(*old, *names),
        name=name,
    )
    crops = crops_of(model)
    return with_test_crop(added, crops.side) if crops else added


def set_logits(network: keras.Model, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Gives the network of a model `with_classes` its new logits; the others are what they were.

    Args:
        kernel: float [D, K], or [D + C, K] if they hang on the log probabilities, too.
        bias: float [K].
    """
    head = network.layers[-1]
    rows, columns = head.kernel.shape
    old = columns - len(bias)
    weights = np.zeros((rows, columns), np.float32)
    weights[rows - old :, :old] = np.eye(old)
    weights[: len(kernel), old:] = kernel
    head.set_weights([weights, np.r_[np.zeros(old), bias].astype(np.float32)])


class Learned(NamedTuple):
    """What was learned of new classes.

    Attributes:
        kernel: float [D, K].
        bias: float [K].
        unseen: the logits of the held images, of new classes by those that had not learned from
            them, float [H, C + K].
    """

    kernel: np.ndarray
    bias: np.ndarray
    unseen: np.ndarray


def learn(
    train: np.ndarray, held: np.ndarray, labels: np.ndarray, *, classes: int, most_lost: float
) -> Learned:
    """Learns the logits of new classes by logistic regression, each against all others.

    In it, a new class counts as much as an old one does on average, however few images it has. How
    strongly weights are kept small, and the scale of the logits (Platt, 1999, "Probabilistic
    Outputs for Support Vector Machines"), is what serves held images best. Then the new logits are
    lowered until of the images of old classes at most a share `most_lost` is to be expected to be
    lost to new ones (Angelopoulos et al., 2022, "Conformal Risk Control"): until none of the held
    ones is, where these are too few to promise it.

    Args:
        train: what `features_of` a model `with_classes` answers to images of the old
            classes, float [N, D + C].
        held: the same of other images of these and all of the new classes, float [H, D + C].
        labels: of `held`, int [H]: below C of old classes, from there on of new ones.
        classes: C.
        most_lost: in 0..1.

    Raises:
        ValueError: if there are fewer than 2 images of a new class.
    """
    new = labels >= classes
    counts = np.bincount(labels[new] - classes)
    if counts.min() < 2:
        raise ValueError(f"new classes need 2 images or more, got {counts.tolist()}")
    scale = _Scale(np.concatenate([train[:, :-classes], held[new, :-classes]]))
    data = scale(train[:, :-classes]), scale(held[:, :-classes]), labels, classes
    old_logits = held[:, -classes:]
    weights = np.where(new, (~new).sum() / classes / np.r_[np.ones(classes), counts][labels], 1)
    tried = []
    for penalty in _PENALTIES:
        kernel, bias, unseen = _fit(*data, penalty)
        slope, offset = _platt(unseen, labels - classes, weights)
        logits = np.concatenate([old_logits, unseen * slope + offset], axis=1)
        nll = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
        tried.append(
            (np.average(nll, weights=weights), kernel * slope, bias * slope + offset, logits)
        )
    _, kernel, bias, logits = min(tried, key=lambda each: each[0])
    lower = _lowered(logits[~new], labels[~new], classes, most_lost)
    logits[:, classes:] -= lower
    return Learned(*scale.undone(kernel, bias - lower), logits)


class _Scale:
    """Brings features to mean 0 and deviation 1."""

    def __init__(self, features: np.ndarray):
        self._mean = features.mean(axis=0, dtype=np.float64)
        deviation = features.std(axis=0, dtype=np.float64)
        self._deviation = np.where(deviation > 0, deviation, 1)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return ((features - self._mean) / self._deviation).astype(np.float32)

    def undone(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights for features as they were."""
        kernel = kernel / self._deviation[:, None]
        return kernel, bias - self._mean @ kernel


def _fit(
    train: np.ndarray, held: np.ndarray, labels: np.ndarray, classes: int, penalty: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [D, K] and [K] of new logits, and those of held images that did not make them."""
    new = labels >= classes
    folds = np.full(len(labels), _FOLDS)
    order = np.flatnonzero(new)[np.argsort(labels[new], kind="stable")]
    folds[order] = np.arange(len(order)) % _FOLDS
    kernel, bias = _regressions(train, held[new], labels[new] - classes, classes, penalty)
    unseen = held @ kernel + bias
    for fold in range(_FOLDS):
        seen, rest = new & (folds != fold), folds == fold
        if rest.any():
            some = _regressions(train, held[seen], labels[seen] - classes, classes, penalty)
            unseen[rest] = held[rest] @ some[0] + some[1]
    return kernel, bias, unseen


def _regressions(
    old: np.ndarray, new: np.ndarray, labels: np.ndarray, classes: int, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """A logistic regression of each new class against all other images."""
    x, counts = np.concatenate([old, new]), np.bincount(labels)
    shares = np.r_[np.ones(len(old)), (len(old) / classes / counts)[labels]]
    kernels, biases = [], []
    for label in range(len(counts)):
        target = np.r_[np.zeros(len(old), bool), labels == label]
        fitted = LogisticRegression(C=penalty, max_iter=1000)
        fitted.fit(x, target, sample_weight=shares / shares.sum())
        kernels.append(fitted.coef_[0])
        biases.append(fitted.intercept_[0])
    return np.stack(kernels, axis=1), np.array(biases)


def _platt(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and offsets [K] that make log odds of logits [N, K]."""
    fitted = [
        LogisticRegression().fit(logits[:, [k]], labels == k, sample_weight=weights)
        for k in range(logits.shape[1])
    ]
    slopes = np.array([max(each.coef_[0, 0], 1e-3) for each in fitted])
    return slopes, np.array([each.intercept_[0] for each in fitted])


def _lowered(logits: np.ndarray, labels: np.ndarray, classes: int, most_lost: float) -> float:
    """By how much new logits are lowered so that old classes lose no more of their images."""
    old, new = logits[:, :classes], logits[:, classes:].max(axis=1)
    right = old.argmax(axis=1) == labels
    lost = np.sort((new - old.max(axis=1))[right])[::-1]
    # With so many lost of these, no more than the share is to be expected of new images.
    allowed = max(0, int(most_lost * (len(labels) + 1)) - 1)
    return max(0.0, float(lost[allowed]) + 1e-3) if allowed < len(lost) else 0.0
