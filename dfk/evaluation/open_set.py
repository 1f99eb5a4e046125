"""Whether a model can tell that an image is of none of its classes: known against unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import auc, roc_curve

from dfk.evaluation.conformal import centred_logit

# Each is high for an image of a known class. By name, as a table says it.
SCORES = {
    "probability": "prob.",
    "logit": "logit",
    "energy": "energy",
    "centred_logit": "centred",
}
FIGURES = {"auroc": "AUROC", "fpr95": "FPR95", "oscr": "OSCR"}
_BINS = 20

Scores = Mapping[str, np.ndarray | None]


def scores(probabilities: np.ndarray, logits: np.ndarray | None) -> dict[str, np.ndarray | None]:
    """The scores of images by name, float [N] each; the higher, the rather known.

    `probability` is the largest, calibrated (Hendrycks & Gimpel, 2017, "A Baseline for Detecting
    Misclassified and Out-of-Distribution Examples"); `logit` the largest (Hendrycks et al., 2022,
    "Scaling Out-of-Distribution Detection for Real-World Settings"); `energy` the logarithm of
    the sum of exp(logit), the negative of what Liu et al., 2020, "Energy-based
    Out-of-distribution Detection" call energy, at temperature 1; `centred_logit` what
    `conformal.centred_logit` says, which the model's own threshold is for.

    Args:
        probabilities: float [N, C].
        logits: float [N, C]; None for a model that has none of its own, whose `logit` and
            `energy` are None.
    """
    return {
        "probability": probabilities.max(axis=1),
        "logit": None if logits is None else logits.max(axis=1),
        "energy": None if logits is None else logsumexp(logits, axis=1),
        "centred_logit": centred_logit(probabilities),
    }


def figures(known: np.ndarray, unknown: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    """How well a score tells images of known classes from others; all figures within 0..1.

    Args:
        known: float [N], the scores of images of known classes.
        unknown: float [M], of other images.
        correct: bool [N], whether the class of a known image was named rightly.

    Returns:
        `auroc`: the probability that a known image scores above an unknown one (0.5 is chance).
        `fpr95`: the share of unknown images that pass for known where 95 % of the known do.
        `oscr`: the area under the share of known images that pass and are named rightly, over
        the share of unknown ones that pass (Dhamija et al., 2018, "Reducing Network
        Agnostophobia"); at most the accuracy.
    """
    values = np.concatenate([known, unknown])
    is_known = np.repeat([True, False], [len(known), len(unknown)])
    passed, known_passed, at = roc_curve(is_known, values, drop_intermediate=False)
    rightly = np.sort(known[correct])
    rightly_passed = (len(rightly) - np.searchsorted(rightly, at)) / len(known)
    return {
        "auroc": float(auc(passed, known_passed)),
        "fpr95": float(passed[np.argmax(known_passed >= 0.95)]),
        "oscr": float(auc(passed, rightly_passed)),
    }


def measure(
    known: Scores, unknown: Scores, correct: np.ndarray, threshold: float | None
) -> dict[str, Any]:
    """The figures of all scores, and what the threshold that the model carries does.

    Args:
        known: scores of images of known classes, of N images.
        unknown: the same of other images, of M.
        correct: bool [N], whether the class of a known image was named rightly.
        threshold: the centred logit below which an image is called unknown; None where the model
            has none.

    Returns:
        `n_known` and `n_unknown`; `scores`, by name the `figures`, or None; `threshold`: its
        `value`, `false_alarms`, the share of known images that it calls unknown, and `found`,
        the share of unknown ones, or None; `histogram` of the score with the best AUROC: its name
        (`score`), `edges` of the bins, and the shares of `known` and `unknown` images in each.
    """
    measured = {
        name: None if known[name] is None else figures(known[name], unknown[name], correct)
        for name in SCORES
    }
    best = max(
        (name for name in SCORES if measured[name]), key=lambda name: measured[name]["auroc"]
    )
    return {
        "n_known": len(correct),
        "n_unknown": len(unknown["probability"]),
        "scores": measured,
        "threshold": None if threshold is None else _at(threshold, known, unknown),
        "histogram": {"score": best, **_histogram(known[best], unknown[best])},
    }


def _at(threshold: float, known: Scores, unknown: Scores) -> dict[str, float]:
    false_alarms, found = (
        float((scores["centred_logit"] < threshold).mean()) for scores in (known, unknown)
    )
    return {"value": threshold, "false_alarms": false_alarms, "found": found}


def _histogram(known: np.ndarray, unknown: np.ndarray) -> dict[str, list[float]]:
    edges = np.histogram_bin_edges(np.concatenate([known, unknown]).astype(np.float64), _BINS)
    shares = [np.histogram(values, edges)[0] / len(values) for values in (known, unknown)]
    return {"edges": edges.tolist(), "known": shares[0].tolist(), "unknown": shares[1].tolist()}
