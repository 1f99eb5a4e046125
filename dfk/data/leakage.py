"""How well what is no picture in files predicts their label: metadata, and the grid of a JPEG."""

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
# How much of a class, at least, must surely be named, and rightly, for it to give itself away.
_MOST = 0.5
_FOLDS, _TREES, _LEAF = 5, 100, 3
_MOST_WORDS = 100
_SAMPLINGS = ("", "4:4:4", "4:2:2", "4:2:0")
# Of the grid, where it lies: how clearly it shows depends on the picture.
_NUMBERS = {
    "bytes": lambda f: (f.bytes, f.bytes / (f.width * f.height)),
    "dimensions": lambda f: (f.width, f.height, f.width / f.height),
    "JPEG settings": lambda f: (
        *(f.traces.quality, f.traces.exact, f.traces.progressive),
        _SAMPLINGS.index(f.traces.sampling),
    ),
    "pixels' grid": lambda f: (f.grid.row, f.grid.column) if f.grid.found else (-1, -1),
}
_WORDS = {
    "format": lambda f: (f.traces.format,),
    "mode": lambda f: (f.traces.mode,),
    "metadata": lambda f: f.traces.metadata,
}


def probe(files: Sequence[Any]) -> dict[str, Any] | None:
    """Predicts labels from all but the picture, in 5-fold cross-validation.

    Args:
        files: labelled, with the attributes of `audit.File`.

    Returns:
        `accuracy` of a random forest on images that it was not fitted to, its 95 % interval
        `accuracy_ci95` [low, high], `chance` (the share of the largest class), `recall` (of each
        class, that of the forest), `given_away` (classes of which surely more than half are
        named, and surely more than half of what is named so rightly; with two classes, 5 points
        above chance), `alone` (the accuracy with one kind of evidence only), and `leaks`: whether
        a class is given away, or the forest beats chance by much, that is, the interval begins
        more than 5 points above. None for fewer than two classes or a class of fewer than two.
    """
    counts = Counter(file.label for file in files)
    if len(counts) < 2 or min(counts.values()) < 2:
        return None
    labels = np.array([file.label for file in files])
    columns = {name: np.array([read(f) for f in files], float) for name, read in _NUMBERS.items()}
    columns |= {name: _columns([read(f) for f in files]) for name, read in _WORDS.items()}
    answers = _answers(np.hstack(list(columns.values())), labels)
    interval = _interval(answers == labels)
    chance = max(counts.values()) / len(files)
    sure = max(_MOST, chance + _MUCH)
    given_away = [
        name
        for name in sorted(counts)
        if _interval(answers[labels == name] == name)[0] > sure
        and _interval(labels[answers == name] == name)[0] > sure
    ]
    return {
        "accuracy": float(np.mean(answers == labels)),
        "accuracy_ci95": interval,
        "chance": chance,
        "recall": {
            name: float(np.mean(answers[labels == name] == name)) for name in sorted(counts)
        },
        "given_away": given_away,
        "alone": {
            name: float(np.mean(_answers(values, labels) == labels))
            for name, values in columns.items()
        },
        "leaks": bool(given_away) or interval[0] > chance + _MUCH,
    }


def _columns(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """Whether each of the words that are most frequent is there, a column each; float [N, D]."""
    counts = Counter(word for row in rows for word in row).most_common(_MOST_WORDS)
    return np.array([[word in row for word, _ in counts] for row in rows], float)


def _interval(right: np.ndarray) -> list[float]:
    """The 95 % interval (Wilson) of the share of what is true in `right`, bool [N]."""
    if not len(right):
        return [0.0, 1.0]
    found = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    return [float(found.low), float(found.high)]


def _answers(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What is predicted from `values` [N, D] for each label [N], by what was fitted to others."""
    names, counts = np.unique(labels, return_counts=True)
    if (values == values[:1]).all():  # Nothing to learn from: the largest class
        return np.full_like(labels, names[counts.argmax()])
    folds = min(_FOLDS, int(counts.min()))
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, random_state=0)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=0)
    return cross_val_predict(forest, values, labels, cv=splitter)
