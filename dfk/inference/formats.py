"""Answers as CSV, as JSON lines, or as a table for the eye; the first two are read again."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator

from dfk.inference import Prediction
from dfk.inference.answers import Answers, Row
from dfk.runs.columns import ERROR, PATH
from dfk.system.files import csv_line
from dfk.text import printable


class Csv:
    """A column per class; of an image without an answer, cells are empty."""

    def __init__(self, answers: Answers):
        self._answers, self.header = answers, csv_line(answers.heads)

    def line(self, path: str, prediction: Prediction) -> str:
        cells = ("" if x is None else str(x) for x in self._answers.flat(prediction))
        return csv_line([path, *cells])

    @staticmethod
    def ends(line: bytes, quotes: int) -> bool:
        """Whether a row ends with `line`, up to which the file holds so many quotation marks."""
        return line.endswith(b"\n") and quotes % 2 == 0

    def begins(self, half: str) -> bool:
        """Whether `half` may be the beginning of a row."""
        try:
            _, *whole = next(csv.reader([half]))[:-1] or [""]
        except csv.Error:
            return False
        kinds = self._answers.kinds
        fits = all(kind.may_hold(text) for kind, text in zip(kinds, whole, strict=False))
        return fits and len(whole) < len(kinds)

    def read(self, file: Iterable[str]) -> Iterator[Row]:
        """The rows of a file with a header.

        Raises:
            ValueError, csv.Error: at one that this did not write.
            UsageError: as of `Answers.row`.
        """
        reader = csv.reader(file)
        next(reader)
        for path, *cells in reader:
            if len(cells) != len(self._answers.kinds):
                raise ValueError("a row has other columns")
            yield self._answers.row(path, self._values(cells))

    def _values(self, cells: list[str]) -> list:
        left = iter(cells)
        columns = self._answers.columns
        own = {c.name: [next(left) for _ in c.cells.heads(c.name)] for c in columns}
        is_error = any(own[ERROR])
        return [
            None if is_error and not any(own[c.name]) else c.cells.read(own[c.name])
            for c in columns
        ]


class Json:
    """An object per line; of an image without an answer, values are null."""

    header = ""

    def __init__(self, answers: Answers):
        self._answers = answers
        self._keys = [PATH, *(column.name for column in answers.columns)]

    def line(self, path: str, prediction: Prediction) -> str:
        pairs = zip(self._answers.columns, self._answers.values(prediction), strict=True)
        values = (None if value is None else column.cells.json(value) for column, value in pairs)
        return json.dumps(dict(zip(self._keys, [path, *values], strict=True))) + "\n"

    @staticmethod
    def ends(line: bytes, quotes: int) -> bool:
        """Whether a row ends with `line`."""
        return line.endswith(b"\n")

    def begins(self, half: str) -> bool:
        """Whether `half` may be the beginning of a row."""
        for i, key in enumerate(self._keys):
            key = f'{", " if i else "{"}"{key}": '
            if len(half) <= len(key) or not half.startswith(key):
                return key.startswith(half)
            try:
                _, end = json.JSONDecoder().raw_decode(half, len(key))
            except ValueError:  # Cut off within the value
                return True
            half = half[end:]
            if re.fullmatch(r"[.eE][+-]?", half):  # Cut off within a number
                return True
        return "}\n".startswith(half)

    def read(self, file: Iterable[str]) -> Iterator[Row]:
        """The rows of a file.

        Raises:
            ValueError, TypeError, AttributeError: at one that this did not write.
            UsageError: as of `Answers.row`.
        """
        for line in file:
            row = json.loads(line)
            if [*row] != self._keys:
                raise ValueError("a row has other columns")
            path, *values = row.values()
            pairs = zip(self._answers.columns, values, strict=True)
            values = [None if v is None else column.cells.read_json(v) for column, v in pairs]
            yield self._answers.row(path, values)


class Table:
    """For the eye: the path comes last, because no one knows how long the next will be."""

    def __init__(self, answers: Answers):
        self._columns = [column for column in answers.columns if column.name != ERROR]
        self._specs = [s for c in self._columns for s in c.cells.specs(c.name)]
        heads = [head for c in self._columns for head in c.cells.heads(c.name)]
        cells = [
            f"{printable(head):{spec.partition('.')[0]}}"
            for head, spec in zip(heads, self._specs, strict=True)
        ]
        self.header = "  ".join([*cells, PATH]) + "\n"

    def line(self, path: str, prediction: Prediction) -> str:
        path = printable(path)
        if prediction.error:
            return f"{'-':{self._specs[0]}}  {path}: {printable(prediction.error)}\n"
        values = [cell for c in self._columns for cell in c.cells.flat(c.of(prediction))]
        cells = [
            f"{printable(cell) or '-' if isinstance(cell, str) else cell:{spec}}"
            for cell, spec in zip(values, self._specs, strict=True)
        ]
        return "  ".join([*cells, path]) + "\n"


FORMATS = {"table": Table, "csv": Csv, "json": Json}
