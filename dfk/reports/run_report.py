"""`report.html` of a run: what it holds, from the run's own files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfk import runs
from dfk.data.catalog import Split
from dfk.errors import ImageError
from dfk.inference import load
from dfk.inference.explain import Explainer, can_explain
from dfk.reports.page import TRAIN, Mistake, write_report
from dfk.runs import records

_MISTAKES = 3  # Of each class


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
