"""The ways to a fitted model: Keras networks, SVMs, ensembles."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from absl import logging
from scipy.special import softmax

from dfk import models, runs
from dfk.config import Config
from dfk.config.options import SVM, Added, Ensemble, Fisher, Network
from dfk.data import trained_on
from dfk.data.catalog import Catalog, Split
from dfk.data.limits import Memory, told
from dfk.evaluation import conformal
from dfk.evaluation.calibration import fit_temperature
from dfk.evaluation.conformal import Thresholds
from dfk.system import files
from dfk.system.progress import Bar
from dfk.training import additions, closed_form, ensembles, jax_devices, phases, strategy
from dfk.training.scoring import predict

# Pixels a side of the crops that a network is tested on: if it learned on smaller ones, and of any.
_TESTED, _LARGEST_CROP = 256, 1024


class Fitted(NamedTuple):
    """A fitted model, as the report sees it.

    Attributes:
        predict: from a split to calibrated probabilities, float32 [N, C].
        logits: from a split to what the probabilities are made of, float [N, C]; None
            for an ensemble, whose logits are logarithms of probabilities.
        holdout: what it answers to images of the holdout, which chose its temperature and
            (except of an SVM) its weights, float32 [N, C].
        save: writes the model with thresholds to `path`, whole or not at all.
        file: the name that `save` is given.
        parameters: how many numbers the model holds.
        temperature: of its softmax; None for an SVM, which has none.
        epochs: how many were trained; 1 for what is fitted at once.
        images: seen in an epoch.
        seconds: spent fitting.
        members: the learned weight of each member of an ensemble; empty for other models.
        members_degraded: of a gated one, the weights on degraded images of the holdout.
        thresholds: chosen on `holdout`, as `dfk.evaluation.conformal` names them.
    """

    predict: Callable[[Split], np.ndarray]
    logits: Callable[[Split], np.ndarray] | None
    holdout: np.ndarray
    save: Callable[[Path, Thresholds], None]
    file: str
    parameters: int
    temperature: float | None
    epochs: int
    images: int
    seconds: float
    members: dict[str, float] = {}  # noqa: RUF012 -- nobody changes it
    members_degraded: dict[str, float] = {}  # noqa: RUF012
    thresholds: Thresholds = {}  # noqa: RUF012


def fit(config: Config, data: Catalog) -> Fitted:
    """Fits the model of `config` on train, and all that is chosen about it on the holdout.

    Raises:
        UsageError: if the checkpoint is another network's, or features do not fit into memory.
        DivergenceError: if the loss becomes NaN.
    """
    match config.options:
        case Fisher():
            fitted = _fit_at_once(config, data)
        case Network():
            fitted = _fit_network(config, data)
        case Ensemble():
            fitted = _fit_ensemble(config, data)
        case Added():
            fitted = _fit_added(config, data)
        case SVM():
            fitted = _fit_svm(config, data)
    labels = data.splits["holdout"].labels
    thresholds = conformal.choose(fitted.holdout, labels, config.run.false_alarm_rate)
    return fitted._replace(thresholds=thresholds)


def _fit_network(config: Config, data: Catalog) -> Fitted:
    jax_devices.use_all()
    keras.utils.set_random_seed(config.run.seed)
    with strategy.scope(config):
        trained = models.build(
            config, data.class_names, precision=config.fit.precision, pretrained=True
        )
    if config.fit.strategy != strategy.NONE:
        strategy.synchronize(models.network_of(trained))
    saved = phases.fit_phases(config, data, trained)
    if strategy.workers()[1] > 1:
        logging.info("SHA-256 of the weights: %s", strategy.digest(trained))
    model = models.build(config, data.class_names, precision="float32")
    model.set_weights(trained.get_weights())
    return _tested(config, data, model, epochs=saved.epochs, seconds=saved.seconds)


def _fit_at_once(config: Config, data: Catalog) -> Fitted:
    began = time.monotonic()
    model = models.build(config, data.class_names, precision="float32")
    closed_form.fit(config, data, model)
    return _tested(config, data, model, epochs=1, seconds=time.monotonic() - began)


def _tested(config: Config, data: Catalog, model: keras.Model, **more: Any) -> Fitted:
    """A network with its weights, and all else that it is saved with."""
    if not config.input.image_size:
        model = models.with_test_crop(model, _test_crop(config, data))
    models.set_trained_on(model, _record(config, data))
    logits, holdout = _calibrated(config, data, model)
    return _fitted(
        config,
        model,
        logits=lambda split: predict(logits, split, batch_size=config.keras.batch_size),
        holdout=holdout,
        images=len(data.splits["train"]),
        **more,
    )


def _test_crop(config: Config, data: Catalog) -> int:
    """The side of the crops that larger images are tested on; it is said where some are larger."""
    side = config.input.test_crop or _trained_side(config, data.splits["train"])
    memory = Memory(crops=((0, side),))
    shapes = [shape for split in data.splits.values() for shape in split.shapes]
    if larger := sum(memory.is_cut(*shape) for shape in shapes):
        logging.info("%s --test_crop chooses their side.", told(larger, [side]))
    return side


def _trained_side(config: Config, train: Split) -> int:
    """The largest side of what a network of `config` sees in training, but for two things.

    One that minds no size is tested on more than the crops that it learned on, where images have
    more; and no crop has more than `_LARGEST_CROP` pixels a side.
    """
    largest = max(map(max, train.shapes))
    side = config.input.train_crop or largest
    if not models.KINDS[config.model].learns_size:
        side = max(side, min(largest, _TESTED))
    return min(side, _LARGEST_CROP)


def _fitted(config: Config, model: keras.Model, **more: Any) -> Fitted:
    return Fitted(
        predict=lambda split: predict(model, split, batch_size=config.keras.batch_size),
        save=lambda path, thresholds: _save(model, path, thresholds),
        file=runs.MODEL,
        parameters=model.count_params(),
        temperature=model.layers[-1].temperature,
        **more,
    )


def _calibrated(
    config: Config, data: Catalog, model: keras.Model
) -> tuple[keras.Model, np.ndarray]:
    """Fits the temperature of `model` on the holdout.

    Returns:
        The model that answers its logits, and the probabilities on the holdout, float32 [N, C].
    """
    holdout = data.splits["holdout"]
    logits_model = models.logits_of(model)
    logits = predict(logits_model, holdout, batch_size=config.keras.batch_size)
    temperature = fit_temperature(logits, holdout.labels)
    models.set_temperature(model, temperature)
    return logits_model, softmax(logits / temperature, axis=1).astype(np.float32)


def _save(model: keras.Model, path: Path, thresholds: Thresholds) -> None:
    models.set_thresholds(model, thresholds)
    with files.draft(path) as whole:
        model.save(whole)


def _fit_svm(config: Config, data: Catalog) -> Fitted:
    train, holdout = data.splits["train"], data.splits["holdout"]
    bar = functools.partial(Bar, delay=2, leave=False)
    began = time.monotonic()
    plain = models.SVM.fit(
        train.images,
        train.labels,
        class_names=data.class_names,
        kind=config.model,
        progress=bar,
    )
    model, answers = plain.calibrated(holdout.images, holdout.labels, bar)
    model = model.with_(trained_on=_record(config, data))
    logging.info("Fitted an SVM to %d images.", len(train))
    return Fitted(
        predict=lambda split: model.predict(split.images, bar),
        logits=lambda split: model.decision(split.images, bar),
        holdout=answers,
        save=lambda path, thresholds: model.with_(thresholds=thresholds).save(path),
        file=runs.SVM_MODEL,
        parameters=model.parameters,
        temperature=None,
        epochs=1,
        images=len(train),
        seconds=time.monotonic() - began,
    )


def _record(config: Config, data: Catalog) -> trained_on.TrainedOn:
    crop = config.input.train_crop if config.is_network else 0
    return trained_on.record(data, crop=crop, demo=config.data.data_dir == "demo")


def _fit_ensemble(config: Config, data: Catalog) -> Fitted:
    began = time.monotonic()
    combined = ensembles.fit(config, data)
    return _fitted(
        config,
        combined.model,
        logits=None,
        holdout=combined.holdout,
        epochs=1,
        images=len(data.splits["holdout"]),
        seconds=time.monotonic() - began,
        members=combined.weights,
        members_degraded=combined.degraded,
    )


def _fit_added(config: Config, data: Catalog) -> Fitted:
    began = time.monotonic()
    model, holdout = additions.fit(config, data)
    models.set_trained_on(model, _record(config, data))
    logits = None if models.members_of(model) else models.logits_of(model)
    return _fitted(
        config,
        model,
        logits=logits and (lambda x: predict(logits, x, batch_size=config.keras.batch_size)),
        holdout=holdout,
        epochs=1,
        images=len(data.splits["train"]) + len(data.splits["holdout"]),
        seconds=time.monotonic() - began,
    )
