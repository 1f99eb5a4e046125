"""The report's plots of what a model knows about itself: made of `metrics.json`, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dfk.reports.plots import ACCENT, MUTED, WARM, draw_svg


def plots_of(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Name -> SVG for what `metrics` has: `selective` and `open_set`."""
    drawn = {}
    if "selective" in metrics:
        curve = metrics["selective"]["curve"]
        drawn["selective"] = draw_svg("selective", (3.4, 2.2), lambda axes: _selective(axes, curve))
    if "open_set" in metrics:
        bins = metrics["open_set"]["histogram"]
        drawn["open_set"] = draw_svg("open_set", (3.4, 2.2), lambda axes: _histogram(axes, bins))
    return drawn


def _selective(axes: Axes, curve: list[dict[str, float]]) -> None:
    coverage, accuracy = ([point[key] for point in curve] for key in ("coverage", "accuracy"))
    axes.plot(coverage, accuracy, ".-", color=ACCENT, clip_on=False)
    axes.axhline(accuracy[-1], color=MUTED, linewidth=1, linestyle="--")
    axes.set(xlim=(0, 1), xlabel="images answered, the most confident first", ylabel="accuracy")
    axes.set_ylim(top=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(PercentFormatter(1))


def _histogram(axes: Axes, bins: Mapping[str, Any]) -> None:
    edges = np.array(bins["edges"])
    for name, colour in (("known", ACCENT), ("unknown", WARM)):
        axes.stairs(bins[name], edges, color=colour, label=name, linewidth=1.8)
        axes.stairs(bins[name], edges, color=colour, fill=True, alpha=0.18)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 1), ncols=2, handlelength=1.3)
    axes.set(xlabel=bins["score"].replace("_", " "), ylabel="images", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
