"""How good predictions are: the figures of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from dfk.evaluation import selective

ECE_BINS = 15


def compute(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    temperature: float | None = None,
) -> dict[str, Any]:
    """Computes the figures of a labelled split.

    Args:
        labels: int [N], indices into `class_names`.
        probabilities: float [N, C], rows summing to 1.
        class_names: C names.
        temperature: what the model's logits are divided by, if that is known.

    Returns:
        `n`, `accuracy`, `accuracy_ci95`, `macro_f1` (over the classes that occur),
        `per_class`, `confusion_matrix` (rows true), `selective`, `nll` (nats per image), `ece`,
        `brier`, and with a temperature the last three without it, as `uncalibrated`.
    """
    predicted = probabilities.argmax(axis=1)
    classes = range(len(class_names))
    correct = int((predicted == labels).sum())
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0.0
    )
    return {
        "n": len(labels),
        "accuracy": correct / len(labels),
        "accuracy_ci95": wilson(correct, len(labels)),
        "macro_f1": float(f1[support > 0].mean()),
        "per_class": [
            {
                "class": name,
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(class_names)
        ],
        "confusion_matrix": confusion_matrix(labels, predicted, labels=classes).tolist(),
        "selective": selective.curve(labels, probabilities),
        **_quality(labels, _normalised(probabilities)),
        **(
            {"uncalibrated": _quality(labels, uncalibrated(probabilities, temperature))}
            if temperature
            else {}
        ),
    }


def _quality(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    classes = range(probabilities.shape[1])
    return {
        "nll": float(log_loss(labels, probabilities, labels=classes)),
        "ece": expected_calibration_error(labels, probabilities),
        "brier": brier_score(labels, probabilities),
    }


def wilson(successes: int, n: int) -> list[float]:
    """The 95 % interval [low, high] of a share (Wilson, 1927)."""
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """ECE: the mean gap between confidence and accuracy over 15 bins of equal mass.

    Args:
        labels: int [N].
        probabilities: float [N, C].

    Source: Nixon et al., 2019, "Measuring Calibration in Deep Learning" (adaptive bins).
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    bins = [b for b in np.array_split(order, ECE_BINS) if len(b)]
    gaps = [len(b) * abs(confidence[b].mean() - correct[b].mean()) for b in bins]
    return float(sum(gaps) / len(labels))


def brier_score(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean squared distance of the probabilities [N, C] from the one-hot truth, 0..2.

    Source: Brier, 1950, "Verification of Forecasts Expressed in Terms of Probability".
    """
    one_hot = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - one_hot) ** 2).sum(axis=1).mean())


def uncalibrated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """What softmax(logits) was where softmax(logits / temperature) is `probabilities` [N, C]."""
    # The logits are temperature * log p, but for a number that the softmax takes out again.
    least = np.finfo(np.float32).tiny
    return softmax(temperature * np.log(np.maximum(_normalised(probabilities), least)), axis=1)


def _normalised(probabilities: np.ndarray) -> np.ndarray:
    """In float64, where rows of float32 sum to 1 closely enough for scikit-learn."""
    probabilities = probabilities.astype(np.float64)
    return probabilities / probabilities.sum(axis=1, keepdims=True)
