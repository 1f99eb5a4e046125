"""How the runs of a folder stand to each other: on which task, which is best, and which tie."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dfk import runs
from dfk.errors import DfkError, UsageError
from dfk.evaluation.comparison import holm, mcnemar
from dfk.reports.predictions import read_correct
from dfk.runs import records
from dfk.text import printable

SIGNIFICANT = 0.05

Metrics = Mapping[str, Any]


class Task(NamedTuple):
    """Runs that were scored on the same split of the same classes.

    Attributes:
        title: the data, the split, and how many images.
        rows: the metrics of the runs, the most accurate first.
        p_values: Holm's p of each pair that has images in common, by the two names.
    """

    title: str
    rows: list[Metrics]
    p_values: dict[frozenset[str], float]

    @property
    def best(self) -> str:
        """The most accurate run."""
        return self.rows[0]["experiment"]

    def p(self, one: str, other: str) -> float | None:
        """Holm's p between two runs; None where they cannot be compared."""
        return self.p_values.get(frozenset((one, other)))

    @property
    def ties(self) -> list[str]:
        """The runs that are no further from the best than chance may explain."""
        names = [row["experiment"] for row in self.rows[1:]]
        return [x for x in names if (self.p(self.best, x) or 0) >= SIGNIFICANT]

    @property
    def verdict(self) -> str:
        """The best and its ties, in a sentence."""
        if len(self.rows) == 1:
            return ""
        said = f"Best: {self.best}"
        if ties := [f"{name} (p {p_text(self.p(self.best, name))})" for name in self.ties]:
            said += f"; no further from it than chance may explain: {', '.join(ties)}"
        return f"{said}."


class Standing(NamedTuple):
    """All runs of a folder.

    Attributes:
        measured: their metrics, by name.
        tasks: in order of the accuracy of their best run.
        left_out: why some could not be read, or not be compared.
    """

    measured: list[dict[str, Any]]
    tasks: list[Task]
    left_out: list[str]

    def task_of(self, experiment: str) -> Task:
        """The task of a run.

        Raises:
            UsageError: if there is no such run.
        """
        for task in self.tasks:
            if any(row["experiment"] == experiment for row in task.rows):
                return task
        names = ", ".join(row["experiment"] for row in self.measured)
        raise UsageError(f"there is no finished run {experiment!r}; there are {names}")


def read(output_dir: Path) -> Standing:
    """Reads all finished runs of a folder, and evaluations that were written there."""
    measured, left_out = _measured(output_dir)
    tasks: dict[Any, list[Metrics]] = {}
    for row in measured:
        classes = tuple(each["class"] for each in row["per_class"])
        tasks.setdefault((row["data_dir"], row["split"], classes), []).append(row)
    found = [_task(output_dir, rows, left_out) for rows in tasks.values()]
    return Standing(measured, sorted(found, key=lambda x: -x.rows[0]["accuracy"]), left_out)


def p_text(p_value: float | None) -> str:
    """A p as it is written: two digits, `< 0.001`; nothing for None."""
    if p_value is None:
        return ""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


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


def _task(output_dir: Path, rows: Sequence[Metrics], left_out: list[str]) -> Task:
    rows = sorted(rows, key=lambda row: -row["accuracy"])
    data, split, n = rows[0]["data_dir"], rows[0]["split"], rows[0]["n"]
    title = printable(f"{Path(data).name}, {split}, {n:,} images")
    return Task(title, rows, _p_values(output_dir, rows, left_out) if len(rows) > 1 else {})


def _p_values(
    output_dir: Path, rows: Sequence[Metrics], left_out: list[str]
) -> dict[frozenset[str], float]:
    """Of McNemar's exact test on the images in common, all pairs together corrected by Holm."""
    right = {}
    for row in rows:
        try:
            right[row["experiment"]] = read_correct(
                output_dir / row["experiment"] / runs.PREDICTIONS
            )
        except (DfkError, OSError) as error:
            left_out.append(str(error))
    pairs = [
        (a, b) for a, b in itertools.combinations(right, 2) if right[a].keys() & right[b].keys()
    ]
    corrected = holm([mcnemar(right[a], right[b]).p_value for a, b in pairs])
    return dict(zip(map(frozenset, pairs), corrected, strict=True))
