"""Thresholds that keep a promise on images like those of the holdout: `unknown`, and sets.

Split-conformal prediction (Vovk, Gammerman & Shafer, 2005, "Algorithmic Learning in a Random
World"; Angelopoulos & Bates, 2021, "A Gentle Introduction to Conformal Prediction"): of n numbers
and one more of the same kind, the last falls below the k-th smallest of the n with a probability
of at most k / (n + 1). This holds at any n and for any model, good or bad.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# The shares of images whose set holds their class, that a model carries thresholds for.
COVERAGES = (0.9, 0.95, 0.99)
# The name of the threshold below which the `centred_logit` of an image means `unknown`.
UNKNOWN = "unknown_centred_logit"

Thresholds = Mapping[str, float | Sequence[float]]


def choose(
    probabilities: np.ndarray, labels: np.ndarray, false_alarm_rate: float
) -> dict[str, float | list[float]]:
    """Chooses the thresholds that a model carries on images that it was not trained on.

    The sets are class-conditional (Mondrian): what is promised holds for each class, not only
    on average. A class is in the set of an image if its probability reaches the class's own
    threshold (Sadinle, Lei & Wasserman, 2019, "Least Ambiguous Set-Valued Classifiers"). A
    class with too few images for a promise gets 0: it is in every set.

    The promise is exact for images that chose nothing else. A holdout that also chose the
    epoch and the temperature is a little easier for the model than new images are.

    Args:
        probabilities: float [N, C].
        labels: int [N], in 0..C-1.
        false_alarm_rate: the share of images of the known classes to be called `unknown`.

    Returns:
        `UNKNOWN`, a `centred_logit`; and per coverage, by `set_name`, a probability for each
        class in the order of the columns.
    """
    own = [probabilities[labels == k, k] for k in range(probabilities.shape[1])]
    return {
        UNKNOWN: lower_bound(centred_logit(probabilities), false_alarm_rate),
        **{set_name(c): [lower_bound(p, 1 - c) for p in own] for c in COVERAGES},
    }


def centred_logit(probabilities: np.ndarray) -> np.ndarray:
    """The largest logit less the mean of all, over the temperature, float [...], from 0 up.

    A softmax forgets how large its logits are together, and so how much of what it knows a
    network has found in an image; how far the largest stands out it does not forget. So this
    needs the probabilities only, float [..., C], which ensembles and exports have, too. It is
    the order that the largest probability has at a high temperature (Liang, Li & Srikant, 2018,
    "Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks").
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return logs.max(axis=-1) - logs.mean(axis=-1)


def set_name(coverage: float) -> str:
    """The name of the thresholds of the sets of a coverage: `set_0.95`."""
    return f"set_{coverage:g}"


def lower_bound(values: np.ndarray, share: float) -> float:
    """The largest of `values` that one more value falls below with a probability <= `share`.

    0 where they are too few: fewer than 1 / share - 1.
    """
    # 1 - 0.9 is a little less than 0.1.
    rank = min(math.floor(share * (len(values) + 1) + 1e-9), len(values))
    return float(np.sort(values)[rank - 1]) if rank else 0.0


def members(probabilities: np.ndarray, bounds: Sequence[float]) -> np.ndarray:
    """Which classes are in the sets of images, bool [..., C]; none where no class is likely.

    Args:
        probabilities: float [..., C].
        bounds: C thresholds, of a coverage, of the model that answered so.
    """
    return probabilities >= np.asarray(bounds, probabilities.dtype)


def measure(
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    thresholds: Thresholds,
) -> dict[str, Any]:
    """How the sets do on a labelled split.

    Args:
        probabilities: float [N, C].
        labels: int [N], in 0..C-1.
        class_names: C names.
        thresholds: that the model carries; perhaps none.

    Returns:
        `conformal`, a list with an entry per coverage: `coverage` as promised; `measured`, the
        share of images whose set holds their class; `mean_size` of the sets; and both
        `per_class`, None for a class without an image. Nothing for a model without thresholds.
    """
    levels = []
    for coverage in COVERAGES:
        if set_name(coverage) not in thresholds:
            continue
        sets = members(probabilities, thresholds[set_name(coverage)])
        held, sizes = sets[np.arange(len(labels)), labels], sets.sum(axis=1)
        rows = [
            {"class": name, **_means(held[labels == k], sizes[labels == k])}
            for k, name in enumerate(class_names)
        ]
        levels.append({"coverage": coverage, **_means(held, sizes), "per_class": rows})
    return {"conformal": levels} if levels else {}


def _means(held: np.ndarray, sizes: np.ndarray) -> dict[str, float | None]:
    if not len(held):
        return {"measured": None, "mean_size": None}
    return {"measured": float(held.mean()), "mean_size": float(sizes.mean())}
