"""The study's ensemble: frozen members, a small combiner, one temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import log_softmax, softmax

from dfk.data import trained_on
from dfk.errors import UsageError
from dfk.evaluation.calibration import fit_temperature
from dfk.layers import ConfidenceWeightedAverage, Frozen, Scale
from dfk.model_files import keras_files
from dfk.models import locate
from dfk.models.classifier import (
    class_names_of,
    image_classifier,
    network_of,
    set_trained_on,
)
from dfk.models.seeds import Seeds
from dfk.text import nfc

METHODS = ("average", "confidence", "stacked")

Member = keras.Model | str | Path

# The study's stacker, but for the penalty: without it, a holdout of 1,125 images overfits it.
_HIDDEN, _L2 = 16, 3e-3

# What is said of an SVM.
KERAS_ONLY = "only Keras models can be members of an ensemble, or teachers"

# The combiner learns in rounds of full-batch steps; cross-validation says after which to stop.
_FOLDS, _ROUNDS, _STEPS, _LEARNING_RATE = 5, 20, 10, 0.02


def Ensemble(  # noqa: N802 -- named as keras.applications names its models
    members: Sequence[Member],
    *,
    method: str = "confidence",
    temperature: float = 1.0,
    seed: int | None = None,
    name: str = "ensemble",
) -> keras.Model:
    """Builds one model of several, each with its own resize, normalisation and temperature.

    The members are copied and frozen. `fit_ensemble` learns how to combine them; as built,
    `average` and `confidence` treat them as equals and `stacked` is untrained.

    Args:
        members: at least two models made by `image_classifier`, as all dfk models are, or paths of
            their `.keras` files or of finished runs. They agree on the class names; their
            image sizes may differ.
        method: `average` is the mean of their probabilities; `confidence` weighs each member
            by its certainty on the image and a learned weight; `stacked` is the dense stacker
            of the study, 16 hidden units on the members' log-probabilities, which are their
            logits up to scale and shift (Wolpert, 1992, "Stacked generalization").
        temperature: of the final softmax, on the logarithm of the combined probabilities.
        seed: of the stacker's weights; None draws one.
        name: the model's name.

    Returns:
        A functional model from `images` [N, H, W, 3] in 0..255, any H and W, to calibrated
        probabilities, float32 [N, C]. Only the combiner is trainable.

    Raises:
        UsageError: for fewer than two members, members of different classes, a member that
            is no dfk model, or a path without one.
        ValueError: for an unknown method.
    """
    models = [load_member(member) for member in members]
    class_names = common_class_names(models)
    combine = _combiner(method, len(models), len(class_names), seed)
    frozen = [_freeze(model, f"member{i}_{model.name}") for i, model in enumerate(models)]
    return _assemble(frozen, combine, class_names=class_names, temperature=temperature, name=name)


def fit_ensemble(
    model: keras.Model,
    member_probabilities: Sequence[np.ndarray],
    labels: np.ndarray,
    class_weight: Mapping[int, float] | None = None,
) -> keras.Model:
    """Learns how to combine the members, then the temperature, on images of the holdout.

    What is learned minimises the NLL in which an image counts `class_weight[label]`, by Adam
    on the full batch, for as many steps as serve best in 5-fold cross-validation. The
    temperature minimises the plain NLL, so that probabilities stay calibrated, of what the
    folds answered on images that they had not learned from.

    Args:
        model: an `Ensemble`; it is left as it is.
        member_probabilities: what each member answers, in their order: M arrays, float
            [N, C]. The members themselves are not run.
        labels: int [N], in 0..C-1.
        class_weight: weights by class index; a class that is missing weighs 1.

    Returns:
        The fitted and calibrated ensemble. Its members are those of `model`.

    Raises:
        ValueError: if the arrays do not fit each other or the model, or for fewer than 2 images.
    """
    return cross_fit_ensemble(model, member_probabilities, labels, class_weight)[0]


def cross_fit_ensemble(
    model: keras.Model,
    member_probabilities: Sequence[np.ndarray],
    labels: np.ndarray,
    class_weight: Mapping[int, float] | None = None,
) -> tuple[keras.Model, np.ndarray]:
    """Fits as `fit_ensemble` does; returns also what to choose thresholds on, float32 [N, C].

    These are the calibrated probabilities of the images by the folds that had not learned from
    them: on what it has learned from, an ensemble is surer than on new images. Only the one
    number of the temperature has seen them.
    """
    class_names, members = class_names_of(model), members_of(model)
    probabilities = [np.asarray(p, np.float32) for p in member_probabilities]
    shapes, expected = [p.shape for p in probabilities], (len(labels), len(class_names))
    if shapes != [expected] * len(members) or len(labels) < 2:
        raise ValueError(
            f"expected {len(members)} arrays of probabilities of shape {expected}, "
            f"of two images or more; got {shapes}"
        )
    combine = _copy(_combiner_of(model))
    importance = np.array([(class_weight or {}).get(int(k), 1.0) for k in labels], np.float32)
    logits = _learn(combine, probabilities, np.asarray(labels), importance)
    temperature = fit_temperature(logits, labels)
    head = {"class_names": class_names, "temperature": temperature}
    # Another copy: one that was trained would save its optimizer, too.
    fitted = _assemble(members, _copy(combine), **head, name=model.name)
    return fitted, softmax(logits / temperature, axis=1).astype(np.float32)


def load_member(member: Member) -> keras.Model:
    """The model itself, or what its path or shipped name means.

    Raises:
        UsageError: if that is an SVM, not finished, damaged, or not there.
    """
    if isinstance(member, keras.Model):
        return member
    return keras_files.load(locate.find_keras(member, KERAS_ONLY))


def members_of(model: keras.Model) -> list[keras.Model]:
    """The frozen members of an ensemble, in their order."""
    return [layer for layer in network_of(model).layers if isinstance(layer, Frozen)]


def member_weights_of(model: keras.Model) -> dict[str, float]:
    """The learned weight of each member by its name, together 1; empty for `stacked`."""
    names = [member.name for member in members_of(model)]
    for layer in _combiner_of(model).layers:
        if isinstance(layer, ConfidenceWeightedAverage):
            return dict(zip(names, layer.member_weights, strict=True))
        if isinstance(layer, keras.layers.Average):
            return dict.fromkeys(names, 1 / len(names))
    return {}


def common_class_names(models: Sequence[keras.Model]) -> tuple[str, ...]:
    """The class names of models that can be the members of one ensemble.

    Raises:
        UsageError: for fewer than two, a model that is none of dfk's, or other classes.
    """
    if len(models) < 2:
        raise UsageError(f"an ensemble needs at least 2 members, got {len(models)}")
    names = [getattr(model.layers[-1], "class_names", None) for model in models]
    if None in names:
        raise UsageError(f"{models[names.index(None)].name} is no dfk model: it has no class names")
    names = [tuple(map(nfc, some)) for some in names]
    if len(set(names)) > 1:
        lists = "; ".join(f"{m.name} has {list(n)}" for m, n in zip(models, names, strict=True))
        raise UsageError(f"members must agree on the classes: {lists}")
    return names[0]


def _freeze(model: keras.Model, name: str) -> Frozen:
    """A frozen copy of a functional model under a name of its own."""
    copy = _copied(model, name)
    frozen = Frozen(copy.input, copy.output, name=name)
    frozen.set_weights(model.get_weights())
    return frozen


def _copied(model: keras.Model, prefix: str) -> keras.Model:
    """A copy, with other weights, whose inputs begin with `prefix`, as do those of models in it.

    Keras takes no two layers of one name for a graph: of two that are called alike it complains
    where it ought to say that they are not connected.
    """

    def copied(layer):
        if isinstance(layer, keras.Model):
            return _copied(layer, f"{prefix}_{layer.name}")
        return type(layer).from_config(layer.get_config())

    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=f"{prefix}_{x.name}"),
        model.input,
    )
    copy = keras.models.clone_model(model, inputs, clone_function=copied)
    kind = Frozen if isinstance(model, Frozen) else keras.Model
    return kind(copy.input, copy.output, name=model.name)


def _combiner(method: str, count: int, classes: int, seed: int | None) -> keras.Model:
    """`count` probabilities [N, classes] to logits [N, classes], all float32."""
    members = [keras.Input((classes,), name=f"member{i}") for i in range(count)]
    if method == "average":
        logits = _log(keras.layers.Average(dtype="float32", name="blend")(members))
    elif method == "confidence":
        # Without a scale of the logits, the weights would be fitted to what the temperature
        # is for, and favour the sharper member over the better one.
        blend = ConfidenceWeightedAverage(name="blend")(members)
        logits = Scale(name="logits")(_log(blend))
    elif method == "stacked":
        seeds = Seeds(seed)
        x = ops.concatenate([_log(member) for member in members], axis=-1)
        x = _dense(_HIDDEN, seeds, activation="relu", name="hidden")(x)
        logits = _dense(classes, seeds, name="logits")(x)
    else:
        raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    return keras.Model(members, logits, name="combine")


def _dense(units: int, seeds: Seeds, **kwargs: Any) -> keras.layers.Dense:
    kwargs["kernel_initializer"] = keras.initializers.GlorotUniform(seeds.next())
    kwargs["kernel_regularizer"] = keras.regularizers.L2(_L2)
    return keras.layers.Dense(units, dtype="float32", **kwargs)


def _log(probabilities):
    """Their logarithm; one of 0 counts as 1e-7, which no holdout could tell from it."""
    return ops.log(ops.maximum(probabilities, 1e-7))


def _assemble(members: Sequence[Frozen], combine: keras.Model, **head: Any) -> keras.Model:
    images = keras.Input((None, None, 3), name="pixels")
    logits = combine([member(images) for member in members])
    network = keras.Model(images, logits, name="network")
    model = image_classifier(network, input_shape=(None, None, 3), **head)
    set_trained_on(model, trained_on.joined([x.layers[-1].trained_on for x in members]))
    return model


def _combiner_of(model: keras.Model) -> keras.Model:
    return network_of(model).get_layer("combine")


def _copy(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _learn(
    combine: keras.Model,
    probabilities: list[np.ndarray],
    labels: np.ndarray,
    importance: np.ndarray,
) -> np.ndarray:
    """Trains `combine` in place; returns logits [N, C] for images not learned from."""
    if not combine.trainable_weights:
        return combine.predict(probabilities, verbose=0)
    combine.compile(
        keras.optimizers.Adam(_LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    combine.optimizer.build(combine.trainable_variables)
    variables = [*combine.variables, *combine.optimizer.variables]
    start = [(variable, ops.convert_to_numpy(variable)) for variable in variables]
    data = combine, start, probabilities, labels
    # Every class is spread over the folds.
    folds = np.empty(len(labels), int)
    folds[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % _FOLDS
    unseen = np.empty((_ROUNDS + 1, *probabilities[0].shape), np.float32)
    for fold in range(min(_FOLDS, len(labels))):
        # Held out by a weight of 0: the shapes, and so the compiled step, stay the same.
        held = folds == fold
        unseen[:, held] = _train(*data, importance * ~held, _ROUNDS)[:, held]
    nll = -log_softmax(unseen, axis=-1)[:, np.arange(len(labels)), labels]
    best = int((nll * importance).mean(axis=1).argmin())
    _train(*data, importance, best)
    return unseen[best]


def _train(combine, start, probabilities, labels, importance, rounds: int) -> np.ndarray:
    """Trains from `start`; returns the logits before and after each round, [rounds + 1, N, C]."""
    for variable, value in start:
        variable.assign(value)
    logits = [combine.predict_on_batch(probabilities)]
    for _ in range(rounds):
        for _ in range(_STEPS):
            combine.train_on_batch(probabilities, labels, sample_weight=importance)
        logits.append(combine.predict_on_batch(probabilities))
    return np.stack(logits)
