"""How well a model holds up when images are degraded: the matrix of `dfk.evaluation.degrade`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from dfk.data.catalog import Split
from dfk.evaluation import metrics, selective
from dfk.evaluation.degrade import OPERATIONS, Operation, Severity
from dfk.inference import Classifier, Prediction
from dfk.runs.columns import UNSURE
from dfk.system import hardware
from dfk.system.threads import in_threads

CLEAN = "none"
COVERAGE = 0.85  # At which a recheck is compared with the confidence
# Images are held in so much memory at most, and in no more than a quarter of what is available.
_HELD_BYTES = 2**30
_BYTES_PER_PIXEL = 24  # Of one that is decoded and degraded, in floats


class _Held:
    """Decoded images, kept up to a number of bytes and decoded anew beyond."""

    def __init__(self, images: Sequence[np.ndarray], most: float):
        self._images, self._kept, self._room = images, {}, most

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self._kept:
            return self._kept[index]
        image = self._images[index]
        if image.nbytes <= self._room:  # Of two threads at once, both may find room.
            self._kept[index] = image
            self._room -= image.nbytes
        return image


def measure(
    classifier: Classifier,
    split: Split,
    probabilities: np.ndarray,
    *,
    operations: Mapping[str, Operation] = OPERATIONS,
    progress: Callable[..., Iterable[Prediction]] = lambda answers, total: answers,
    recheck: bool = False,
) -> dict[str, Any]:
    """Scores a split again under each severity of each operation.

    Pixels are degraded in threads while the model computes, and few images wait at a time.

    Args:
        split: with labels and images, which may be decoded as they are looked at.
        probabilities: float32 [N, C], what the model says of the images as they are.
        progress: wraps the stream of predictions, whose number is its `total`, as `tqdm` does.
        recheck: scores the degraded images as `Classifier.predict` does with it.

    Returns:
        `robustness`: a row per severity, the clean figures first (operation `none`), each with
        `operation`, `severity`, `accuracy`, `ece` and the `recall` of each class;
        `robustness_mean`: the mean accuracy over all rows but the first, None if there is no
        other. With `recheck` what `_rechecked` gives. An operation is left out, with a warning,
        where the model cannot take its images, as a model of one fixed size cannot take crops.
    """
    cases = [(name, severity) for name, op in operations.items() for severity in op.severities]
    images = _Held(split.images, min(_HELD_BYTES, hardware.available_bytes() / 4))

    def degraded(job: tuple[tuple[str, Severity], int]) -> np.ndarray:
        (name, severity), index = job
        return operations[name].apply(images[index], severity)

    jobs, shapes = itertools.product(cases, range(len(split))), split.shapes
    images_ = in_threads(degraded, jobs, lambda job: _BYTES_PER_PIXEL * math.prod(shapes[job[1]]))
    stream = classifier.predict_stream(images_, recheck=recheck)
    answers = iter(progress(stream, total=len(cases) * len(split)))
    rows = [_row(CLEAN, "", split.labels, probabilities, classifier.class_names)]
    checked: list[Prediction] = []
    for name, severity in cases:
        predictions = list(itertools.islice(answers, len(split)))
        error = next((answer.error for answer in predictions if answer.error), "")
        if error:
            logging.warning("Left %s %s out of the robustness matrix: %s.", name, severity, error)
        else:
            scored = np.stack([answer.probabilities for answer in predictions])
            rows.append(_row(name, severity, split.labels, scored, classifier.class_names))
            checked += predictions if recheck else []
    accuracies = [row["accuracy"] for row in rows[1:]]
    mean = float(np.mean(accuracies)) if accuracies else None
    result = {"robustness": rows, "robustness_mean": mean}
    return result | (_rechecked(split.labels, checked) if checked else {})


def _rechecked(labels: np.ndarray, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Whether a recheck tells wrong answers to degraded images better than the confidence does.

    Args:
        labels: int [N].
        predictions: of these images under each degradation, one after the other.

    Returns:
        `robustness_recheck`: `selective.curve` of all answers, `by_confidence` and `by_recheck`;
        `answered`, the share that is not `unsure`, and the `accuracy` of these, None without one.
    """
    labels = np.tile(labels, len(predictions) // len(labels))
    probabilities = np.stack([x.probabilities for x in predictions])
    answered = np.array([x.label != UNSURE for x in predictions])
    right = (probabilities.argmax(axis=1) == labels)[answered]
    return {
        "robustness_recheck": {
            "by_confidence": selective.curve(labels, probabilities),
            "by_recheck": selective.curve(
                labels, probabilities, np.array([x.recheck for x in predictions])
            ),
            "answered": float(answered.mean()),
            "accuracy": float(right.mean()) if len(right) else None,
        }
    }


def recheck_line(found: Mapping[str, Any]) -> str:
    """What a recheck of degraded images gains, as `measure` gives it, in a line."""
    wrong = [
        next(1 - point["accuracy"] for point in found[by]["curve"] if point["coverage"] >= COVERAGE)
        for by in ("by_confidence", "by_recheck")
    ]
    return (
        f"recheck  of the {COVERAGE:.0%} surest answers to degraded images {wrong[1]:.1%} are "
        f"wrong, by confidence {wrong[0]:.1%}; {1 - found['answered']:.0%} are unsure"
    )


def table(rows: Sequence[Mapping[str, Any]], mean: float | None) -> str:
    """A line per operation: its severities, each with the accuracy under it."""
    lines = [f"robustness  mean accuracy {mean:.2%}" if mean is not None else "robustness"]
    for name, group in itertools.groupby(rows, lambda row: row["operation"]):
        cells = [f"{row['severity']!s:>5} {row['accuracy']:6.1%}" for row in group]
        lines.append(f"{name:10}" + "  ".join(cells))
    return "\n".join(lines)


def _row(
    operation: str,
    severity: Severity,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
) -> dict[str, Any]:
    measured = metrics.compute(labels, probabilities, class_names)
    return {
        "operation": operation,
        "severity": severity,
        "accuracy": measured["accuracy"],
        "ece": measured["ece"],
        "recall": [row["recall"] for row in measured["per_class"]],
    }
