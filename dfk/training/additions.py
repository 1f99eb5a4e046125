"""How a model gets classes more: on features of its own classes' images, which are stored."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from absl import logging
from scipy.special import softmax

from dfk import models
from dfk.config import Config
from dfk.data.catalog import Catalog, Split
from dfk.data.stored import File, kept_of
from dfk.errors import UsageError
from dfk.evaluation.calibration import fit_temperature
from dfk.models import added
from dfk.runs import locate
from dfk.system import files, hardware
from dfk.training import sources
from dfk.training.scoring import predict

# Stored features take so many bytes at most, and so many files: the oldest ones go.
_LARGEST, _MOST = 2**28, 16
# What is held of each number at once, in bytes: as it was, side by side, and standardised.
_BYTES = 24


class Grown(NamedTuple):
    """A model with classes more.

    Attributes:
        model: fitted and calibrated.
        holdout: what it answers to images of the holdout, of new classes in folds that had not
            learned from them, float32 [N, C + K].
    """

    model: keras.Model
    holdout: np.ndarray


def fit(config: Config, data: Catalog) -> Grown:
    """Adds the classes of `config` to its base; of an ensemble, to each member.

    Members are then combined as they were: what weighs them hangs on no class.

    Args:
        data: with the images of the new classes in the holdout (`dfk.data.added_class`).

    Raises:
        UsageError: if features, or an image, do not fit into memory, or for a stacked ensemble.
    """
    base = sources.load(config, config.options.base)
    grown = _grown(config, data, base, "added")
    _tell(data, grown.holdout, len(models.class_names_of(base)))
    return grown


def _grown(config: Config, data: Catalog, base: keras.Model, name: str) -> Grown:
    """A model, or a member of an ensemble, with classes more."""
    holdout, members = data.splits["holdout"], models.members_of(base)
    if members:
        names = [member.name.partition("_")[2] for member in members]
        grown = [_grown(config, data, *each) for each in zip(members, names, strict=True)]
        model = models.with_members(base, [each.model for each in grown], name=name)
        logits = models.combined(model, _evidence(config, model, holdout, grown))
    else:
        model, logits = _learned(config, data, base, name)
    temperature = fit_temperature(logits, holdout.labels)
    models.set_temperature(model, temperature)
    return Grown(model, softmax(logits / temperature, axis=1).astype(np.float32))


def _learned(
    config: Config, data: Catalog, base: keras.Model, name: str
) -> tuple[keras.Model, np.ndarray]:
    """A classifier with classes more, and its logits on the holdout by what has not seen it."""
    classes = len(models.class_names_of(base))
    model = added.with_classes(base, data.class_names[classes:], name=name)
    looking = models.features_of(model)
    train, holdout = data.splits["train"], data.splits["holdout"]
    _check_memory(len(train) + len(holdout), looking.output_shape[-1])
    old = holdout.labels < classes
    seen = _stored(config, looking, train, f"features of train by {base.name}")
    held = np.empty((len(holdout), seen.shape[1]), np.float32)
    known, new = (holdout.take(np.flatnonzero(which)) for which in (old, ~old))
    held[old] = _stored(config, looking, known, f"features of holdout by {base.name}")
    held[~old] = _features(config, looking, new, "features of new classes")
    learned = added.learn(
        seen, held, holdout.labels, classes=classes, most_lost=config.options.most_lost
    )
    added.set_logits(models.network_of(model), learned.kernel, learned.bias)
    return model, learned.unseen


def _evidence(
    config: Config, model: keras.Model, holdout: Split, members: list[Grown]
) -> list[np.ndarray]:
    """What an ensemble combines of the holdout: answers of its members that have not seen it."""
    answers = [member.holdout for member in members]
    if measure := models.statistics_of(model):
        images = keras.Input((None, None, 3), name="images")
        gate = keras.Model(images, measure(images))
        answers.append(_features(config, gate, holdout, "statistics of holdout"))
    return answers


def _tell(data: Catalog, answers: np.ndarray, classes: int) -> None:
    """Says what the holdout tells of the old classes, before and after, and of the new ones."""
    labels = data.splits["holdout"].labels
    old, said = labels < classes, answers.argmax(axis=1)
    before = (answers[old, :classes].argmax(axis=1) == labels[old]).mean()
    found = [
        f"{name} {(said[labels == label] == label).mean():.1%}"
        for label, name in enumerate(data.class_names)
        if label >= classes
    ]
    logging.info(
        "On the holdout %.1f%% of the images of the old classes were right and %.1f%% are now; "
        "found of the new: %s.",
        100 * before,
        100 * (said[old] == labels[old]).mean(),
        ", ".join(found),
    )


def _check_memory(images: int, width: int) -> None:
    needed, there = _BYTES * images * width, hardware.available_bytes()
    if needed > 0.8 * there:
        raise UsageError(
            f"the features of {images} images need {needed / 2**30:.1f} GiB; available are "
            f"{there / 2**30:.1f} GiB. Fewer images (--limit) need less."
        )


def _features(config: Config, looking: keras.Model, split: Split, told: str) -> np.ndarray:
    return predict(looking, split, batch_size=config.keras.batch_size, progress=told)


def _stored(config: Config, looking: keras.Model, split: Split, told: str) -> np.ndarray:
    """The features of images, float32 [N, D]: as an earlier run has left them, if one has."""
    folder = files.cache_dir() / "features"
    path = folder / f"{_key(config, split, told)}.npz"
    shape = (len(split), looking.output_shape[-1])
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as there:
            if there["features"].shape == shape and there["features"].dtype == np.float32:
                logging.info("Taking the %s from %s.", told, path)
                path.touch()
                return there["features"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # It is not there, or damaged, and is written anew.
    features = _features(config, looking, split, told)
    if features.nbytes <= _LARGEST:
        _store(path, features, told)
    return features


def _store(path: Path, features: np.ndarray, told: str) -> None:
    """Writes features for other runs, and deletes those that were not used for longest."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.draft(path) as whole:
            np.savez(whole, features=features)
        for old in sorted(path.parent.glob("*.npz"), key=os.path.getmtime)[:-_MOST]:
            old.unlink()
        logging.info("The %s are stored in %s for other runs.", told, path)
    except OSError as error:
        logging.warning("The %s are not stored: %s.", told, error)


def _key(config: Config, split: Split, told: str) -> str:
    """A hash of the model's file and of the images, by which features are found again."""
    file = locate.find_keras(config.options.base, models.KERAS_ONLY, config.run.output_dir)
    digest = hashlib.sha256(told.encode())
    with open(file, "rb") as model:
        digest.update(hashlib.file_digest(model, "sha256").digest())
    for image_id, kept in zip(split.ids, kept_of(split.images), strict=True):
        pixels = kept.digest if isinstance(kept, File) else hashlib.sha256(kept).digest()
        digest.update(f"{image_id} {kept.shape}\n".encode() + pixels)
    return digest.hexdigest()
