"""The report's plots of a robustness matrix: curves over severity, and what each class loses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox

from dfk.evaluation.degrade import OPERATIONS
from dfk.evaluation.metrics import wilson
from dfk.reports import plots
from dfk.reports.plots import ACCENT, INK, LINE, MUTED, WARM
from dfk.text import shortened

_CLEAN = "clean"
_DEEPEST = 0.65  # How opaque a cell gets: its text stays readable in both themes.

Row = Mapping[str, Any]


def section(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the report's section shows, from metrics.json; None without a robustness matrix."""
    rows = metrics.get("robustness") or ()
    if len(rows) < 2:
        return None
    clean, degraded = rows[0], rows[1:]
    rechecked = metrics.get("robustness_recheck")
    worst = min(degraded, key=lambda row: row["accuracy"])
    return {
        "clean": clean,
        "mean": metrics.get("robustness_mean"),
        "worst": worst,
        "conditions": len(degraded),
        "curves": {title: Markup(svg) for title, svg in curves(rows, metrics["n"]).items()},
        "recall": Markup(recall(rows, metrics.get("per_class", ()))),
        "recheck": Markup(recheck(rechecked)) if rechecked else None,
    }


def curves(rows: Sequence[Row], n: int) -> dict[str, str]:
    """Title -> SVG, one per operation: accuracy on `n` images over severity, all on one scale."""
    frame = Bbox.from_extents(-0.5, -0.3, 2.75, 1.6)  # the same for all: their axes line up
    clean = rows[0]["accuracy"]
    drawn = {}
    for name, group in itertools.groupby(rows[1:], lambda row: row["operation"]):
        family = list(group)
        title = OPERATIONS[name].title if name in OPERATIONS else name
        drawn[title] = plots.draw_svg(
            f"robustness-{len(drawn)}",
            (2.65, 1.5),
            lambda axes, family=family: _curve(axes, family, clean, n),
            frame,
        )
    return drawn


def recall(rows: Sequence[Row], per_class: Sequence[Row]) -> str:
    """SVG of the recall of each class that occurs (columns) under each row of the matrix.

    A cell is the deeper the further its recall has gone from the clean images', and warm where
    it fell. The first column is the accuracy, over all classes.
    """
    here = [i for i, row in enumerate(per_class) if row.get("support")]
    names = ["all", *(shortened(str(per_class[i]["class"]), 12) for i in here)]
    table = np.array([[row["accuracy"], *(row["recall"][i] for i in here)] for row in rows])
    labels = [f"{row['operation']} {row['severity']}" for row in rows]
    labels[0] = _CLEAN
    starts = [i for i in range(1, len(rows)) if rows[i]["operation"] != rows[i - 1]["operation"]]
    size = (min(0.85 * len(names), 9.0), 0.22 * len(rows))
    return plots.draw_svg("recall", size, lambda axes: _cells(axes, table, labels, names, starts))


def recheck(found: Mapping[str, Any]) -> str:
    """SVG of the errors among the surest answers, by confidence and by the score of a recheck."""
    return plots.draw_svg("recheck", (3.4, 2.2), lambda axes: _risk(axes, found))


def _risk(axes: Axes, found: Mapping[str, Any]) -> None:
    for by, colour in (("confidence", WARM), ("recheck", ACCENT)):
        points = found[f"by_{by}"]["curve"]
        risk = [1 - point["accuracy"] for point in points]
        coverage = [point["coverage"] for point in points]
        axes.plot(coverage, risk, ".-", color=colour, label=by, clip_on=False)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 1), ncols=2, handlelength=1.3)
    axes.set(xlim=(0, 1), xlabel="degraded images answered, the surest first", ylabel="wrong")
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))


def _curve(axes: Axes, family: Sequence[Row], clean: float, n: int) -> None:
    places = np.arange(len(family) + 1)
    accuracy = np.array([clean, *(row["accuracy"] for row in family)])
    low, high = np.array([wilson(round(share * n), n) for share in accuracy]).T
    axes.fill_between(places, low, high, color=ACCENT, alpha=0.18, linewidth=0)
    axes.axhline(clean, color=MUTED, linewidth=1, linestyle="--")
    axes.plot(places, accuracy, "o-", color=ACCENT, markersize=3.5, clip_on=False)
    last = f"{accuracy[-1]:.0%}"
    below = accuracy[-1] > 0.25  # Away from the dashed line, but not through the axis
    aside = {"xytext": (0, -7 if below else 6), "va": "top" if below else "bottom"}
    axes.annotate(last, (places[-1], accuracy[-1]), **aside, color=INK, ha="center",
                  textcoords="offset points")  # fmt: skip
    axes.set_xticks(places, [_CLEAN, *(str(row["severity"]) for row in family)])
    axes.set(ylim=(0, 1), xlim=(-0.15, places[-1] + 0.15))
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _cells(
    axes: Axes, table: np.ndarray, labels: list[str], names: list[str], starts: list[int]
) -> None:
    change = table - table[0]
    cells = list(np.ndindex(table.shape))
    squares = [Rectangle((column - 0.48, row - 0.46), 0.96, 0.92) for row, column in cells]
    colours = [
        to_rgba(WARM if change[cell] < 0 else ACCENT, _DEEPEST * abs(change[cell]) ** 0.7)
        for cell in cells
    ]
    axes.add_collection(PatchCollection(squares, facecolors=colours, edgecolors="none"))
    room = 72 * axes.figure.get_figwidth() / len(names)
    for row, column in cells if room > 16 else []:
        text = {"ha": "center", "va": "center", "size": min(8, room / 2.6)}
        axes.text(column, row, f"{100 * table[row, column]:.0f}", color=INK, **text)
    for start in starts:
        axes.axhline(start - 0.5, color=LINE, linewidth=0.8)
    axes.axvline(0.5, color=LINE, linewidth=0.8)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 6 else 0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(labels) - 0.5, -0.5))
    axes.xaxis.tick_top()
    axes.grid(False)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
