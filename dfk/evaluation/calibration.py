"""Temperature scaling (Guo et al., 2017, "On Calibration of Modern Neural Networks")."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Finds the temperature whose softmax(logits / temperature) has the least NLL.

    Args:
        logits: float [N, C].
        labels: int [N].

    Returns:
        A temperature in [0.05, 20].
    """
    logits = logits.astype(np.float64)
    rows = np.arange(len(labels))

    def nll(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean()

    return float(np.exp(minimize_scalar(nll, bounds=np.log([0.05, 20.0]), method="bounded").x))
