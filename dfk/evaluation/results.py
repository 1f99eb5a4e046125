"""The table that compares the experiments of a folder with the published figures."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from dfk import runs
from dfk.data.catalog import Catalog
from dfk.evaluation import open_set
from dfk.evaluation.comparison import mcnemar, read_correct
from dfk.files import write_atomic, write_json

# Accuracy on the UniBuc validation split, as the study states it.
PUBLISHED = {
    "svm": 0.6336,
    "deepfakenet": 0.9016,
    "deepfakenet2": 0.92,
    "vgg16": 0.9208,
    "ensemble": 0.9336,
}

_HEADER = (
    "experiment",
    "data",
    "split",
    "n",
    "accuracy",
    "95 % interval",
    "published",
    "p against the row above",
    "macro F1",
    "weakest F1",
    "ECE",
    "parameters",
    "training",
    "images/s",
)


def write_results(output_dir: Path) -> str:
    """Writes `results.md` and `results.json` over all finished runs; returns the tables."""
    found = [json.loads(path.read_text()) for path in output_dir.glob(f"*/{runs.METRICS}")]
    study = list(PUBLISHED)
    rank = {name: i for i, name in enumerate(study)}
    found.sort(key=lambda m: (rank.get(m["experiment"], len(study)), m["experiment"]))
    pairs = itertools.pairwise([None, *found])
    rows = [_row(row, _p_value(output_dir, row, above)) for above, row in pairs]
    table = _markdown([_HEADER, *rows])
    write_json(output_dir / "results.json", found)
    if unknown := open_set.table(found):
        table += f"\n## Unknown generators\n\n{_markdown(unknown)}"
    write_atomic(output_dir / "results.md", f"# Results\n\n{table}")
    return table


def published(experiment: str, data: Catalog) -> float | None:
    """The study's accuracy for an experiment, where `data` looks like the task of the study."""
    image = data.splits["train"].images[0]
    is_unibuc = data.class_names == ("0", "1", "2", "3", "4") and image.shape == (100, 100, 3)
    return PUBLISHED.get(experiment) if is_unibuc else None


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s` or `2 h 07 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _p_value(
    output_dir: Path, metrics: dict[str, Any], above: dict[str, Any] | None
) -> float | None:
    """McNemar's p between two rows; None for the first, and where they share no image or task."""
    if above is None or metrics["data_dir"] != above["data_dir"]:
        return None
    if _classes(metrics) != _classes(above):
        return None
    answers = [
        read_correct(output_dir / row["experiment"] / runs.PREDICTIONS) for row in (metrics, above)
    ]
    try:
        return mcnemar(*answers).p_value
    except ValueError:
        return None


def _classes(metrics: dict[str, Any]) -> list[str]:
    return [row["class"] for row in metrics["per_class"]]


def _row(metrics: dict[str, Any], p_value: float | None) -> tuple[str, ...]:
    low, high = metrics["accuracy_ci95"]
    published = metrics["published_accuracy"]
    weakest = min((c for c in metrics["per_class"] if c["support"]), key=lambda c: c["f1"])
    return (
        metrics["experiment"],
        Path(metrics["data_dir"]).name,
        metrics["split"],
        str(metrics["n"]),
        f"{metrics['accuracy']:.2%}",
        f"{low:.1%} to {high:.1%}",
        f"{published:.2%}" if published else "",
        "" if p_value is None else f"{p_value:.2g}",
        f"{metrics['macro_f1']:.3f}",
        f"{weakest['f1']:.3f} ({weakest['class']})",
        f"{metrics['ece']:.3f}",
        f"{metrics['parameters']:,}",
        duration(metrics["wall_time_s"]),
        f"{metrics['train_images_per_s']:.0f}",
    )


def _markdown(rows: list[tuple[str, ...]]) -> str:
    rows = [tuple(cell.replace("|", r"\|") for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"
