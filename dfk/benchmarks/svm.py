"""The pixel SVM beside scikit-learn's `SVC(kernel="rbf")`, which answers the same."""

from __future__ import annotations

import time

import numpy as np
from absl import logging

from dfk.benchmarks.rows import Row, rounded

# (images to fit, values an image, images to predict, times as fast as SVC)
_USUAL = (800, 30_000, 200, 20.0)
_FULL = (1600, 49_152, 400, 40.0)


def rows(full: bool) -> list[Row]:
    """Fits and predicts with both, once: SVC alone takes a minute."""
    count, width, queries, required = _FULL if full else _USUAL
    pixels, labels = _data(count + queries, width)
    train, test = slice(0, count), slice(count, None)
    for machine in (_ours, _sklearn):  # What they import is not to be timed.
        machine(pixels[:20], labels[:20], pixels[:5])

    start = time.perf_counter()
    ours = _ours(pixels[train], labels[train], pixels[test])
    own = time.perf_counter() - start
    logging.info("  dfk %.1f s; now scikit-learn's SVC", own)
    start = time.perf_counter()
    theirs = _sklearn(pixels[train], labels[train], pixels[test])
    seconds = time.perf_counter() - start

    what = f"SVM on {count} x {width:,}, fit and predict {queries}"
    return [
        Row(f"{what}: seconds", rounded(own)),
        Row(f"{what}: x SVC", rounded(seconds / own), required),
        Row(f"{what}: predictions that differ", int((ours != theirs).sum()), 0, at_most=True),
    ]


def _data(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [N, D] of five classes that overlap, and labels int [N]."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 5
    centres = rng.normal(128, 6, (5, width))
    noise = rng.normal(0, 40, (count, width)).astype(np.float32)
    return np.clip(centres[labels] + noise, 0, 255).astype(np.uint8), labels


def _ours(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    from dfk.models import rbf

    machine = rbf.Machine.fit(train, labels, penalty=1.0)
    scores = [machine.decision(test[block]) for block in rbf.blocks(*test.shape)]
    return np.concatenate(scores).argmax(axis=1)


def _sklearn(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    machine = make_pipeline(StandardScaler(), SVC(C=1.0, kernel="rbf", gamma=1 / train.shape[1]))
    return machine.fit(train, labels).predict(test)
