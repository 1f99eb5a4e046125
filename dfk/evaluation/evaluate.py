"""Scores a model on a split and writes what it found into a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dfk import columns, jax_devices, models, records, runs
from dfk.data.catalog import Split
from dfk.data.limits import Limits
from dfk.data.pipeline import make_dataset
from dfk.errors import ImageError
from dfk.evaluation.report import TRAIN, Mistake, write_report
from dfk.explain import Explainer, can_explain
from dfk.files import write_csv
from dfk.inference import load
from dfk.progress import Bar

_MISTAKES = 3  # Of each class


def predict(model: keras.Model, split: Split, *, batch_size: int, progress: str = "") -> np.ndarray:
    """Runs a model over a split at the images' own sizes; returns what it answers, [N, C].

    Images of one size share batches, as far as memory goes, the last one as small as it is. The
    model itself resizes, as it does in serving. A bar named `progress` shows how far it is.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(split.images):
        groups.setdefault(image.shape, []).append(i)
    classes = model.output_shape[-1]
    limits = Limits(bytes_per_pixel=models.bytes_per_pixel(model))
    answers = np.zeros((len(split), classes), np.float32)
    with Bar(total=len(split), desc=progress, unit=" images", disable=not progress) as bar:
        count = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda _, logs: bar.update(len(logs["outputs"]))
        )
        for (height, width, _), indices in groups.items():
            size = limits.at_once(height, width, batch_size)
            answers[indices] = np.concatenate(
                [
                    model.predict(
                        make_dataset(split=part, classes=classes, batch_size=size),
                        verbose=0,
                        callbacks=[count],
                    )
                    for part in jax_devices.divided(split.take(indices))
                ]
            )
    return answers


def write_predictions(
    path: Path, split: Split, probabilities: np.ndarray, class_names: Sequence[str]
) -> None:
    """Writes `predictions.csv`: image_id, label (the truth), predicted, confidence, classes."""
    names = [*class_names, ""]  # UNLABELLED is -1.
    rows = (
        [image_id, names[label], class_names[row.argmax()], str(row.max()), *map(str, row)]
        for image_id, label, row in zip(split.ids, split.labels, probabilities, strict=True)
    )
    write_csv(path, [*columns.PREDICTIONS, *class_names], rows)


def write_submission(
    path: Path, split: Split, probabilities: np.ndarray, class_names: Sequence[str]
) -> None:
    """Writes `submission.csv` for a test split: image_id,label."""
    predicted = probabilities.argmax(axis=1)
    rows = [[i, class_names[k]] for i, k in zip(split.ids, predicted, strict=True)]
    write_csv(path, columns.SUBMISSION, rows)


def write_run_report(
    run_dir: Path,
    split: Split,
    probabilities: np.ndarray,
    metrics: dict[str, Any],
    *,
    place: Path | None = None,
) -> None:
    """Writes `report.html` of a run from its own files and the predictions on `split`.

    Args:
        place: where the run will lie, if that is elsewhere.
    """
    class_names = [row["class"] for row in metrics["per_class"]]
    flags = (run_dir / runs.FLAGS).read_text().splitlines()
    write_report(
        run_dir / runs.REPORT,
        title=metrics["experiment"],
        metrics=metrics,
        history=records.read_history(run_dir / runs.HISTORY),
        config=dict(line.removeprefix("--").split("=", 1) for line in flags),
        environment=json.loads((run_dir / runs.ENVIRONMENT).read_text()),
        mistakes=worst_mistakes(split, probabilities, class_names, _explainer(run_dir)),
        probabilities=probabilities,
        labels=split.labels,
        command=TRAIN.format(place or run_dir),
    )


def _explainer(run_dir: Path) -> Explainer | None:
    classifier = load(run_dir)
    return Explainer(classifier) if can_explain(classifier) else None


def worst_mistakes(
    split: Split,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    explainer: Explainer | None = None,
) -> list[Mistake]:
    """The three errors in each class that the model was surest of.

    Args:
        explainer: draws where the model looked; None where it cannot tell.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != split.labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    worst = [
        i for k in range(len(class_names)) for i in wrong[split.labels[wrong] == k][:_MISTAKES]
    ]
    return [
        Mistake(
            image_id=split.ids[i],
            image=split.images[i],
            truth=class_names[split.labels[i]],
            predicted=class_names[predicted[i]],
            confidence=float(confidence[i]),
            overlay=_overlay(explainer, split.images[i]),
        )
        for i in worst
    ]


def _overlay(explainer: Explainer | None, image: np.ndarray) -> np.ndarray | None:
    """Where the model looked; None where it cannot tell, as for want of memory."""
    with contextlib.suppress(ImageError):
        return explainer.explain(image).overlay() if explainer else None
    return None
