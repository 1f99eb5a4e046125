"""What makes one answer of those of an ensemble's members, and how it learns to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import log_softmax

from dfk.config import ENSEMBLE_METHODS
from dfk.layers import ConfidenceWeightedAverage, GatedAverage, NoiseStatistics, Scale
from dfk.layers.combining import log_of
from dfk.models.seeds import Seeds

_WEIGHING = ConfidenceWeightedAverage, GatedAverage

# The study's stacker, but for the penalty: without it, a holdout of 1,125 images overfits it.
_HIDDEN, _L2 = 16, 3e-3

# The combiner learns in rounds of full-batch steps; cross-validation says after which to stop.
_FOLDS, _ROUNDS, _STEPS, _LEARNING_RATE = 5, 20, 10, 0.02


def build(method: str, count: int, classes: int, seed: int | None) -> keras.Model:
    """`count` probabilities [N, classes] to logits [N, classes], all float32.

    Behind the probabilities, `gated` takes the images' `NoiseStatistics`, [N, 388].

    Raises:
        ValueError: for an unknown method.
    """
    inputs = members = [keras.Input((classes,), name=f"member{i}") for i in range(count)]
    if method == "average":
        logits = log_of(keras.layers.Average(dtype="float32", name="blend")(members))
    elif method == "confidence":
        # Without a scale of the logits, the weights would be fitted to what the temperature
        # is for, and favour the sharper member over the better one.
        blend = ConfidenceWeightedAverage(name="blend")(members)
        logits = Scale(name="logits")(log_of(blend))
    elif method == "stacked":
        seeds = Seeds(seed)
        x = ops.concatenate([log_of(member) for member in members], axis=-1)
        x = _dense(_HIDDEN, seeds, activation="relu", name="hidden")(x)
        logits = _dense(classes, seeds, name="logits")(x)
    elif method == "gated":
        inputs = [*members, keras.Input((NoiseStatistics.FEATURES,), name="statistics")]
        logits = GatedAverage(name="blend")(inputs)
    else:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(ENSEMBLE_METHODS)}")
    return keras.Model(inputs, logits, name="combine")


def _dense(units: int, seeds: Seeds, **kwargs: Any) -> keras.layers.Dense:
    kwargs["kernel_initializer"] = keras.initializers.GlorotUniform(seeds.next())
    kwargs["kernel_regularizer"] = keras.regularizers.L2(_L2)
    return keras.layers.Dense(units, dtype="float32", **kwargs)


def method_of(combine: keras.Model) -> str:
    """Which of `ENSEMBLE_METHODS` a combiner is of."""
    kinds = {
        "average": keras.layers.Average,
        "confidence": ConfidenceWeightedAverage,
        "gated": GatedAverage,
    }
    found = (m for m, kind in kinds.items() if any(isinstance(x, kind) for x in combine.layers))
    return next(found, "stacked")


def gate_of(combine: keras.Model) -> GatedAverage | None:
    """The gate of a `gated` combiner; None of others."""
    return next((layer for layer in combine.layers if isinstance(layer, GatedAverage)), None)


def weights_of(combine: keras.Model) -> tuple[float, ...]:
    """The learned weight of each member, together 1; none of a stacker.

    A gate has one for each image; these are of a clean one.
    """
    for layer in combine.layers:
        if isinstance(layer, _WEIGHING):
            return layer.member_weights
        if isinstance(layer, keras.layers.Average):
            count = len(combine.inputs)
            return (1 / count,) * count
    return ()


def shares_of(combine: keras.Model, evidence: Sequence[Any], count: int) -> np.ndarray:
    """The share of each of `count` members in the answer to each image, float [N, M]."""
    for layer in combine.layers:
        if isinstance(layer, _WEIGHING):
            return ops.convert_to_numpy(layer.weights_for(evidence))
    return np.full((len(evidence[0]), count), 1 / count)


def copy(model: keras.Model) -> keras.Model:
    """The same with weights of its own."""
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


def learn(
    combine: keras.Model,
    views: Sequence[Sequence[np.ndarray]],
    labels: np.ndarray,
    importance: np.ndarray,
) -> np.ndarray:
    """Trains a combiner in place; returns logits [N, C] for images not learned from.

    Args:
        combine: as `build` makes it.
        views: of the same N images: what the combiner takes of each as it is, and then, perhaps,
            of each after something was done to it. All views of an image are in one fold.
        labels: int [N].
        importance: float32 [N].

    Returns:
        Those of the first view.
    """
    if not combine.trainable_weights:
        return combine.predict(views[0], verbose=0)
    if (gate := gate_of(combine)) and views[1:]:
        gate.adapt(views[0][-1], np.concatenate([view[-1] for view in views[1:]]))
    combine.compile(
        keras.optimizers.Adam(_LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    combine.optimizer.build(combine.trainable_variables)
    variables = [*combine.variables, *combine.optimizer.variables]
    start = [(variable, ops.convert_to_numpy(variable)) for variable in variables]
    count, classes = views[0][0].shape
    inputs = [np.concatenate(parts) for parts in zip(*views, strict=True)]
    folds = _folds(labels)
    labels, importance, folds = (np.tile(x, len(views)) for x in (labels, importance, folds))
    data = combine, start, inputs, labels
    unseen = np.empty((_ROUNDS + 1, len(labels), classes), np.float32)
    for fold in range(min(_FOLDS, count)):
        # Held out by a weight of 0: the shapes, and so the compiled step, stay the same.
        held = folds == fold
        unseen[:, held] = _train(*data, importance * ~held, _ROUNDS)[:, held]
    nll = -log_softmax(unseen, axis=-1)[:, np.arange(len(labels)), labels]
    best = int((nll * importance).mean(axis=1).argmin())
    _train(*data, importance, best)
    return unseen[best, :count]


def _folds(labels: np.ndarray) -> np.ndarray:
    """The fold of each image, int [N]; every class is spread over them."""
    folds = np.empty(len(labels), int)
    folds[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % _FOLDS
    return folds


def _train(combine, start, inputs, labels, importance, rounds: int) -> np.ndarray:
    """Trains from `start`; returns the logits before and after each round, [rounds + 1, N, C]."""
    for variable, value in start:
        variable.assign(value)
    logits = [combine.predict_on_batch(inputs)]
    for _ in range(rounds):
        for _ in range(_STEPS):
            combine.train_on_batch(inputs, labels, sample_weight=importance)
        logits.append(combine.predict_on_batch(inputs))
    return np.stack(logits)
