"""What is left of a model that was scored on a labelled split: its figures, answers and report.

Training and `dfk evaluate` both make `metrics.json`, `predictions.csv` and `report.html` here.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfk import runs
from dfk.data.catalog import Split
from dfk.evaluation import conformal, metrics
from dfk.inference import Classifier, load
from dfk.inference.explain import Explainer, can_explain
from dfk.reports import feature_map, samples, tensorboard
from dfk.reports.mistakes import worst_mistakes
from dfk.reports.predictions import write_predictions
from dfk.reports.report import TRAIN, write_report
from dfk.runs import records
from dfk.system.files import write_json


def measure(
    split: Split,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    experiment: str,
    model: str | None,
    data_dir: str,
    name: str,
    temperature: float | None,
    thresholds: conformal.Thresholds,
) -> dict[str, Any]:
    """The figures of a model on a labelled split: what every `metrics.json` begins with.

    Args:
        split: N images with their labels, indices into `class_names`.
        probabilities: float32 [N, C], the model's answers.
        experiment: its name.
        model: the kind of the model, as `--model` has it; None where that is not known.
        data_dir: where the images are.
        name: the split's.
        temperature: the model's, if known.
        thresholds: that the model carries; perhaps none.

    Returns:
        `experiment`, `model`, `data_dir`, `split`, what `metrics.compute` and `conformal.measure`
        give, and `temperature`.
    """
    return {
        "experiment": experiment,  # First: by it dfk knows the file as its own.
        "model": model,
        "data_dir": data_dir,
        "split": name,
        **metrics.compute(split.labels, probabilities, class_names, temperature),
        **conformal.measure(probabilities, split.labels, class_names, thresholds),
        "temperature": temperature,
    }


def write_run(
    run_dir: Path,
    split: Split,
    probabilities: np.ndarray,
    measured: Mapping[str, Any],
    *,
    place: Path | None = None,
) -> None:
    """Writes what a run leaves of its answers, from them and the run's own files; see `write`.

    Args:
        place: where the run will lie, if that is elsewhere.
    """
    lines = (run_dir / runs.FLAGS).read_text().splitlines()
    flags = dict(line.removeprefix("--").split("=", 1) for line in lines)
    if (run_dir / runs.TENSORBOARD).is_dir():  # What is fitted at once has no curves.
        tensorboard.write(run_dir / runs.TENSORBOARD, measured, flags, split)
    write(
        run_dir,
        load(run_dir),
        split,
        probabilities,
        measured,
        title=measured["experiment"],
        history=records.read_history(run_dir / runs.HISTORY),
        config=flags,
        environment=json.loads((run_dir / runs.ENVIRONMENT).read_text()),
        command=TRAIN.format(place or run_dir),
    )


def write(
    folder: Path,
    classifier: Classifier,
    split: Split,
    probabilities: np.ndarray,
    measured: Mapping[str, Any],
    doubts: Sequence[str] | None = None,
    **told: Any,
) -> None:
    """Writes `predictions.csv`, `report.html`, and last `metrics.json`, which says all is there.

    Args:
        folder: is there.
        classifier: what has answered.
        split: N images with their labels.
        probabilities: float32 [N, C], the answers.
        measured: the content of `metrics.json`.
        doubts: N texts, as `Prediction` has them; None where the images are as in training.
        told: what else the report tells: `title`, `history`, `config`, `environment` and
            `command`, as `write_report` takes them.
    """
    names = [row["class"] for row in measured["per_class"]]
    write_predictions(folder / runs.PREDICTIONS, split, probabilities, names, doubts)
    explainer = Explainer(classifier) if can_explain(classifier) else None
    write_report(
        folder / runs.REPORT,
        metrics=measured,
        mistakes=worst_mistakes(split, probabilities, names, explainer),
        probabilities=probabilities,
        labels=split.labels,
        feature_map=feature_map.of(classifier, split, probabilities, names),
        samples=samples.of_run(split, probabilities, names, told["config"]),
        written=f"{datetime.date.today()}",
        **told,
    )
    write_json(folder / runs.METRICS, measured)
