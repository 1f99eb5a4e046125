"""The report's plots, as SVG that takes fonts and colours from the page around it.

Text stays text (it can be selected, and the browser has glyphs for every script), and colours
are CSS variables of the page: one drawing serves the light theme, the dark one and paper.
"""

import io
import re
import warnings
from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from matplotlib.transforms import Bbox

from dfk.evaluation.metrics import ECE_BINS, wilson
from dfk.text import shortened

MANY = 14  # more classes than this: the matrix has no room for percentages

INK, MUTED, LINE, ACCENT, WARM, ON = (f"#00000{i}" for i in range(1, 7))
SERIES = tuple(f"#0000{i}" for i in range(11, 19))  # of curves that are told apart
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    ACCENT: "accent",
    WARM: "warm",
    ON: "on",
} | {colour: f"series-{i}" for i, colour in enumerate(SERIES)}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called "$x$"
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same layout on every machine
    "font.size": 9,
    "text.color": INK,
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), MUTED),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), LINE),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 0),
    "xtick.major.pad": 6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.columnspacing": 1.1,
    "legend.borderpad": 0.2,
}


def best_epoch(history: Sequence[Mapping[str, float]]) -> int | None:
    """The (1-based) epoch of the lowest `holdout_loss`; None where none was measured."""
    losses = _column(history, "holdout_loss")
    if np.isnan(losses).all():
        return None
    return int(_epochs(history)[np.nanargmin(losses)])


def learning_curves(history: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Title -> SVG for what `history` has: loss, accuracy, learning rate; one row per epoch."""
    keys = {"Loss": "loss", "Accuracy": "accuracy", "Learning rate": "learning_rate"}
    frame = Bbox.from_extents(-0.55, -0.4, 2.95, 2.2)  # the same for all: their axes line up
    return {
        title: draw_svg(key, (2.9, 1.9), lambda axes, key=key: _curve(axes, history, key), frame)
        for title, key in keys.items()
        if not np.isnan([_column(history, key), _column(history, f"holdout_{key}")]).all()
    }


def laid_over(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, str]:
    """Title -> SVG of the holdout curves of runs, up to as many as there are `SERIES`, by name."""
    keys = {"Holdout accuracy": "holdout_accuracy", "Holdout loss": "holdout_loss"}
    return {
        title: draw_svg(
            f"all-{key}", (4.6, 2.8), lambda axes, key=key: _overlay(axes, histories, key)
        )
        for title, key in keys.items()
        if histories
    }


def confusion(
    matrix: np.ndarray, names: Sequence[str], linked: Container[tuple[int, int]] = ()
) -> str:
    """SVG of a confusion matrix, int [C, C] with the truth in rows, for `names` [C].

    The `linked` cells, (row, column), lead to where the page has `confusion-cell-ROW-COLUMN`.
    """
    side = float(np.clip(0.62 * len(names), 1.6, 9.0))
    return draw_svg("confusion", (side, side), lambda axes: _confusion(axes, matrix, names, linked))


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> str:
    """SVG of accuracy over confidence: float `probabilities` [N, C], int `labels` [N], N > 0."""
    bins = reliability_bins(probabilities, labels)
    return draw_svg("reliability", (2.9, 2.9), lambda axes: _reliability(axes, bins))


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What the reliability diagram draws, for `probabilities` [N, C] and `labels` [N].

    Returns:
        float64 [B, 4], B = min(15, N), over the bins of `expected_calibration_error`: mean
        confidence, accuracy, and the low and high end of the accuracy's 95 % Wilson interval.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    rows = []
    for chosen in np.array_split(np.argsort(confidence, kind="stable"), min(ECE_BINS, len(labels))):
        hits, n = int(right[chosen].sum()), len(chosen)
        mean = confidence[chosen].mean(dtype=np.float64)
        rows.append((mean, hits / n, *wilson(hits, n)))
    return np.array(rows)


def _column(history: Sequence[Mapping[str, float]], key: str) -> np.ndarray:
    return np.array([row.get(key, np.nan) for row in history], dtype=np.float64)


def _epochs(history: Sequence[Mapping[str, float]]) -> np.ndarray:
    return np.array([row.get("epoch", i) for i, row in enumerate(history, start=1)])


def _curve(axes: Axes, history: Sequence[Mapping[str, float]], key: str) -> None:
    epochs, best = _epochs(history), best_epoch(history)
    line = ".-" if len(epochs) < 3 else "-"  # one epoch is a dot, not a line
    if key == "learning_rate":
        axes.plot(epochs, _column(history, key), line, color=ACCENT)
        axes.set_ylim(bottom=0)
    else:
        axes.plot(epochs, _column(history, key), line, color=MUTED, label="train")
        axes.plot(epochs, _column(history, f"holdout_{key}"), line, color=ACCENT, label="holdout")
    if best is not None:
        axes.axvline(best, color=WARM, linewidth=1.2, linestyle=":", label=f"best: epoch {best}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.03, 1), ncols=3, handlelength=1.3)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    plain = FuncFormatter(lambda value, _: f"{value:.3g}")
    axes.yaxis.set_major_formatter(PercentFormatter(1) if key == "accuracy" else plain)


def _overlay(axes: Axes, histories: Mapping[str, Sequence[Mapping[str, float]]], key: str) -> None:
    for colour, history in zip(SERIES, histories.values(), strict=False):
        line = ".-" if len(history) < 3 else "-"
        axes.plot(_epochs(history), _column(history, key), line, color=colour)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    if key.endswith("accuracy"):
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _confusion(
    axes: Axes, matrix: np.ndarray, names: Sequence[str], linked: Container[tuple[int, int]]
) -> None:
    _class_axes(axes, [shortened(name) for name in names])
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    cells = np.argwhere(matrix > 0)
    squares = [Rectangle((column - 0.46, row - 0.46), 0.92, 0.92) for row, column in cells]
    # The root lets the eye find a few mistakes among many hits.
    colours = [to_rgba(ACCENT if i == j else WARM, np.sqrt(shares[i, j])) for i, j in cells]
    axes.add_collection(PatchCollection(squares, facecolors=colours, edgecolors="none"))
    for i, j in cells:
        _cell(axes, i, j, matrix[i, j], shares[i, j], small=len(names) > MANY)
        if (int(i), int(j)) in linked:
            for text in axes.texts[-1 if len(names) > MANY else -2 :]:
                text.set_url(f"#cell-{i}-{j}")


def _cell(axes: Axes, row: int, column: int, count: int, share: float, small: bool) -> None:
    # Where the text turns, its two contrasts cross, in the light theme and in the dark one.
    text = {"color": ON if share > 0.64 else INK, "ha": "center"}
    if small:
        points = 72 * axes.figure.get_figwidth() / abs(np.subtract(*axes.get_xlim()))
        axes.text(column, row, f"{count}", size=min(9, 0.38 * points), va="center", **text)
    else:  # two texts: the lines of one would be aligned by DejaVu's widths, not the page's
        axes.text(column, row - 0.02, f"{count:,}", size=10, va="bottom", **text)
        axes.text(column, row + 0.06, f"{share:.1%}", size=7.5, va="top", **text)


def _class_axes(axes: Axes, names: Sequence[str]) -> None:
    borders, ticks = np.arange(len(names) + 1) - 0.5, range(len(names))
    upright = max(map(len, names)) > 6 or len(names) > MANY
    axes.set_xticks(ticks, names, rotation=90 if upright else 0)
    axes.set_yticks(ticks, names)
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.set(xlim=borders[[0, -1]], ylim=borders[[-1, 0]], xlabel="predicted", ylabel="true")
    axes.grid(False)
    axes.grid(which="minor")
    axes.tick_params(which="both", length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)


def _reliability(axes: Axes, bins: np.ndarray) -> None:
    confidence, accuracy, low, high = bins.T
    start = max(0.0, np.floor(bins.min() * 10) / 10)
    axes.plot([start, 1], [start, 1], color=MUTED, linewidth=1, linestyle="--")
    errors = np.maximum([accuracy - low, high - accuracy], 0)  # rounding may give -1e-17
    dots = {"fmt": "o", "markersize": 4, "color": ACCENT, "elinewidth": 1, "clip_on": False}
    axes.errorbar(confidence, accuracy, errors, **dots)
    axes.set(xlim=(start, 1), ylim=(start, 1), xlabel="confidence", ylabel="accuracy")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(PercentFormatter(1))


def draw_svg(
    name: str,
    size: tuple[float, float],
    draw: Callable[[Axes], None],
    frame: Bbox | None = None,
) -> str:
    """Runs `draw` on axes of `size` inches; cuts at `frame`, by default around all there is."""
    target, nothing = io.StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings(), style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has what DejaVu lacks
        figure = Figure(figsize=size)
        draw(figure.add_axes((0, 0, 1, 1)))
        figure.savefig(target, format="svg", transparent=True, metadata=nothing,
                       bbox_inches=frame or "tight", pad_inches=0.04)  # fmt: skip
    _, start, svg = target.getvalue().partition("<svg")
    return re.sub(r"<[^>]+>", lambda tag: _themed(tag[0], name), start + svg)


def _themed(tag: str, name: str) -> str:
    """One tag with the page's colours, and with ids that no other plot has."""
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{name}-", tag)
