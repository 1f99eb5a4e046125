"""Tables of images as people write them: with commas, semicolons or tabs, in UTF-8 or UTF-16."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Collection, Iterator
from pathlib import Path

SUFFIXES = (".csv", ".tsv")
_DELIMITERS = ",;\t|"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # Its marks of byte order


@contextlib.contextmanager
def opened(path: str | Path, columns: Collection[str], errors: str = "strict") -> Iterator:
    """A `csv.reader` of a table, whose first line is its header.

    Args:
        columns: names of which the header holds one: by them the delimiter is told.
        errors: what becomes of bytes that are no text, as `open` takes it.

    Raises:
        UnicodeDecodeError, csv.Error: also where the reader is used; what cannot be read.
    """
    with open(path, "rb") as raw:
        encoding = "utf-16" if raw.peek(2)[:2] in _UTF16 else "utf-8-sig"
        file = io.TextIOWrapper(raw, encoding, errors, newline="")
        first = file.readline()
        delimiters = [d for d in _DELIMITERS if set(columns) & set(_cells(first, d))]
        yield csv.reader(itertools.chain([first], file), delimiter=(delimiters or ",")[0])


def _cells(line: str, delimiter: str) -> list[str]:
    with contextlib.suppress(csv.Error):
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    return []
