"""The table of runs that left a class out: how well each notices its images (`results.md`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dfk.evaluation.open_set import FIGURES, SCORES

_HEADER = (
    *("left out", "experiment", "accuracy on the others"),
    *(f"{figure} {score}" for figure in FIGURES.values() for score in SCORES.values()),
    *("known called unknown", "unknown found"),
)
_RATES = ("false_alarms", "found")


def table(metrics_of_runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A header and a row for each run that left a class out, by its name.

    A row with their means follows the runs of each model that has several.

    Args:
        metrics_of_runs: what `metrics.json` of runs hold; those without `open_set` are passed over.

    Returns:
        Rows of text; empty without such a run.
    """
    runs = sorted(
        (metrics for metrics in metrics_of_runs if "open_set" in metrics),
        key=lambda metrics: (metrics["model"], metrics["open_set"]["excluded"]),
    )
    rows = []
    for model in dict.fromkeys(metrics["model"] for metrics in runs):
        numbers = {m["experiment"]: _numbers(m) for m in runs if m["model"] == model}
        left_out = {m["experiment"]: m["open_set"]["excluded"] for m in runs}
        rows += [(left_out[name], name, *_cells(row)) for name, row in numbers.items()]
        if len(numbers) > 1:
            rows.append(("mean", model, *_cells(np.mean(list(numbers.values()), axis=0))))
    return [_HEADER, *rows] if rows else []


def _numbers(metrics: Mapping[str, Any]) -> list[float]:
    """What the columns of a run hold; NaN where there is nothing."""
    measured = metrics["open_set"]
    by_score = [measured["scores"].get(score) or {} for score in SCORES]
    figures = [row.get(figure, np.nan) for figure in FIGURES for row in by_score]
    rates = [(measured.get("threshold") or {}).get(rate, np.nan) for rate in _RATES]
    return [metrics["accuracy"], *figures, *rates]


def _cells(numbers: Sequence[float]) -> list[str]:
    accuracy, *figures, false_alarms, noticed = numbers
    return [
        f"{accuracy:.2%}",
        *("" if np.isnan(x) else f"{x:.3f}" for x in figures),
        *("" if np.isnan(x) else f"{x:.1%}" for x in (false_alarms, noticed)),
    ]
