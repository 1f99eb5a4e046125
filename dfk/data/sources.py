"""What `dfk predict` is given -> the images to score, one by one, however many there are."""

from __future__ import annotations

import csv
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dfk.data import entries, tables
from dfk.data.entries import SUFFIXES, Images, Kinds
from dfk.errors import DfkError
from dfk.text import valid as text

STDIN = "-"
_COLUMNS = ("path", "image_id")


class Unreadable(str):
    """Stands in the place of an image: why there is none."""


class Source(NamedTuple):
    """An image to score.

    Attributes:
        name: its path as text that any file can hold; bytes that are no text are escaped.
        image: its path, the bytes of a file, or why there is neither.
    """

    name: str
    image: str | bytes | Unreadable


def find(
    arguments: Iterable[str], stdin: BinaryIO | None = None, left_out: Kinds | None = None
) -> Iterator[Source]:
    """Yields the images that `arguments` name, in an order that repeats.

    Args:
        arguments: image files (whatever their suffix); folders, searched to the bottom, linked
            folders included, for image suffixes in any case and for files that start as images
            do, but for what is hidden or of the system; CSVs (see `_listed`); `-`, an image or
            a list of paths, separated by line ends or zero bytes.
        stdin: what `-` reads.
        left_out: counts the entries of folders that are no images.

    Raises:
        DfkError: for a CSV that is no text, or whose first line names no column that is known.
    """
    for argument in arguments:
        if argument == STDIN:
            yield from _from_stdin(stdin or sys.stdin.buffer)
        elif os.path.isdir(argument):
            yield from _walk(argument, Kinds() if left_out is None else left_out)
        elif argument.lower().endswith(tables.SUFFIXES):
            try:
                yield from _listed(argument)
            except UnicodeError as error:
                raise DfkError(f"{text(argument)} cannot be read as text: {error}") from error
        else:
            yield _named(argument)


def _source(path: str) -> Source:
    return Source(text(path), path)


def _named(path: str) -> Source:
    """What somebody has named, whichever form of Unicode its name has where it lies."""
    return Source(text(path), entries.in_other_form(path))


def _bad(place: str, reason: str) -> Source:
    return Source(text(place), Unreadable(text(reason)))


def _walk(top: str, left_out: Kinds) -> Iterator[Source]:
    """The images of a folder, then those of the folders in it, each sorted by name."""
    folders: list[tuple[str, frozenset]] = [(top, frozenset())]
    while folders:
        folder, above = folders.pop()
        try:
            status = os.stat(folder)
            listed = entries.listed(folder)
        except OSError as error:
            yield _bad(folder, f"cannot be searched: {error.strerror}")
            continue
        here = (status.st_dev, status.st_ino)
        if here in above:  # A link to a folder that it lies in: all there is seen already.
            continue
        inner = []
        for entry in listed:
            if entries.is_system(entry.name):
                left_out.add(entry.name)
            elif entries.is_folder(entry):
                inner.append((entry.path, above | {here}))
            # A link to nowhere is called unreadable by its suffix.
            elif entry.name.lower().endswith(SUFFIXES) or entries.is_image(entry):
                yield _source(entry.path)
            else:
                left_out.add(entry.name)
        folders += reversed(inner)


def _listed(table: str) -> Iterator[Source]:
    """The images of a table whose first line names a column `path` or `image_id`.

    A `path` starts at the CSV's folder and must not leave it; an `image_id` means
    `NAME/<image_id>.png` (or another image suffix) beside `NAME.csv`. Other columns do not
    matter.
    """
    with tables.opened(table, _COLUMNS, "surrogateescape") as reader:
        place, cells = next(_rows(table, reader), (table, []))
        header = [] if isinstance(cells, Unreadable) else [cell.strip() for cell in cells]
        column = next((name for name in _COLUMNS if name in header), None)
        if column is None:
            raise DfkError(f"{text(place)}: the first line must name a column path or image_id")
        resolve = _path_resolver(table) if column == "path" else _id_resolver(table)
        for place, cells in _rows(table, reader):
            if isinstance(cells, Unreadable):
                yield _bad(place, cells)
                continue
            value = dict(zip(header, cells, strict=False)).get(column, "").strip()
            yield resolve(value) if value else _bad(place, f"the {column} is empty")


def _rows(table: str, reader) -> Iterator[tuple[str, list[str] | Unreadable]]:
    """(place, cells) of every line that is not empty, or why they cannot be read."""
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = Unreadable(f"cannot be read as CSV: {error}")
        if cells:
            yield f"{table}:{reader.line_num}", cells


def _path_resolver(table: str) -> Callable[[str], Source]:
    folder = os.path.dirname(table)
    root = os.path.abspath(folder)

    def resolve(value: str) -> Source:
        path = os.path.join(folder, value)
        if not os.path.abspath(path).startswith(os.path.join(root, "")):
            return _bad(path, f"the path leaves the folder of {text(table)}")
        return _named(path)

    return resolve


def _id_resolver(table: str) -> Callable[[str], Source]:
    folder = os.path.splitext(table)[0]
    images = functools.cache(lambda: Images(Path(folder)))

    def resolve(value: str) -> Source:
        matches = images().named(value)
        if len(matches) == 1:
            return _source(os.fspath(matches[0]))
        what = "several files are" if matches else "there is no image"
        return _bad(os.path.join(folder, value), f"{what} {text(value)} in {folder}")

    return resolve


def _from_stdin(stdin: BinaryIO) -> Iterator[Source]:
    start = stdin.peek(2**16)
    if entries.starts_image(start):
        yield Source(STDIN, stdin.read())
        return
    separator = b"\0" if b"\0" in start else b"\n"
    for path in _split(stdin, separator):
        path = path.rstrip(b"\r") if separator == b"\n" else path
        if path:
            yield _named(os.fsdecode(path))


def _split(file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    rest = b""
    while block := file.read1(2**16):
        *whole, rest = (rest + block).split(separator)
        yield from whole
    yield rest
