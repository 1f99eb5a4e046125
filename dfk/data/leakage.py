"""How well the metadata of files alone predict their label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

# By how much the probe must surely beat chance to be called a leak.
_MUCH = 0.05
_FOLDS, _TREES, _LEAF = 5, 100, 3
_GROUPS = {
    "bytes": lambda f: (f.bytes, f.bytes / (f.width * f.height)),
    "dimensions": lambda f: (f.width, f.height, f.width / f.height),
    "format": lambda f: (f.format,),
    "mode": lambda f: (f.mode,),
}


def probe(files: Sequence[Any]) -> dict[str, Any] | None:
    """Predicts labels from size in bytes, dimensions, format and mode, in 5-fold cross-validation.

    Args:
        files: labelled, with the attributes of `audit.File`.

    Returns:
        `accuracy` of a random forest on images that it was not fitted to, its 95 % interval
        `accuracy_ci95` [low, high], `chance` (the share of the largest class), `alone` (the
        accuracy with one kind of metadata only), and `leaks`: whether it beats chance by much,
        that is, the interval begins more than 5 points above. None for fewer than two classes
        or a class of fewer than two images.
    """
    counts = Counter(file.label for file in files)
    if len(counts) < 2 or min(counts.values()) < 2:
        return None
    labels = np.array([file.label for file in files])
    columns = {name: _columns(files, read) for name, read in _GROUPS.items()}
    right = _right(np.hstack(list(columns.values())), labels)
    interval = binomtest(right, len(files)).proportion_ci(0.95, method="wilson")
    chance = max(counts.values()) / len(files)
    return {
        "accuracy": right / len(files),
        "accuracy_ci95": [float(interval.low), float(interval.high)],
        "chance": chance,
        "alone": {name: _right(values, labels) / len(files) for name, values in columns.items()},
        "leaks": bool(interval.low > chance + _MUCH),
    }


def _columns(files: Sequence[Any], read) -> np.ndarray:
    """Numbers as they are, words as a column each; float [N, D]."""
    rows = [read(file) for file in files]
    if isinstance(rows[0][0], str):
        words = sorted({row[0] for row in rows})
        return np.array([[row[0] == word for word in words] for row in rows], float)
    return np.array(rows, float)


def _right(values: np.ndarray, labels: np.ndarray) -> int:
    """How many labels are predicted rightly from `values` [N, D]."""
    if (values == values[0]).all():  # Nothing to learn from: the largest class
        return int(np.unique(labels, return_counts=True)[1].max())
    folds = min(_FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, random_state=0)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    return int((cross_val_predict(forest, values, labels, cv=splitter) == labels).sum())
