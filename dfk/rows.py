"""Predictions as rows: CSV, JSON lines or a table, and a file of them that can be continued."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from dfk.data.sources import Source
from dfk.errors import UsageError
from dfk.inference import Classifier, Prediction
from dfk.runs import locked

# How far a model may be from its own earlier answer, which other batches computed.
_SAME = 1e-3
# Characters that a table keeps for a set; a longer one pushes the path aside.
_WIDEST_SET = 24

# From probabilities float32 [C] to the classes of a set, as `Classifier.prediction_set`.
SetOf = Callable[[np.ndarray], list[str]]


class Row(NamedTuple):
    """What a file that is continued tells of an image."""

    path: str
    label: str
    confidence: float
    error: str


class Csv:
    """`path,label,confidence,<class>...,error`; of an image without answer, cells are empty.

    With sets, a column `set` before the error: the classes with `|` between them.
    """

    def __init__(self, class_names: Sequence[str], set_of: SetOf | None = None):
        self._set_of = set_of
        columns = [*class_names, *["set"] * bool(set_of)]
        self.header = _csv_line(["path", "label", "confidence", *columns, "error"])
        self.start = self.header

    def line(self, path: str, found: Prediction) -> str:
        cells = [""] * (1 + len(found.probabilities) + bool(self._set_of))
        if not found.error:
            cells = [str(x) for x in (found.probabilities.max(), *found.probabilities)]
            cells += [_joined(self._set_of, found.probabilities)] if self._set_of else []
        return _csv_line([path, found.label, *cells, found.error])

    @staticmethod
    def ends(line: bytes, quotes: int) -> bool:
        """Whether a row ends with `line`, up to which the file holds so many quotation marks."""
        return line.endswith(b"\n") and quotes % 2 == 0

    def read(self, file: Iterable[str]) -> Iterator[Row]:
        reader = csv.reader(file)
        next(reader)
        for path, label, confidence, *cells, error in reader:
            if self._set_of and not error:
                *numbers, members = cells
                if members != _joined(self._set_of, np.array(numbers, np.float32)):
                    raise ValueError("a row has another set")
            yield Row(path, label, float(confidence or 0), error)


class Json:
    """A JSON object per line; `label`, `confidence`, `probabilities` and `set` may be null."""

    header = ""
    start = '{"path": '

    def __init__(self, class_names: Sequence[str], set_of: SetOf | None = None):
        self._names = list(class_names)
        self._set_of = set_of

    def line(self, path: str, found: Prediction) -> str:
        numbers = [float(str(x)) for x in found.probabilities]
        answer = {
            "label": found.label,
            "confidence": max(numbers),
            "probabilities": dict(zip(self._names, numbers, strict=True)),
        }
        if self._set_of:
            answer["set"] = self._set_of(found.probabilities)
        answer = dict.fromkeys(answer) if found.error else answer
        return json.dumps({"path": path, **answer, "error": found.error}) + "\n"

    @staticmethod
    def ends(line: bytes, quotes: int) -> bool:
        """Whether a row ends with `line`."""
        return line.endswith(b"\n")

    def read(self, file: Iterable[str]) -> Iterator[Row]:
        for line in file:
            row = json.loads(line)
            if not row["error"] and list(row["probabilities"]) != self._names:
                raise ValueError("a row has other classes")
            if not row["error"] and row.get("set") != self._set(row["probabilities"].values()):
                raise ValueError("a row has another set, or none")
            yield Row(row["path"], row["label"] or "", row["confidence"] or 0.0, row["error"])

    def _set(self, numbers: Iterable[float]) -> list[str] | None:
        return self._set_of(np.array([*numbers], np.float32)) if self._set_of else None


class Table:
    """For the eye: the path comes last, because no one knows how long the next will be."""

    def __init__(self, class_names: Sequence[str], set_of: SetOf | None = None):
        self._set_of, self._set = set_of, min(len("|".join(class_names)), _WIDEST_SET)
        self._widths = [max(6, len(name)) for name in class_names]
        self._label = max(map(len, [*class_names, "unknown", "label"]))
        names = [f"{name:>{w}}" for name, w in zip(class_names, self._widths, strict=True)]
        names += [f"{'set':{self._set}}"] * bool(set_of)
        self.header = "  ".join([f"{'label':{self._label}}  confidence", *names, "path"]) + "\n"

    def line(self, path: str, found: Prediction) -> str:
        path = _printable(path)
        if found.error:
            return f"{'-':{self._label}}  {path}: {_printable(found.error)}\n"
        shares = zip(found.probabilities, self._widths, strict=True)
        cells = [f"{share:{width}.3f}" for share, width in shares]
        if self._set_of:
            cells.append(f"{_joined(self._set_of, found.probabilities) or '-':{self._set}}")
        start = f"{found.label:{self._label}}  {found.confidence:10.3f}"
        return "  ".join([start, *cells, path]) + "\n"


FORMATS = {"table": Table, "csv": Csv, "json": Json}


class Continued:
    """A file of rows that goes on where an earlier call was interrupted, or killed.

    Whole rows that it holds are kept; half a row at its end is cut off.
    """

    def __init__(self, path: Path, form: Csv | Json, file: BinaryIO):
        self._path, self._form, self._file = path, form, file
        self._check_start()
        self._end, ends = self._scan()
        self.count = max(0, ends - bool(form.header))
        file.truncate(self._end)
        if not self._end:
            self.write(form.header)

    def write(self, text: str) -> None:
        """Adds whole rows in one piece; from then on they outlive the process."""
        self._file.write(text.encode())
        self._file.flush()

    def rows(self) -> Iterator[Row]:
        """The rows that were there before this call, read as they are asked for.

        Raises:
            UsageError: at one that `dfk predict` with this model did not write.
        """
        try:
            yield from self._form.read(self._lines()) if self._end else ()
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise self._foreign() from error

    def _lines(self) -> Iterator[str]:
        """The lines that were there at first: more are written meanwhile."""
        with open(self._path, "rb") as file:
            while file.tell() < self._end:
                yield file.readline().decode()

    def _check_start(self) -> None:
        expected = self._form.start.encode()
        self._file.seek(0)
        start = self._file.read(len(expected))
        if start != expected[: len(start)]:
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
    """Opens a file of rows, a new one or one to go on with.

    Raises:
        UsageError: if it holds anything else, or another process is writing it.
    """
    with open(path, "a+b") as file, locked(path):
        yield Continued(path, form, file)


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
    """Answers the first image that has an answer once more: is it still the same model?

    Raises:
        UsageError: if it is not, or other options of `Classifier.predict`.
    """
    for row in rows:
        if row.error or not Path(row.path).is_file():
            continue
        (found,) = classifier.predict(row.path, **labelling)
        if found.label != row.label or abs(found.confidence - row.confidence) > _SAME:
            raise UsageError(
                "the rows that are there were written by another model or --min_confidence (or "
                f"--unknown): {row.path} was {row.label} ({row.confidence:.3f}), is now "
                f"{found.label or found.error} ({found.confidence:.3f}). Choose another --output."
            )
        return


def _joined(set_of: SetOf, probabilities: np.ndarray) -> str:
    return "|".join(set_of(probabilities))


def _csv_line(cells: Sequence[str]) -> str:
    # Where nothing else calls for quotes, the writer forgets those of a carriage return.
    quoting = csv.QUOTE_ALL if any("\r" in cell for cell in cells) else csv.QUOTE_MINIMAL
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=quoting).writerow(cells)
    return text.getvalue()


def _printable(text: str) -> str:
    """Control characters escaped: a file's name must not move the terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
