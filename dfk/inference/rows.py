"""Predictions as rows: CSV, JSON lines or a table, and a file of them that can be continued."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from absl import logging

from dfk.data.sources import Source
from dfk.errors import UsageError
from dfk.inference import Classifier, Prediction
from dfk.runs.columns import CONFIDENCE, ERROR, LABEL, PATH, SET, UNKNOWN
from dfk.system.files import csv_line, locked
from dfk.text import printable

# How far a model may be from its own earlier answer, which other batches computed.
_SAME = 1e-3
# Characters that a table keeps for a set; a longer one pushes the path aside.
_WIDEST_SET = 24
# Bytes of what is left of a row; a path has 4,096 at most.
_LONGEST_ROW = 2**16

# From probabilities float32 [C]: to the classes of a set, as `Classifier.prediction_set`; and to
# the label, as `Classifier.label_of`.
SetOf = Callable[[np.ndarray], list[str]]
LabelOf = Callable[[np.ndarray], str]


class Row(NamedTuple):
    """What a file that is continued tells of an image."""

    path: str
    label: str
    confidence: float
    error: str


class _Rows:
    """What a file holds of answers, whatever its format: each answer agrees with itself.

    Args:
        class_names: the model's.
        set_of: what makes sets of probabilities, if the rows have them.
        label_of: what names probabilities; without it, any class or `unknown` is taken.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        set_of: SetOf | None = None,
        label_of: LabelOf | None = None,
    ):
        self._names, self._set_of, self._label_of = [*class_names], set_of, label_of

    def _row(
        self, path: str, label: str, confidence: float, numbers: Iterable, members: Any
    ) -> Row:
        """The row of an answer, if a model of these classes can have given it."""
        numbers = np.array([*numbers], np.float32)
        if len(numbers) != len(self._names) or np.float32(confidence) != numbers.max():
            raise ValueError("a row has other classes")
        if not ((numbers >= 0) & (numbers <= 1 + _SAME)).all():
            raise ValueError("a row has what are no probabilities")
        if members != self._members(numbers):
            raise ValueError("a row has another set, or none")
        if label not in (*self._names, UNKNOWN):
            raise ValueError("a row has another label")
        if self._label_of and label != (now := self._label_of(numbers)):
            raise _another_model(path, label, confidence, now, confidence)
        return Row(path, label, confidence, "")

    def _members(self, numbers: np.ndarray) -> Any:
        """The set of an answer as a row has it, None without sets."""
        raise NotImplementedError


class Csv(_Rows):
    """`path,label,confidence,<class>...,error`; of an image without answer, cells are empty.

    With sets, a column `set` before the error: the classes with `|` between them.
    """

    def __init__(self, class_names: Sequence[str], *options: Any, **named: Any):
        super().__init__(class_names, *options, **named)
        self._cells = len(self._names) + bool(self._set_of)  # Between confidence and error
        columns = [*self._names, *[SET] * bool(self._set_of)]
        self.header = csv_line([PATH, LABEL, CONFIDENCE, *columns, ERROR])

    def line(self, path: str, found: Prediction) -> str:
        cells = [""] * (1 + self._cells)
        if not found.error:
            cells = [str(x) for x in (found.probabilities.max(), *found.probabilities)]
            cells += [self._members(found.probabilities)] if self._set_of else []
        return csv_line([path, found.label, *cells, found.error])

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
        numbers = whole[1 : 2 + len(self._names)]
        return (
            len(whole) < 3 + self._cells
            and all(label in (*self._names, UNKNOWN, "") for label in whole[:1])
            and all(re.fullmatch(r"[0-9.e+-]*", number) for number in numbers)
        )

    def read(self, file: Iterable[str]) -> Iterator[Row]:
        reader = csv.reader(file)
        next(reader)
        for path, label, confidence, *cells, error in reader:
            if len(cells) != self._cells or (error and any([label, confidence, *cells])):
                raise ValueError("a row has other columns")
            members = cells.pop() if self._set_of else None
            yield (
                Row(path, "", 0.0, error)
                if error
                else self._row(path, label, float(confidence), cells, members)
            )

    def _members(self, numbers: np.ndarray) -> str | None:
        return "|".join(self._set_of(numbers)) if self._set_of else None


class Json(_Rows):
    """A JSON object per line; `label`, `confidence`, `probabilities` and `set` may be null."""

    header = ""

    def line(self, path: str, found: Prediction) -> str:
        numbers = [float(str(x)) for x in found.probabilities]
        answer = {
            LABEL: found.label,
            CONFIDENCE: max(numbers),
            "probabilities": dict(zip(self._names, numbers, strict=True)),
        }
        if self._set_of:
            answer[SET] = self._set_of(found.probabilities)
        answer = dict.fromkeys(answer) if found.error else answer
        return json.dumps({PATH: path, **answer, ERROR: found.error}) + "\n"

    @staticmethod
    def ends(line: bytes, quotes: int) -> bool:
        """Whether a row ends with `line`."""
        return line.endswith(b"\n")

    def begins(self, half: str) -> bool:
        """Whether `half` may be the beginning of a row."""
        for i, key in enumerate(self._keys()):
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
        for line in file:
            row = json.loads(line)
            if [*row] != self._keys():
                raise ValueError("a row has other columns")
            path, label, confidence, numbers, *members, error = row.values()
            if error and any((label, confidence, numbers, *members)):
                raise ValueError("a row has an answer and an error")
            if not error and [*numbers] != self._names:
                raise ValueError("a row has other classes")
            yield (
                Row(path, "", 0.0, error)
                if error
                else self._row(path, label, confidence, numbers.values(), *members or [None])
            )

    def _keys(self) -> list[str]:
        sets = [SET] * bool(self._set_of)
        return [PATH, LABEL, CONFIDENCE, "probabilities", *sets, ERROR]

    def _members(self, numbers: np.ndarray) -> list[str] | None:
        return self._set_of(numbers) if self._set_of else None


class Table:
    """For the eye: the path comes last, because no one knows how long the next will be."""

    def __init__(
        self,
        class_names: Sequence[str],
        set_of: SetOf | None = None,
        label_of: LabelOf | None = None,
    ):
        class_names = [*map(printable, class_names)]
        self._set_of, self._set = set_of, min(len("|".join(class_names)), _WIDEST_SET)
        self._widths = [max(6, len(name)) for name in class_names]
        self._label = max(map(len, [*class_names, "unknown", "label"]))
        names = [f"{name:>{w}}" for name, w in zip(class_names, self._widths, strict=True)]
        names += [f"{'set':{self._set}}"] * bool(set_of)
        self.header = "  ".join([f"{'label':{self._label}}  confidence", *names, "path"]) + "\n"

    def line(self, path: str, found: Prediction) -> str:
        path = printable(path)
        if found.error:
            return f"{'-':{self._label}}  {path}: {printable(found.error)}\n"
        shares = zip(found.probabilities, self._widths, strict=True)
        cells = [f"{share:{width}.3f}" for share, width in shares]
        if self._set_of:
            members = printable("|".join(self._set_of(found.probabilities)))
            cells.append(f"{members or '-':{self._set}}")
        start = f"{printable(found.label):{self._label}}  {found.confidence:10.3f}"
        return "  ".join([start, *cells, path]) + "\n"


FORMATS = {"table": Table, "csv": Csv, "json": Json}


class Continued:
    """A file of rows that goes on where an earlier call was interrupted, or killed.

    Whole rows that it holds are kept; half a row at its end is cut off when the first new one is
    written, or by `begin`: so not before whoever writes has checked the rows.

    Raises:
        UsageError: if it holds anything else.
    """

    def __init__(self, path: Path, form: Csv | Json, file: BinaryIO):
        self._path, self._form, self._file = path, form, file
        self._end, ends = self._scan()
        self.count = max(0, ends - bool(form.header))
        self._head, self._begun = "" if self._end else form.header, False
        self._check_ends()

    def begin(self) -> None:
        """Cuts half a row off the end."""
        if not self._begun and self._file.seek(0, os.SEEK_END) > self._end:
            self._file.truncate(self._end)
        self._begun = True

    def write(self, text: str) -> None:
        """Adds whole rows in one piece; from then on they outlive the process."""
        self.begin()
        self._file.write((self._head + text).encode())
        self._file.flush()
        self._head = ""

    def rows(self) -> Iterator[Row]:
        """The rows that were there before this call, read as they are asked for.

        Raises:
            UsageError: at one that `dfk predict` with this model did not write.
        """
        try:
            yield from self._form.read(self._lines()) if self._end else ()
        except UsageError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise self._foreign() from error
        except (csv.Error, RecursionError) as error:
            raise self._foreign() from error

    def _lines(self) -> Iterator[str]:
        """The lines that were there at first: more are written meanwhile."""
        with open(self._path, "rb") as file:
            while file.tell() < self._end:
                yield file.readline().decode()

    def _check_ends(self) -> None:
        """Looks at the header, and at what would be cut off."""
        header = self._form.header
        self._file.seek(0)
        start = self._file.read(len(header.encode()))
        self._file.seek(self._end)
        half = self._file.read(_LONGEST_ROW).decode(errors="ignore")
        begins = self._form.begins if self._end or not header else header.startswith
        if not header.encode().startswith(start) or not (begins(half) or not half):
            raise self._foreign()

    def _scan(self) -> tuple[int, int]:
        """Where the last whole row ends, in bytes, and how many rows end up to there."""
        end = at = count = quotes = 0
        self._file.seek(0)
        for line in self._file:
            at += len(line)
            quotes += line.count(b'"')
            if self._form.ends(line, quotes):
                end, count = at, count + 1
        return end, count

    def _foreign(self) -> UsageError:
        return UsageError(
            f"{self._path} is there and was not written with this model, format and "
            "--coverage; choose another --output, or delete it"
        )


@contextlib.contextmanager
def continued(path: Path, form: Csv | Json) -> Iterator[Continued]:
    """Opens a file of rows, a new one or one to go on with; a new one is gone if it stays empty.

    Raises:
        UsageError: if it holds anything else, or another process is writing it.
    """
    path = Path(path)
    is_new = not path.exists()
    if not is_new and not path.is_file():
        raise UsageError(
            f"{path} is no file that could be continued; choose another --output, or leave it out "
            "and send stdout there"
        )
    with open(path, "a+b") as file, locked(path):
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise UsageError(f"another process has just removed {path}; try again")
        try:
            yield Continued(path, form, file)
        finally:
            if is_new and not os.fstat(file.fileno()).st_size:
                os.unlink(os.path.realpath(path))


def without(sources: Iterable[Source], rows: Iterator[Row]) -> Iterator[Source]:
    """Leaves out the sources that have a row; rows in the same order are not kept in memory."""
    ahead: Counter[str] = Counter()
    for source in sources:
        if ahead[source.name]:
            ahead[source.name] -= 1
            continue
        for row in rows:
            if row.path == source.name:
                break
            ahead[row.path] += 1
        else:
            yield source


def check_model(classifier: Classifier, rows: Iterable[Row], **labelling: Any) -> None:
    """Reads all rows, and answers the first image that has an answer once more: the same model?

    Raises:
        UsageError: if it is not, or other options of `Classifier.predict`.
    """
    answered, compared = "", False
    for row in rows:
        answered = answered or ("" if row.error else row.path)
        if row.error or compared or not Path(row.path).is_file():
            continue
        (found,) = classifier.predict(row.path, **labelling)
        compared = True
        if found.label != row.label or abs(found.confidence - row.confidence) > _SAME:
            now = found.label or found.error
            raise _another_model(row.path, row.label, row.confidence, now, found.confidence)
    if answered and not compared:
        logging.warning(
            "None of the images that have rows already is there (such as %s): whether this model "
            "wrote them was not checked.",
            answered,
        )


def _another_model(path: str, label: str, before: float, found: str, now: float) -> UsageError:
    return UsageError(
        "the rows that are there were written by another model or --min_confidence (or "
        f"--unknown): {path} was {label} ({before:.3f}), is now {found} ({now:.3f}). Choose "
        "another --output."
    )
