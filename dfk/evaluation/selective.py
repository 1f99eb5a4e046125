"""Selective classification: how right a model is where it is sure of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

POINTS = 20


def curve(
    labels: np.ndarray, probabilities: np.ndarray, scores: np.ndarray | None = None
) -> dict[str, Any]:
    """Accuracy on the most confident images, from a twentieth of them to all.

    Args:
        labels: int [N].
        probabilities: float [N, C].
        scores: float [N], what stands for the confidence; by default the largest probability.

    Returns:
        `curve`, up to 20 points: `coverage`, the share of images answered; `accuracy` on them;
        `confidence`, of the least confident of them. `aurc`, the area under the curve of risk
        (1 - accuracy) over coverage, the mean over the N most confident of 1, 2, ... images; 0
        is best. Of equally confident images the earlier counts as surer.

    Source: Geifman & El-Yaniv, 2017, "Selective Classification for Deep Neural Networks".
    """
    confidence = probabilities.max(axis=1) if scores is None else scores
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == labels)[order]
    n = len(right)
    accuracy = right.cumsum() / np.arange(1, n + 1)
    counts = np.unique(np.ceil(np.arange(1, POINTS + 1) * n / POINTS).astype(int))
    points = [
        {
            "coverage": int(count) / n,
            "accuracy": float(accuracy[count - 1]),
            "confidence": float(confidence[order[count - 1]]),
        }
        for count in counts
    ]
    return {"aurc": float(1 - accuracy.mean()), "curve": points}
