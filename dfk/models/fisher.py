"""Fisher's linear discriminant in closed form, also where features are more than images."""

from __future__ import annotations

import numpy as np
from scipy import linalg


def discriminant(
    features: np.ndarray, labels: np.ndarray, *, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """The linear functions that tell classes apart whose features differ by their means alone.

    kernel = S^-1 M, where M are the means of the classes and S is the covariance within them,
    drawn towards `shrinkage` parts of a multiple of the identity of the same trace. It is
    `sklearn.discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr", shrinkage=...)` with
    equal priors, which holds S itself; of fewer images than features, this holds the products of
    images instead.

    Source: Friedman, 1989, "Regularized Discriminant Analysis"; for features of this kind Kodovsky
    et al., 2012, "Ensemble Classifiers for Steganalysis of Digital Media".

    Args:
        features: float [N, D], of one scale. They are used up: the means are taken off.
        labels: int [N], of which each of 0..C-1 is there.
        shrinkage: above 0, at most 1.

    Returns:
        kernel float64 [D, C] and bias float64 [C]; `features @ kernel + bias` are logits. Those of
        the means deviate by 1: normal classes would make them much larger, and much too sure where
        features are many. A temperature has to find their scale.
    """
    means = np.stack([features[labels == c].mean(axis=0) for c in range(labels.max() + 1)])
    features -= means[labels]
    count, width = features.shape
    means = means.astype(np.float64)
    # S = (1 - shrinkage) (features.T @ features / count + ridge * identity)
    spread = np.einsum("nd,nd->", features, features, dtype=np.float64) / (count * width)
    ridge = shrinkage / (1 - shrinkage) * spread if shrinkage < 1 else np.inf
    if ridge == np.inf:
        kernel = means.T / spread
    elif count < width:
        kernel = _of_products(features, means, ridge) / (1 - shrinkage)
    else:
        covariance = (features.T @ features).astype(np.float64) / count
        covariance.flat[:: width + 1] += ridge
        kernel = linalg.solve(covariance, means.T, assume_a="pos", overwrite_a=True)
        kernel /= 1 - shrinkage
    of_means = means @ kernel
    bias = -0.5 * np.diag(of_means)
    scale = (of_means + bias).std()
    return kernel / scale, bias / scale


def _of_products(features: np.ndarray, means: np.ndarray, ridge: float) -> np.ndarray:
    """(features.T @ features / N + ridge)^-1 means.T, by a system of N equations, not D."""
    count = len(features)
    products = (features @ features.T).astype(np.float64)
    products.flat[:: count + 1] += ridge * count
    seen = (features @ means.T.astype(features.dtype)).astype(np.float64)
    solved = linalg.solve(products, seen, assume_a="pos", overwrite_a=True)
    return (means.T - features.T @ solved.astype(features.dtype)) / ridge
