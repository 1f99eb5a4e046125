"""The table that compares the experiments of a folder with the published figures."""

from __future__ import annotations

import itertools
import re
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfk.reports import open_set_table, standing
from dfk.reports.standing import Metrics, Standing, Task
from dfk.system.files import write_atomic, write_json
from dfk.text import printable, shortened

if TYPE_CHECKING:  # It needs TensorFlow, and who looks at results does not.
    from dfk.data.catalog import Catalog

_LONGEST_NAME = 22  # Of a run in five columns that fit in 80
_COLUMNS = ("experiment", "accuracy", "95 % interval", "p", "training")
_MARKUP = re.compile(r"[\\`*\[\]<>|]")

# Accuracy on the UniBuc validation split, as the study states it.
PUBLISHED = {
    "svm": 0.6336,
    "deepfakenet": 0.9016,
    "deepfakenet2": 0.92,
    "vgg16": 0.9208,
    "ensemble": 0.9336,
}


def write_results(output_dir: Path, there: Standing | None = None) -> Standing:
    """Writes `results.md`, `results.json` and the page `index.html` over all finished runs.

    What cannot be read is left out, and said to be in a line below the table.

    Args:
        output_dir: the folder.
        there: its runs, if they have been read.
    """
    from dfk.reports import runs_page  # It needs matplotlib.

    there = there or standing.read(output_dir)
    study = list(PUBLISHED)
    rank = {name: i for i, name in enumerate(study)}
    there.measured.sort(
        key=lambda m: (rank.get(_family(m), len(study)), _family(m), m.get("seed") or 0)
    )
    write_json(output_dir / "results.json", there.measured)
    write_atomic(output_dir / "results.md", f"# Results\n\n{_tables(there)}")
    write_atomic(output_dir / "index.html", runs_page.page(output_dir, there))
    return there


def summary(there: Standing, against: str = "") -> str:
    """The runs in five columns, a table for each task, with the best and its ties below it.

    Args:
        against: the run that the others are compared with, in its task alone; by default the best.

    Raises:
        UsageError: if there is no such run.
    """
    blocks = []
    for task in _tasks(there, against):
        rows = [_COLUMNS, *(_short(task, row, against or task.best) for row in task.rows)]
        told = f". p: McNemar's, by Holm, against {against or task.best}."
        notes = [task.title + (told if len(rows) > 2 else "")]
        notes += [] if against or not task.verdict else [task.verdict]
        cells = [[printable(cell) for cell in row] for row in rows]
        blocks.append(_aligned(cells) + "\n".join(textwrap.fill(x, 80) for x in notes))
    if there.left_out:
        blocks.append(f"Left out: {printable('; '.join(dict.fromkeys(there.left_out)))}")
    blocks += [] if against else [part.rstrip() for part in _parts(there)]
    return "\n\n".join(blocks)


def compared(there: Standing, against: str = "") -> list[dict[str, Any]]:
    """The metrics of runs, each with its `p` against the best or `against`, as `summary` has it."""
    return [
        {**row, "p": task.p(row["experiment"], against or task.best)}
        for task in _tasks(there, against)
        for row in task.rows
    ]


def _tasks(there: Standing, against: str) -> list[Task]:
    return [there.task_of(against)] if against else there.tasks


def _short(task: Task, row: Metrics, against: str) -> tuple[str, ...]:
    low, high = row["accuracy_ci95"]
    name = row["experiment"]
    marked = "best" if name == task.best == against and len(task.rows) > 1 else ""
    return (
        shortened(name, _LONGEST_NAME),
        f"{row['accuracy']:.2%}",
        f"{low:.1%} to {high:.1%}",
        marked or standing.p_text(task.p(name, against)),
        duration(row["wall_time_s"]) if row.get("wall_time_s") else "",
    )


def _tables(there: Standing) -> str:
    """The tables of `results.md`."""
    rows = [_row(row, there.task_of(row["experiment"])) for row in there.measured]
    table = _markdown(_rows(rows)) if rows else ""
    table += "".join(f"\n{task.title}: {task.verdict}\n" for task in there.tasks if task.verdict)
    if there.left_out:
        reasons = "; ".join(dict.fromkeys(there.left_out))
        table += f"\nLeft out: {printable(reasons)}\n"
    return table + "".join(f"\n{part}" for part in _parts(there))


def _parts(there: Standing) -> list[str]:
    """What is said of experiments of several seeds, and of runs that left a class out."""
    parts = []
    if over_seeds := _over_seeds(there.measured):
        parts.append(f"## Over seeds\n\n{_markdown(_rows(over_seeds))}")
    left_out = [m for m in there.measured if m.get("open_set") and m.get("model")]
    if unknown := open_set_table.table(left_out):
        parts.append(f"## Unknown generators\n\n{_markdown(unknown)}")
    return parts


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


def _row(metrics: Metrics, task: Task) -> dict[str, str]:
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
        "p against the best": "best"
        if task.p_values and task.best == metrics["experiment"]
        else standing.p_text(task.p(metrics["experiment"], task.best)),
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
    return _aligned([[_MARKUP.sub(r"\\\g<0>", printable(cell)) for cell in row] for row in rows])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"
