"""`index.html` of a folder of runs: all of them on one page, which needs no network."""

from __future__ import annotations

import base64
import datetime
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from dfk import runs
from dfk.errors import DfkError
from dfk.reports import plots, standing
from dfk.reports.html import render
from dfk.reports.standing import Metrics, Standing, Task
from dfk.runs import records

MATRIX = 20  # Runs that are compared with each other, the best; more would not be read.
# Flags of which each run has its own
_OWN = {"experiment", "output_dir"}
_SCRIPT = Path(__file__).with_name("sort.js")


def page(output_dir: Path, there: Standing) -> bytes:
    """The page, as UTF-8.

    Args:
        output_dir: the folder, which the page lies in: its links are relative.
        there: its runs.
    """
    script = _SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render(
        "runs.html.j2",
        name=output_dir.resolve().name,
        tasks=[_section(output_dir, task) for task in there.tasks],
        left_out=list(dict.fromkeys(there.left_out)),
        script=Markup(script),
        script_hash=digest,
    )


def _section(output_dir: Path, task: Task) -> dict[str, Any]:
    scale = _scale(task.rows)
    names = [row["experiment"] for row in task.rows]
    histories = {name: _history(output_dir / name) for name in names}
    drawn = {name: rows for name, rows in histories.items() if rows}
    drawn = dict(list(drawn.items())[: len(plots.SERIES)])
    return {
        "title": task.title,
        "verdict": task.verdict,
        "scale": scale,
        "step": round(5 / (scale[1] - scale[0]), 3),  # Of five points, as a share of the axis
        "rows": [_row(output_dir, task, row, scale) for row in task.rows],
        "curves": {title: Markup(svg) for title, svg in plots.laid_over(drawn).items()},
        "drawn": list(drawn),
        "matrix": _matrix(task, names[:MATRIX]),
        "flags": _differing({name: _flags(output_dir / name) for name in names}),
        "names": names,
    }


def _row(output_dir: Path, task: Task, row: Metrics, scale: Sequence[float]) -> dict[str, Any]:
    name, folder = row["experiment"], output_dir / row["experiment"]
    low, high = row["accuracy_ci95"]
    marks = {
        "low": low,
        "high": high,
        "at": row["accuracy"],
        "published": row.get("published_accuracy"),
    }
    p_value = task.p(name, task.best)
    return {
        "metrics": row,
        "name": name,
        "link": f"{quote(name, errors='replace')}/{runs.REPORT}"
        if (folder / runs.REPORT).is_file()
        else "",
        "marks": {key: _place(value, scale) for key, value in marks.items() if value is not None},
        "is_best": name == task.best and len(task.rows) > 1,
        "ties": name in task.ties,
        "p": p_value,
        "p_text": standing.p_text(p_value),
        "finished": _date(folder / runs.METRICS),
    }


def _scale(rows: Sequence[Metrics]) -> tuple[float, float]:
    """Where the axis of accuracies begins and ends: at whole five points, around all there is."""
    values = [x for row in rows for x in (*row["accuracy_ci95"], row.get("published_accuracy"))]
    known = [x for x in values if x is not None]
    start, end = math.floor(20 * min(known)) / 20, math.ceil(20 * max(known)) / 20
    start, end = max(0.0, start), min(1.0, end)
    return (start, end) if start < end else (0.0, 1.0)


def _place(value: float, scale: Sequence[float]) -> float:
    start, end = scale
    return round(100 * min(1.0, max(0.0, (value - start) / (end - start))), 2)


def _date(path: Path) -> str:
    finished = datetime.datetime.fromtimestamp(path.stat().st_mtime)
    return f"{finished:%Y-%m-%d %H:%M}"


def _history(run_dir: Path) -> list[dict[str, float]]:
    try:
        return records.read_history(run_dir / runs.HISTORY)
    except (DfkError, OSError):  # The table says of the run what is known.
        return []


def _matrix(task: Task, names: Sequence[str]) -> list[list[dict[str, Any]]]:
    """A row for each run, with Holm's p against each of them."""
    if len(names) < 2:
        return []
    values = [[task.p(one, other) for other in names] for one in names]
    return [
        [
            {"text": standing.p_text(p), "chance": p is not None and p >= standing.SIGNIFICANT}
            for p in row
        ]
        for row in values
    ]


def _flags(run_dir: Path) -> dict[str, str]:
    """The flags of a run, as text; none of an evaluation."""
    try:
        text = (run_dir / runs.FLAGS).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return {}
    lines = [line.removeprefix("--").partition("=") for line in text.splitlines()]
    return {name: value for name, _, value in lines if name and name not in _OWN}


def _differing(flags: Mapping[str, Mapping[str, str]]) -> dict[str, list[str | None]]:
    """Of each flag that not all runs have alike, what each run has; None where it has no such."""
    of_runs = [given for given in flags.values() if given]
    names = dict.fromkeys(name for given in of_runs for name in given)
    different = [name for name in names if len({given.get(name) for given in of_runs}) > 1]
    return {name: [given.get(name) for given in flags.values()] for name in different}
