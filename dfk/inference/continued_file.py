"""A file of answers that goes on where an earlier call was interrupted, or killed."""

from __future__ import annotations

import contextlib
import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from absl import logging

from dfk.data.sources import Source
from dfk.errors import UsageError
from dfk.inference import Classifier, Prediction, doubts
from dfk.inference.answers import Answers, Row, another_model
from dfk.inference.cells import SAME
from dfk.inference.classifier import COVERAGE
from dfk.inference.formats import Csv, Json
from dfk.system.files import locked

# Bytes of what is left of a row; a path has 4,096 at most.
_LONGEST_ROW = 2**16


class Continued:
    """Such a file while it is open.

    Attributes:
        count: the whole rows that were there.

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
            f"{self._path} is there and was not written with this model, format and --coverage "
            "(or --claims, --recheck) by this version of dfk; choose another --output, or delete it"
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


def _doubts_of_image(classifier: Classifier, answers: Answers, answer: Prediction) -> list[str]:
    """Those that do not come of probabilities, which may fall on either side of a threshold."""
    coverage = answers.labelling.get("coverage", COVERAGE)
    near = [*doubts.of_probabilities(answer.probabilities, classifier.thresholds, coverage)]
    return [doubt for doubt in doubts.parted(answer.doubt) if doubt not in near]


def check_model(classifier: Classifier, answers: Answers, rows: Iterable[Row]) -> None:
    """Reads all rows, and answers the first image that has an answer once more: the same model?

    Raises:
        UsageError: if it is not, or other options than those of `answers`.
    """
    answered, compared = "", False
    for row in rows:
        before = row.prediction
        answered = answered or ("" if before.error else row.path)
        if before.error or compared or not Path(row.path).is_file():
            continue
        (now,) = classifier.predict(row.path, **answers.labelling)
        compared = True
        # Labels and sets were checked as rows were read; at a threshold they may differ here.
        seen = [_doubts_of_image(classifier, answers, x) for x in (now, before)]
        far = np.abs(now.probabilities - before.probabilities).max() > SAME
        if far or seen[0] != seen[1]:
            raise another_model(row, now)
    if answered and not compared:
        logging.warning(
            "None of the images that have rows already is there (such as %s): whether this model "
            "wrote them was not checked.",
            answered,
        )
