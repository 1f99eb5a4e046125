"""What there is to score, as Parquet files: those that are given, or lists of the images."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from absl import logging

from dfk.data import sources
from dfk.data.entries import Kinds
from dfk.data.sources import Source, Unreadable
from dfk.errors import UsageError

PARQUET = ".parquet"
_LISTED = pa.schema([("path", pa.string()), ("file", pa.binary()), ("error", pa.string())])


def parquet_files(inputs: Sequence[str]) -> dict[str, int]:
    """The Parquet files that are given, and the rows of each; none where images are.

    Raises:
        UsageError: if there are images, too, or a file is no table of images.
    """
    given = [os.path.abspath(x) for x in inputs if x.lower().endswith(PARQUET)]
    if given and len(given) < len(inputs):
        raise UsageError("Parquet files and other images in one call; make two of it")
    return {file: _check_parquet(file) for file in given}


def parts_of(
    inputs: Sequence[str], given: Mapping[str, int], list_folder: Path, part_rows: int
) -> list[list[str]]:
    """The Parquet files of each part: those given, or the list of what is given.

    Args:
        inputs: as `sources.find` takes them, of no interest beside Parquet files.
        given: of `parquet_files`.
        list_folder: where the list is written, unless an earlier call has.
        part_rows: the rows of a part.

    Raises:
        UsageError: if an image comes from stdin.
    """
    if not given:
        return [[os.fspath(file)] for file in _listed(inputs, list_folder, part_rows)]
    parts, rows = [], part_rows
    for file, count in given.items():
        if rows >= part_rows:
            parts.append([])
            rows = 0
        rows += count
        parts[-1].append(file)
    return parts


def _check_parquet(file: str) -> int:
    """The rows of a Parquet file that has the columns; reads no more than its end."""
    try:
        table = pa.parquet.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{file} cannot be read as Parquet: {error}") from error
    with table:
        names = table.schema_arrow.names
        if not {"path", "bytes"} <= set(names):
            there = ", ".join(names)
            raise UsageError(f"{file} needs the columns path and bytes; it has {there}")
        return table.metadata.num_rows


def _listed(inputs: Sequence[str], folder: Path, part_rows: int) -> list[Path]:
    """Writes down what there is to score, once: a call that goes on finds the same list."""
    if not folder.is_dir():
        aside = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        left_out = Kinds()
        found = sources.find(inputs, left_out=left_out)
        for number, some in enumerate(_chunks(found, part_rows)):
            table = pa.Table.from_pylist(list(map(_entry, some)), _LISTED)
            pa.parquet.write_table(table, aside / f"{number:05}{PARQUET}")
        aside.rename(folder)
        if left_out:
            logging.warning("Left out what is no image: %s", left_out)
    return sorted(folder.iterdir())


def _entry(source: Source) -> dict[str, Any]:
    if isinstance(source.image, bytes):
        raise UsageError("an image from stdin cannot go to --engine=ray; a list of paths can")
    if isinstance(source.image, Unreadable):
        return {"path": source.name, "error": str(source.image)}
    return {"path": source.name, "file": os.fsencode(os.path.abspath(source.image))}


def _chunks(items: Iterable, length: int) -> Iterator[list]:
    items = iter(items)
    while some := list(itertools.islice(items, length)):
        yield some
