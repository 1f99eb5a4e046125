"""What a model's probabilities of each class are worth, as plots, a curve for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dfk.reports.plots import LINE, MUTED, SERIES, draw_svg

_BINS = 6
_POINTS = 200  # Of a curve; more would not be seen, and a page holds them all.


class ClassPlots(NamedTuple):
    """Plots with a curve for each class.

    Attributes:
        names: of the classes that are drawn, in the order of the colours.
        scores: of each, the areas below its precision-recall and its ROC curve.
        plots: title -> SVG.
    """

    names: list[str]
    scores: list[tuple[float, float]]
    plots: dict[str, str]


def of_classes(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> ClassPlots | None:
    """The plots for float `probabilities` [N, C] and int `labels` [N].

    Of many classes, those with the least area below precision and recall are drawn. A class
    without images, or with nothing but its images, has no curves. None where no class has.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    there = [k for k in range(len(names)) if 0 < np.count_nonzero(labels == k) < len(labels)]
    scores = {
        k: (
            float(average_precision_score(labels == k, probabilities[:, k])),
            float(roc_auc_score(labels == k, probabilities[:, k])),
        )
        for k in there
    }
    drawn = sorted(sorted(there, key=lambda k: scores[k])[: len(SERIES)])
    if not drawn:
        return None
    shapes = {
        "Precision and recall": ("precision-recall", _precision_recall),
        "ROC": ("roc", _roc),
        "Reliability by class": ("by-class", _reliability),
    }

    def draw(axes: Axes, curve) -> None:
        for colour, k in zip(SERIES, drawn, strict=False):
            curve(axes, probabilities[:, k], labels == k, colour)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(PercentFormatter(1))

    plots = {
        title: draw_svg(name, (2.9, 2.4), lambda axes, curve=curve: draw(axes, curve))
        for title, (name, curve) in shapes.items()
    }
    return ClassPlots([str(names[k]) for k in drawn], [scores[k] for k in drawn], plots)


def _precision_recall(axes: Axes, scores: np.ndarray, is_it: np.ndarray, colour: str) -> None:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(is_it, scores)
    kept = _few(len(recall))
    axes.plot(recall[kept], precision[kept], color=colour, linewidth=1.4)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01))


def _roc(axes: Axes, scores: np.ndarray, is_it: np.ndarray, colour: str) -> None:
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(is_it, scores)
    kept = _few(len(false))
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1, linestyle="--")
    axes.plot(false[kept], true[kept], color=colour, linewidth=1.4)
    axes.set(xlabel="of the others, called so", ylabel="found", xlim=(-0.01, 1), ylim=(0, 1.01))


def _reliability(axes: Axes, scores: np.ndarray, is_it: np.ndarray, colour: str) -> None:
    """Over bins of the probability of a class, how often it is that."""
    edges = np.linspace(0, 1, _BINS + 1)
    places = np.clip(np.digitize(scores, edges) - 1, 0, _BINS - 1)
    filled = [place for place in range(_BINS) if np.any(places == place)]
    mean = [scores[places == place].mean() for place in filled]
    share = [is_it[places == place].mean() for place in filled]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    axes.plot(mean, share, ".-", color=colour, linewidth=1.4)
    axes.set(xlabel="its probability", ylabel="how often it is", xlim=(0, 1), ylim=(-0.02, 1.02))


def _few(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(int))
