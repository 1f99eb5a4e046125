"""What is wrong with a data set: collected, so that a user sees all of it at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dfk.errors import DfkError
from dfk.text import printable

_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with the data.

    Attributes:
        where: a place that the user knows (`train.csv:17`, or a path).
        what: what is wrong there.
        skippable: whether leaving out one image mends it.
        split: the one that it lies in, if it lies in one.
    """

    where: str
    what: str
    skippable: bool = False
    split: str = ""

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.what}")


class DataError(DfkError, ValueError):
    """The data cannot be used; the message names every place (the first 20, and a count)."""

    def __init__(self, problems: Sequence[Problem]):
        super().__init__(*describe(problems).splitlines())
        self.problems = tuple(problems)


def describe(problems: Sequence[Problem]) -> str:
    """One line each for the first 20, and how many more there are."""
    lines = [str(problem) for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"... and {len(problems) - _SHOWN} more, {len(problems)} in all")
    return "\n".join(lines)
