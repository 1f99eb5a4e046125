"""Temperature scaling (Guo et al., 2017, "On Calibration of Modern Neural Networks")."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_log_softmax = partial(log_softmax, axis=1)


def fit_temperature(
    logits: np.ndarray,
    labels: np.ndarray,
    log_probabilities: Callable[[np.ndarray], np.ndarray] = _log_softmax,
) -> float:
    """Finds the temperature whose probabilities, of logits / temperature, have the least NLL.

    Args:
        logits: float [N, C], or of whatever width the next takes.
        labels: int [N].
        log_probabilities: from logits to the logarithms of probabilities [N, C].

    Returns:
        A temperature in [0.05, 20].
    """
    logits = logits.astype(np.float64)
    rows = np.arange(len(labels))

    def nll(log_temperature: float) -> float:
        return -log_probabilities(logits / np.exp(log_temperature))[rows, labels].mean()

    return float(np.exp(minimize_scalar(nll, bounds=np.log([0.05, 20.0]), method="bounded").x))
