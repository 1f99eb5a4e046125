"""The table that compares the experiments of a folder with the published figures."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfk import runs
from dfk.data.catalog import Catalog
from dfk.errors import DfkError
from dfk.evaluation.comparison import mcnemar
from dfk.reports import open_set_table
from dfk.reports.predictions import read_correct
from dfk.runs import records
from dfk.system.files import write_atomic, write_json
from dfk.text import printable

_MARKUP = re.compile(r"[\\`*\[\]<>|]")

# Accuracy on the UniBuc validation split, as the study states it.
PUBLISHED = {
    "svm": 0.6336,
    "deepfakenet": 0.9016,
    "deepfakenet2": 0.92,
    "vgg16": 0.9208,
    "ensemble": 0.9336,
}


def write_results(output_dir: Path) -> str:
    """Writes `results.md` and `results.json` over all finished runs; returns the tables.

    What cannot be read is left out, and said to be in a line below the table.
    """
    measured, left_out = _measured(output_dir)
    study = list(PUBLISHED)
    rank = {name: i for i, name in enumerate(study)}
    measured.sort(key=lambda m: (rank.get(_family(m), len(study)), _family(m), m.get("seed") or 0))
    pairs = itertools.pairwise([None, *measured])
    rows = [_row(row, _p_value(output_dir, row, above, left_out)) for above, row in pairs]
    table = _markdown(_rows(rows)) if rows else ""
    if left_out:
        reasons = "; ".join(dict.fromkeys(left_out))
        table += f"\nLeft out: {printable(reasons)}\n"
    over_seeds = _over_seeds(measured)
    if over_seeds:
        table += f"\n## Over seeds\n\n{_markdown(_rows(over_seeds))}"
    write_json(output_dir / "results.json", measured)
    if unknown := open_set_table.table(
        [m for m in measured if m.get("open_set") and m.get("model")]
    ):
        table += f"\n## Unknown generators\n\n{_markdown(unknown)}"
    write_atomic(output_dir / "results.md", f"# Results\n\n{table}")
    return table


def _measured(output_dir: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The metrics of all runs, and of evaluations that were written there, and what is damaged."""
    measured, left_out = [], []
    # What is hidden is a run that has not taken its place yet.
    for path in sorted(output_dir.glob(f"[!.]*/{runs.METRICS}")):
        try:
            # Named after its folder, which may have been moved.
            metrics = records.read(path, records.METRICS)
            measured.append({"experiment": ""} | metrics | {"experiment": path.parent.name})
        except (DfkError, OSError) as error:
            left_out.append(str(error))
    return measured, left_out


def published(experiment: str, data: Catalog) -> float | None:
    """The study's accuracy for an experiment, where `data` looks like the task of the study."""
    shape = data.splits["train"].shapes[0]
    is_unibuc = data.class_names == ("0", "1", "2", "3", "4") and shape == (100, 100)
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
    output_dir: Path, metrics: dict[str, Any], above: dict[str, Any] | None, left_out: list[str]
) -> float | None:
    """McNemar's p between two rows; None for the first, and where they share no image or task.

    Predictions that cannot be read are added to `left_out`.
    """
    if above is None or metrics["data_dir"] != above["data_dir"]:
        return None
    if _classes(metrics) != _classes(above):
        return None
    answers = []
    for row in (metrics, above):
        try:
            answers.append(read_correct(output_dir / row["experiment"] / runs.PREDICTIONS))
        except (DfkError, OSError) as error:
            left_out.append(str(error))
    if len(answers) < 2 or not answers[0].keys() & answers[1].keys():
        return None
    return mcnemar(*answers).p_value


def _classes(metrics: dict[str, Any]) -> list[str]:
    return [row["class"] for row in metrics["per_class"]]


def _row(metrics: dict[str, Any], p_value: float | None) -> dict[str, str]:
    """Column -> cell; an evaluation of a finished model lacks what only a training has."""
    low, high = metrics["accuracy_ci95"]
    seen = [c for c in metrics["per_class"] if c["support"]]
    weakest = min(seen, key=lambda c: c["f1"], default={"class": "", "f1": 0.0})
    before = metrics.get("uncalibrated") or {}
    return {
        "experiment": metrics["experiment"],
        "data": Path(metrics["data_dir"]).name,
        "split": metrics["split"],
        "n": str(metrics["n"]),
        "accuracy": f"{metrics['accuracy']:.2%}",
        "95 % interval": f"{low:.1%} to {high:.1%}",
        "published": _cell(metrics.get("published_accuracy"), "{:.2%}"),
        "p against the row above": _cell(p_value, "{:.2g}"),
        "macro F1": f"{metrics['macro_f1']:.3f}",
        "weakest F1": f"{weakest['f1']:.3f} ({weakest['class']})",
        "ECE": f"{metrics['ece']:.3f}",
        "ECE uncalibrated": _cell(before.get("ece"), "{:.3f}"),
        "Brier": _cell(metrics.get("brier"), "{:.3f}"),
        "classes in a 95 % set": _cell(_set_size(metrics, 0.95), "{:.2f}"),
        "robustness": _cell(metrics.get("robustness_mean"), "{:.2%}"),
        "parameters": _cell(metrics.get("parameters"), "{:,}"),
        "training": duration(metrics["wall_time_s"]) if metrics.get("wall_time_s") else "",
        "images/s": _cell(metrics.get("train_images_per_s"), "{:.0f}"),
    }


def _set_size(metrics: dict[str, Any], coverage: float) -> float | None:
    """How many classes a prediction set of this coverage holds on average."""
    sets = metrics.get("conformal") or ()
    return next((row.get("mean_size") for row in sets if row["coverage"] == coverage), None)


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _family(metrics: dict[str, Any]) -> str:
    """The experiment's name without its seed."""
    return metrics["experiment"].removesuffix(f"-seed{metrics.get('seed')}")


def _over_seeds(measured: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A row per experiment of several seeds: mean and standard deviation, not the best."""
    rows = []
    for family, group in itertools.groupby(measured, _family):
        runs_of = [m for m in group if m["experiment"] != family]
        if len(runs_of) < 2:
            continue
        accuracies = [m["accuracy"] for m in runs_of]
        rows.append(
            {
                "experiment": family,
                "seeds": ", ".join(str(m["seed"]) for m in runs_of),
                "mean accuracy": f"{statistics.mean(accuracies):.2%}",
                "standard deviation": f"{100 * statistics.stdev(accuracies):.2f} points",
                "lowest": f"{min(accuracies):.2%}",
                "highest": f"{max(accuracies):.2%}",
            }
        )
    return rows


def _rows(table: list[dict[str, str]]) -> list[list[str]]:
    """A header and the cells below it; a column without a single entry is left out."""
    columns = [name for name in table[0] if any(row[name] for row in table)]
    return [columns, *([row[name] for name in columns] for row in table)]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    # A name is text, whatever it holds: no markup, no cell of its own.
    rows = [[_MARKUP.sub(r"\\\g<0>", printable(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"
