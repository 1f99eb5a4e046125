"""Probabilities of classes from those of pairs: what one-against-one machines answer.

Wu, Lin & Weng, 2004, "Probability Estimates for Multi-class Classification by Pairwise Coupling",
second method, which LIBSVM has, too: with r_ij the probability of class i among i and j, p
minimises the sum over all pairs of (r_ji p_i - r_ij p_j)^2, and sums to 1.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

# LIBSVM's: a pair is never quite sure.
_LEAST = 1e-7
_BLOCK_VALUES = 2**22  # Of the systems that are solved at once


def probabilities(margins: np.ndarray, classes: int) -> np.ndarray:
    """Couples pairs, each sure of its first class by 1 / (1 + exp(-margin)).

    Args:
        margins: float [N, C(C-1)/2], in the order of `np.triu_indices(C, 1)`.
        classes: C.

    Returns:
        float64 [N, C], each row summing to 1.
    """
    result = np.empty((len(margins), classes))
    step = max(1, _BLOCK_VALUES // (classes + 1) ** 2)
    for start in range(0, len(margins), step):
        result[start : start + step] = _coupled(margins[start : start + step], classes)
    return result


def log_probabilities(margins: np.ndarray, classes: int) -> np.ndarray:
    """Their logarithms, none below that of float32's least."""
    return np.log(np.maximum(probabilities(margins, classes), np.finfo(np.float32).tiny))


def _coupled(margins: np.ndarray, classes: int) -> np.ndarray:
    first, second = np.triu_indices(classes, 1)
    sure = np.clip(expit(margins), _LEAST, 1 - _LEAST)
    # lost[:, i, j] is the probability of j among i and j; no class loses against itself.
    lost = np.zeros((len(margins), classes, classes))
    lost[:, second, first], lost[:, first, second] = sure, 1 - sure
    # The minimum under sum(p) = 1, with a multiplier: [[Q, 1], [1, 0]] [p, b] = [0, 1]
    system = np.ones((len(margins), classes + 1, classes + 1))
    system[:, :-1, :-1] = -lost * lost.transpose(0, 2, 1)
    each = np.arange(classes)
    system[:, each, each] = (lost**2).sum(axis=2)
    system[:, -1, -1] = 0
    right = np.eye(classes + 1)[-1][None, :, None]
    solved = np.linalg.solve(system, np.repeat(right, len(margins), axis=0))[:, :-1, 0]
    solved = np.maximum(solved, 0)  # Rounding
    return solved / solved.sum(axis=1, keepdims=True)
