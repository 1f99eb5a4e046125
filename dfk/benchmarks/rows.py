"""The rows of a benchmark: what was measured, what is required, and what to know about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dfk.benchmarks.contest import Result


class Row(NamedTuple):
    """A figure of the table.

    Attributes:
        name: what was measured, with its unit.
        measured: the figure; None where it could not be measured.
        required: what it must be; None for what is only reported.
        at_most: whether `required` bounds it from above; else from below.
        note: why it was not measured, or what to know.
    """

    name: str
    measured: float | str | None
    required: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether what is required was reached; None if nothing is, or nothing was measured."""
        if self.required is None or not isinstance(self.measured, int | float):
            return None
        if self.at_most:
            return self.measured <= self.required
        return self.measured >= self.required

    def as_json(self) -> dict[str, Any]:
        """The row as `--format=json` prints it."""
        return {
            "name": self.name,
            "required": self.required,
            "measured": self.measured,
            "met": self.met,
        }


def ratio(name: str, results: Sequence[Result], required: float | None, what: str = "") -> Row:
    """How many times as fast as the fastest of some alternatives dfk is.

    Args:
        name: of the row.
        results: of the alternatives, each measured in turn with dfk.
        required: the least that will do.
        what: the alternatives have in common, for the note; the fastest is named after it.
    """
    ran = [result for result in results if result.ratio is not None]
    notes = [f"{r.name}: {r.problem}" for r in results if r.problem]
    if not ran:
        return Row(name, None, required, note="; ".join(notes))
    best = min(ran, key=lambda result: result.ratio)
    if len(results) > 1:
        notes.insert(0, f"{what}{best.name}")
    return Row(name, rounded(best.ratio), required, note="; ".join(notes))


def rounded(value: float) -> float:
    """A figure to three digits, which is more than its noise leaves certain."""
    return float(f"{value:.3g}")


def table(rows: Sequence[Row]) -> str:
    """The rows under each other with a column of what is required; the notes below."""
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    lines = [("", "required", "measured", "")]
    for row in rows:
        mark = f" [{notes.index(row.note) + 1}]" if row.note else ""
        sign = "<=" if row.at_most else ">="
        required = "" if row.required is None else f"{sign} {row.required:g}"
        verdict = {True: "met", False: "NOT MET", None: ""}[row.met]
        lines.append((row.name + mark, required, _figure(row.measured), verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    text = [
        f"{name:{widths[0]}}  {required:>{widths[1]}}  {measured:>{widths[2]}}  {verdict}".rstrip()
        for name, required, measured, verdict in lines
    ]
    return "\n".join([*text, *(f"[{i}] {note}" for i, note in enumerate(notes, start=1))])


def _figure(measured: float | str | None) -> str:
    if measured is None:
        return "-"
    return measured if isinstance(measured, str) else f"{measured:g}"
