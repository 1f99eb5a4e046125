"""The study's ensemble: frozen members, a small combiner, one temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from dfk.data import trained_on
from dfk.errors import UsageError
from dfk.evaluation.calibration import fit_temperature
from dfk.layers import Frozen, NoiseStatistics
from dfk.model_files import keras_files
from dfk.models import combiners
from dfk.models.classifier import (
    class_names_of,
    image_classifier,
    network_of,
    set_trained_on,
)
from dfk.runs import locate
from dfk.text import nfc

Member = keras.Model | str | Path

# What is said of an SVM.
KERAS_ONLY = "only Keras models can be members of an ensemble, or teachers"


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
    all methods but `stacked`, which is untrained, treat them as equals.

    Args:
        members: at least two models made by `image_classifier`, as all dfk models are, or paths of
            their `.keras` files or of finished runs. They agree on the class names; their
            image sizes may differ.
        method: `average` is the mean of their probabilities; `confidence` weighs each member
            by its certainty on the image and a learned weight; `stacked` is the dense stacker
            of the study, 16 hidden units on the members' log-probabilities, which are their
            logits up to scale and shift (Wolpert, 1992, "Stacked generalization"); `gated` is the
            mean of these, weighed and scaled by what statistics of the image tell was done to it
            (`dfk.layers.GatedAverage`).
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
    combine = combiners.build(method, len(models), len(class_names), seed)
    frozen = [_freeze(model, f"member{i}_{model.name}") for i, model in enumerate(models)]
    return _assemble(frozen, combine, class_names=class_names, temperature=temperature, name=name)


def fit_ensemble(
    model: keras.Model,
    evidence: Sequence[np.ndarray],
    labels: np.ndarray,
    class_weight: Mapping[int, float] | None = None,
    degraded: Sequence[Sequence[np.ndarray]] = (),
) -> keras.Model:
    """Learns how to combine the members, then the temperature, on images of the holdout.

    What is learned minimises the NLL in which an image counts `class_weight[label]`, by Adam
    on the full batch, for as many steps as serve best in 5-fold cross-validation. The
    temperature minimises the plain NLL, so that probabilities stay calibrated, of what the
    folds answered on images that they had not learned from.

    Args:
        model: an `Ensemble`; it is left as it is.
        evidence: what each member answers, in their order: M arrays, float [N, C]; of a `gated`
            ensemble, behind them the `dfk.layers.NoiseStatistics` of the images, float [N, 388].
            `evidence_of` makes both. The members themselves are not run.
        labels: int [N], in 0..C-1.
        class_weight: weights by class index; a class that is missing weighs 1.
        degraded: the same of the same images after something was done to each, as often as there
            is evidence of it. It is learned from, too, by a gate above all; the temperature
            and thresholds are of the images as they are.

    Returns:
        The fitted and calibrated ensemble. Its members are those of `model`.

    Raises:
        ValueError: if the arrays do not fit each other or the model, or for fewer than 2 images.
    """
    return cross_fit_ensemble(model, evidence, labels, class_weight, degraded)[0]


def cross_fit_ensemble(
    model: keras.Model,
    evidence: Sequence[np.ndarray],
    labels: np.ndarray,
    class_weight: Mapping[int, float] | None = None,
    degraded: Sequence[Sequence[np.ndarray]] = (),
) -> tuple[keras.Model, np.ndarray]:
    """Fits as `fit_ensemble` does; returns also what to choose thresholds on, float32 [N, C].

    These are the calibrated probabilities of the images by the folds that had not learned from
    them: on what it has learned from, an ensemble is surer than on new images. Only the one
    number of the temperature, and what tells a gate degraded images from clean ones, whatever their
    class, have seen them.
    """
    class_names, members = class_names_of(model), members_of(model)
    combine = combiners.copy(_combiner_of(model))
    views = [[np.asarray(x, np.float32) for x in view] for view in (evidence, *degraded)]
    for view in views:
        _check_evidence(view, combine, len(labels))
    importance = np.array([(class_weight or {}).get(int(k), 1.0) for k in labels], np.float32)
    logits = combiners.learn(combine, views, np.asarray(labels), importance)
    temperature = fit_temperature(logits, labels)
    head = {"class_names": class_names, "temperature": temperature}
    # Another copy: one that was trained would save its optimizer, too.
    fitted = _assemble(members, combiners.copy(combine), **head, name=model.name)
    return fitted, softmax(logits / temperature, axis=1).astype(np.float32)


def with_members(model: keras.Model, members: Sequence[keras.Model], *, name: str) -> keras.Model:
    """An ensemble of other members, for other classes perhaps, which are combined as before.

    `confidence` measures how certain a member is by the number of classes: with more of them the
    weights on an image are a little nearer to each other.

    Args:
        model: an `Ensemble` whose combiner does not hang on the classes: all but `stacked`.
        members: as many as it has, in their order, for classes that they share.
        name: the model's name.

    Returns:
        An ensemble that is to be calibrated.

    Raises:
        UsageError: if it is `stacked`.
    """
    combine = _combiner_of(model)
    method = combiners.method_of(combine)
    if method == "stacked":
        raise UsageError(
            "what a stacked ensemble has learned is of its classes alone; give its members the "
            "new ones and combine these anew"
        )
    again = Ensemble(members, method=method, name=name)
    _combiner_of(again).set_weights(combine.get_weights())
    return again


def combined(model: keras.Model, evidence: Sequence[np.ndarray]) -> np.ndarray:
    """The logits, float32 [N, C], that an ensemble makes of evidence as `fit_ensemble` takes it."""
    return _combiner_of(model).predict(list(evidence), verbose=0)


def evidence_of(model: keras.Model) -> keras.Model:
    """What an ensemble combines: images [N, H, W, 3] to its `evidence`, side by side.

    Returns:
        A model that answers float32 [N, M * C], or [N, M * C + 388] for a `gated` ensemble. Those
        of one batch are of the same images, whatever was done to these before.
    """
    images = keras.Input((None, None, 3), name="images")
    seen = _seen(images, members_of(model), _combiner_of(model))
    return Frozen(images, keras.layers.Concatenate(dtype="float32")(seen), name="evidence")


def split_evidence(model: keras.Model, evidence: np.ndarray) -> list[np.ndarray]:
    """What `evidence_of` has side by side, one by one as `fit_ensemble` takes it."""
    ends = np.cumsum([x.shape[1] for x in _combiner_of(model).inputs])
    return np.split(evidence, ends[:-1], axis=1)


def _check_evidence(view: list[np.ndarray], combine: keras.Model, images: int) -> None:
    shapes, expected = [x.shape for x in view], [(images, x.shape[1]) for x in combine.inputs]
    if shapes != expected or images < 2:
        members = len(expected) - bool(combiners.gate_of(combine))
        behind = "".join(f", and statistics of shape {shape}" for shape in expected[members:])
        raise ValueError(
            f"expected {members} arrays of probabilities of shape {expected[0]}{behind}, "
            f"of two images or more; got {shapes}"
        )


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


def statistics_of(model: keras.Model) -> NoiseStatistics | None:
    """What measures the images that a `gated` ensemble's gate looks at; None of another model."""
    layers = network_of(model).layers
    measures = (layer for layer in layers if isinstance(layer, NoiseStatistics))
    return next(measures, None) if members_of(model) else None


def member_weights_of(model: keras.Model) -> dict[str, float]:
    """The learned weight of each member by its name, together 1; empty for `stacked`.

    A `gated` ensemble has others for each image; these are of a clean one.
    """
    names = [member.name for member in members_of(model)]
    return dict(zip(names, combiners.weights_of(_combiner_of(model)), strict=False))


def member_shares(model: keras.Model, evidence: Sequence[np.ndarray]) -> np.ndarray:
    """The share of each member in the answer to each image, float [N, M]; each row sums to 1.

    Args:
        model: an `Ensemble`; one that gives members no weights counts them alike.
        evidence: of N images, as `fit_ensemble` takes it.
    """
    return combiners.shares_of(_combiner_of(model), evidence, len(members_of(model)))


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


def _assemble(members: Sequence[Frozen], combine: keras.Model, **head: Any) -> keras.Model:
    images = keras.Input((None, None, 3), name="pixels")
    logits = combine(_seen(images, members, combine))
    network = keras.Model(images, logits, name="network")
    model = image_classifier(network, input_shape=(None, None, 3), **head)
    set_trained_on(model, trained_on.joined([x.layers[-1].trained_on for x in members]))
    return model


def _combiner_of(model: keras.Model) -> keras.Model:
    return network_of(model).get_layer("combine")


def _seen(images: Any, members: Sequence[Frozen], combine: keras.Model) -> list:
    """What the combiner takes of images: what the members answer, and what a gate looks at."""
    answers = [member(images) for member in members]
    if combiners.gate_of(combine):
        answers.append(NoiseStatistics(name="statistics")(images))
    return answers
