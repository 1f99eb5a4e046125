"""Thresholds that keep a promise on images like those of the holdout: `unknown`, and sets.

Split-conformal prediction (Vovk, Gammerman & Shafer, 2005, "Algorithmic Learning in a Random
World"; Angelopoulos & Bates, 2021, "A Gentle Introduction to Conformal Prediction"): of n numbers
and one more of the same kind, the last falls below the k-th smallest of the n with a probability
of at most k / (n + 1). This holds at any n and for any model, good or bad.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

# The shares of images whose set holds their class, that a model carries thresholds for.
COVERAGES = (0.9, 0.95, 0.99)
# The name of the threshold below which the `centred_logit` of an image means `unknown`.
UNKNOWN = "unknown_centred_logit"

# How many images of each class the thresholds were chosen on; which share was to be `unknown`.
IMAGES, RATE = "holdout_images", "false_alarm_rate"
# 1 - 0.9 is a little less than 0.1.
_ROUNDING = 1e-9
_MOST = 2**53  # Images; 1 over the least number is no number.
_SET = "set_"

Thresholds = Mapping[str, float | Sequence[float]]


def choose(
    probabilities: np.ndarray, labels: np.ndarray, false_alarm_rate: float
) -> dict[str, float | list[float]]:
    """Chooses the thresholds that a model carries on images that it was not trained on.

    The sets are class-conditional (Mondrian): what is promised holds for each class, not only
    on average. A class is in the set of an image if its probability reaches the class's own
    threshold (Sadinle, Lei & Wasserman, 2019, "Least Ambiguous Set-Valued Classifiers").

    A promise needs `needed` images. Where some classes have fewer, all images together give one
    threshold, which is theirs and which none exceeds: promised is then the coverage of all images
    together, and still that of each class that has enough. Where all together are too few, there
    are no sets of that coverage, and no threshold of `unknown`. A higher coverage never has a
    smaller set.

    The promise is exact for images that chose nothing else. A holdout that also chose the
    epoch and the temperature is a little easier for the model than new images are.

    Args:
        probabilities: float [N, C].
        labels: int [N], in 0..C-1.
        false_alarm_rate: the share of images of the known classes to be called `unknown`.

    Returns:
        `UNKNOWN`, a `centred_logit`; per coverage, by `set_name`, a probability for each class in
        the order of the columns; `IMAGES`, how many each class had; `RATE`, as asked for.
    """
    classes = probabilities.shape[1]
    true = probabilities[np.arange(len(labels)), labels]
    own = [true[labels == k] for k in range(classes)]
    chosen: dict[str, float | list[float]] = {
        IMAGES: [len(values) for values in own],
        RATE: false_alarm_rate,
    }
    if len(labels) >= needed(false_alarm_rate):
        chosen[UNKNOWN] = lower_bound(centred_logit(probabilities), false_alarm_rate)
    least = np.ones(classes)
    for coverage in COVERAGES:
        if len(labels) >= needed(1 - coverage):
            least = np.minimum(least, _bounds(own, true, 1 - coverage))
            chosen[set_name(coverage)] = least.tolist()
    return chosen


def _bounds(own: Sequence[np.ndarray], together: np.ndarray, share: float) -> np.ndarray:
    """A threshold for each class, of its own images, or of all where some class has too few."""
    enough = [len(values) >= needed(share) for values in own]
    bounds = [lower_bound(x, share) if is_one else 1 for x, is_one in zip(own, enough, strict=True)]
    return np.minimum(bounds, 1 if all(enough) else lower_bound(together, share))


def needed(share: float) -> int:
    """How many images it takes for a threshold that `share` of them fall below; 0 for none."""
    return math.ceil(min((1 - _ROUNDING) / share, _MOST)) - 1 if share else 0


def left_out(thresholds: Thresholds) -> dict[str, tuple[int, int]]:
    """What a model has no thresholds of, for lack of images: how many it takes, and had.

    By `set_name`, and `UNKNOWN`; nothing of older models, which do not tell.
    """
    if IMAGES not in thresholds:
        return {}
    images = int(sum(thresholds[IMAGES]))
    shares = {UNKNOWN: thresholds[RATE], **{set_name(c): 1 - c for c in COVERAGES}}
    return {
        name: (needed(share), images) for name, share in shares.items() if name not in thresholds
    }


def pooled(thresholds: Thresholds, coverage: float) -> list[bool]:
    """Which classes of a model with sets of a coverage had too few images for their own promise."""
    images = thresholds.get(IMAGES) or [math.inf] * len(thresholds[set_name(coverage)])
    return [count < needed(1 - coverage) for count in images]


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
    return f"{_SET}{coverage:g}"


def lower_bound(values: np.ndarray, share: float) -> float:
    """The largest of `values` that one more value falls below with a probability <= `share`.

    0 where they are too few: fewer than `needed`.
    """
    rank = min(math.floor(share * (len(values) + 1) + _ROUNDING), len(values))
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
        `conformal`, a list with an entry per coverage: `coverage` as promised; `pooled`, the
        classes that this is not promised of by themselves; `measured`, the
        share of images whose set holds their class; `mean_size` of the sets; and both
        `per_class`, None for a class without an image. `left_out`, by name of the threshold the
        images `needed` and `there`. Neither where it would be empty.
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
        together = [
            name
            for name, is_one in zip(class_names, pooled(thresholds, coverage), strict=True)
            if is_one
        ]
        means = _means(held, sizes)
        levels.append({"coverage": coverage, "pooled": together, **means, "per_class": rows})
    lacking = {
        name: {"needed": least, "there": there}
        for name, (least, there) in left_out(thresholds).items()
    }
    return {
        **({"conformal": levels} if levels else {}),
        **({"left_out": lacking} if lacking else {}),
    }


def lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """What to say of classes that were pooled and of thresholds left out, as `measure` tells."""
    for level in measured.get("conformal") or ():
        if names := level.get("pooled"):
            least = needed(1 - level["coverage"])
            yield (
                f"sets of {level['coverage']:.0%}: fewer than {least} holdout images of "
                f"{', '.join(names)}: promised of all images together, not of these by themselves"
            )
    for name, lack in (measured.get("left_out") or {}).items():
        yield f"no {what(name)}: {too_few(lack['needed'], lack['there'])}"


def too_few(least: int, there: int) -> str:
    """Says how many images a threshold takes."""
    return f"{least} holdout images are needed, there are {there}"


def what(name: str) -> str:
    """What thresholds of a name are for, in words."""
    if name == UNKNOWN:
        return "threshold for unknown generators"
    return f"sets of {float(name.removeprefix(_SET)):.0%}"


def _means(held: np.ndarray, sizes: np.ndarray) -> dict[str, float | None]:
    if not len(held):
        return {"measured": None, "mean_size": None}
    return {"measured": float(held.mean()), "mean_size": float(sizes.mean())}
