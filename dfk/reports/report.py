"""A run's `report.html`: one file with everything in it, readable anywhere, fetching nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from dfk.data import embedded
from dfk.evaluation import conformal
from dfk.reports import class_plots, confidence_plots, plots, resaving, robustness_plots
from dfk.reports.feature_map import FeatureMap
from dfk.reports.html import DASH, is_figure, render
from dfk.reports.mistakes import Mistake
from dfk.reports.samples import NONE, Samples
from dfk.reports.thumbnails import thumbnail
from dfk.system.files import write_atomic
from dfk.text import sentence

MAX_MISTAKES = 24
MAX_CONFUSIONS = 6
WIDE = 8  # more classes than this take the page's whole width
TRAIN = "python run_experiments.py --flagfile={}/config.flags --output_dir=again"


def write_report(
    path: Path,
    *,
    title: str,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    mistakes: Sequence[Mistake],
    probabilities: np.ndarray,
    labels: np.ndarray,
    command: str | None = None,
    samples: Samples = NONE,
    feature_map: FeatureMap | None = None,
    written: str = "",
) -> None:
    """Writes the report of one run to `path`, whole or not at all.

    The same arguments give the same bytes. Text is escaped, whatever it holds.

    Args:
        path: where the page goes; its folder exists.
        title: the page's heading.
        metrics: the content of metrics.json. What it lacks is shown as a dash; besides,
            `published_accuracy` (0..1) is compared with the accuracy.
        history: one row per epoch (`epoch` from 1, `loss`, `accuracy`, `holdout_loss`,
            `holdout_accuracy`, `learning_rate`); empty for a model that has no epochs.
        config: flag -> value, resolved.
        environment: versions, hardware, data fingerprint, git commit; may be nested.
        mistakes: the wrong answers; the 24 most confident of them are shown.
        probabilities: float [N, C] of the reported split; N = 0 leaves reliability out.
        labels: int [N], the true classes.
        command: what repeats it; None for the training of the run in the page's folder.
        samples: pictures of images of the split.
        feature_map: where images lie by what the model sees in them, if that is known.
        written: when, as it is to be read.
    """
    names = [str(row["class"]) for row in metrics.get("per_class", ())]
    matrix = np.asarray(metrics.get("confusion_matrix", ()), dtype=np.int64)
    worst_first = sorted(mistakes, key=lambda mistake: -mistake.confidence)[:MAX_MISTAKES]
    page = render(
        "report.html.j2",
        title=title,
        metrics=metrics,
        weakest=_weakest(metrics.get("per_class", ())),
        interval=_interval(metrics),
        curves={name: Markup(svg) for name, svg in plots.learning_curves(history).items()},
        best_epoch=plots.best_epoch(history),
        confusion=Markup(plots.confusion(matrix, names, samples.cells)) if matrix.size else None,
        confusions=_confusions(matrix, names),
        samples=samples,
        feature_map=feature_map,
        by_class=class_plots.of_classes(probabilities, labels, names) if len(labels) else None,
        written=written,
        simulated=_is_simulated(metrics),
        wide=len(names) > WIDE,
        reliability=Markup(plots.reliability(probabilities, labels)) if len(labels) else None,
        resaving=resaving.warning(metrics.get("resaved") or ()),
        robustness=robustness_plots.section(metrics),
        too_few=[sentence(line) for line in conformal.lines(metrics)],
        confidence_plots={n: Markup(svg) for n, svg in confidence_plots.plots_of(metrics).items()},
        mistakes=[(mistake, *_thumbnails(mistake)) for mistake in worst_first],
        config=list(_flat(config)),
        environment=list(_flat(environment)),
        command=command or TRAIN.format(path.parent),
    )  # fmt: skip
    write_atomic(path, page)


def _is_simulated(metrics: Mapping[str, Any]) -> bool:
    place = str(metrics.get("data_dir") or "")
    return place == "demo" or embedded.holds(place)


def _weakest(per_class: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    known = [row for row in per_class if is_figure(row.get("f1")) and row.get("support") != 0]
    return min(known, key=lambda row: row["f1"], default=None)


def _interval(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """The accuracy's interval as a strip: its ends, and where things lie on it in percent."""
    low, high = metrics.get("accuracy_ci95") or (None, None)
    accuracy, published = metrics.get("accuracy"), metrics.get("published_accuracy")
    if not all(map(is_figure, (low, high, accuracy))):
        return None
    marks = {"low": low, "high": high, "accuracy": accuracy}
    verdict = None
    if is_figure(published):
        marks["published"] = published
        verdict = "below" if published < low else "above" if published > high else "within"
    start = max(0.0, math.floor(min(marks.values()) * 100 - 1) / 100)
    end = min(1.0, math.ceil(max(marks.values()) * 100 + 1) / 100)
    at = {name: round(100 * (x - start) / (end - start), 2) for name, x in marks.items()}
    return {"low": low, "high": high, "start": start, "end": end, "at": at, "verdict": verdict}


def _confusions(matrix: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The cells beside the diagonal that hold most images, largest first."""
    wrong = matrix * ~np.eye(*matrix.shape, dtype=bool) if matrix.size else matrix
    largest = sorted(np.argwhere(wrong), key=lambda cell: -wrong[tuple(cell)])
    return [
        {
            "truth": names[i],
            "predicted": names[j],
            "n": wrong[i, j],
            "of": matrix[i].sum(),
            "cell": (int(i), int(j)),
        }
        for i, j in largest[:MAX_CONFUSIONS]
    ]


def _thumbnails(mistake: Mistake) -> tuple[str, str | None, int, int]:
    """What `thumbnail` gives for the image, its overlay's data URI in second place."""
    uri, *size = thumbnail(mistake.image)
    return uri, None if mistake.overlay is None else thumbnail(mistake.overlay).uri, *size


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, text) of every value of a nested mapping."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(map(str, value)) or DASH
        else:
            yield f"{prefix}{key}", DASH if value is None or value == "" else str(value)
