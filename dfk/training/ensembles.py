"""How an ensemble learns to combine its members: on what these answer to the holdout."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

import keras
import numpy as np

from dfk import models
from dfk.config import Config, weight_per_class
from dfk.data.augment import Step
from dfk.data.catalog import Catalog, Split
from dfk.training import sources
from dfk.training.scoring import predict

# How often a gate sees each image degraded, beside the image as it is.
_DRAWS = 3
_DEGRADED = (Step("degrade", 1.0),)
# Pixels of a batch that is degraded, at most: resizing holds as many numbers a few times.
_PIXELS = 2**22

_Weights = dict[str, float]


class Combined(NamedTuple):
    """A fitted ensemble.

    Attributes:
        model: fitted and calibrated.
        holdout: what it answers to images of the holdout, in folds that had not learned from them.
        weights: of each member; the mean over the holdout where a gate gives each image others.
            A stacker has none.
        degraded: the same over the degraded holdout; of a gate alone.
    """

    model: keras.Model
    holdout: np.ndarray
    weights: _Weights
    degraded: _Weights


def fit(config: Config, data: Catalog) -> Combined:
    """Combines the members of `config` on the holdout; a gate on what becomes of it, too.

    Raises:
        UsageError: for an image that needs more memory than is available.
    """
    holdout = data.splits["holdout"]
    gated = config.options.method == "gated"
    model = models.Ensemble(
        sources.members(config), method=config.options.method, seed=config.run.seed
    )
    views = evidence(config, model, holdout, draws=_DRAWS * gated)
    weights = dict(enumerate(weight_per_class(config, data.class_names) or ()))
    model, unseen = models.cross_fit_ensemble(
        model, views[0], holdout.labels, weights, degraded=views[1:]
    )
    if not gated:
        return Combined(model, unseen, _named(config, models.member_weights_of(model).values()), {})
    means = [models.member_shares(model, x).mean(axis=0).tolist() for x in views]
    return Combined(
        model, unseen, _named(config, means[0]), _named(config, np.mean(means[1:], axis=0).tolist())
    )


def evidence(
    config: Config, model: keras.Model, split: Split, draws: int = 0
) -> list[list[np.ndarray]]:
    """What an ensemble combines, of images as they are, then of each draw of them degraded.

    Raises:
        UsageError: for an image that needs more memory than is available.
    """
    batch_size, looking = config.keras.batch_size, models.evidence_of(model)
    views = [predict(looking, split, batch_size=batch_size)]
    if draws:
        drawn = predict(
            looking,
            split.take([*range(len(split))] * draws),
            batch_size=max(1, min(batch_size, _PIXELS // max(map(math.prod, split.shapes)))),
            progress="scoring, degraded",
            augmentations=_DEGRADED,
            seed=config.run.seed,
        )
        views += np.split(drawn, draws)
    return [models.split_evidence(model, view) for view in views]


def _named(config: Config, weights) -> _Weights:
    """Weights by the members' names, if these differ; else by what the flag says."""
    names = [os.path.basename(member) for member in config.options.members]
    names = names if len(set(names)) == len(names) else config.options.members
    return dict(zip(names, weights, strict=False))  # A stacker has none.
