"""Files that appear whole or not at all, and where dfk may keep things of its own."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfk.errors import UsageError


def write_atomic(path: Path, data: str | bytes) -> None:
    """Writes `data` to `path` so that a reader, or a crash, sees the old file or the new one.

    Of names that are not UTF-8, the bytes that do not fit are escaped.

    Raises:
        OSError: if the folder cannot be written; the old file then stands untouched.
    """
    path = Path(path)
    data = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; these are for everyone the umask allows.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON; NaN and infinities are refused, JSON has none."""
    write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a header and rows as CSV with Unix line ends."""
    write_atomic(path, "".join(map(csv_line, [header, *rows])))


def csv_line(cells: Sequence[Any]) -> str:
    """A row of CSV with its line end."""
    # Where nothing else calls for quotes, the writer forgets those of a carriage return.
    bare = any("\r" in str(cell) for cell in cells)
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerow(cells)
    return text.getvalue()


def check_free(folder: Path, marks: Mapping[str, str]) -> None:
    """Refuses to write over what dfk did not write.

    Args:
        folder: where files will be written; need not be there.
        marks: patterns of the files' names, each with what stands near the start of dfk's own.

    Raises:
        UsageError: naming a file that lacks its mark.
    """
    for pattern, mark in marks.items():
        for path in sorted(folder.glob(pattern)):
            if not path.is_file() or mark.encode() not in _start(path):
                raise UsageError(f"{path} is not of dfk's making; choose another --output_dir")


def _start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(2**16)


def cache_dir() -> Path:
    """The folder for what can be made again: `$XDG_CACHE_HOME/dfk`, else `~/.cache/dfk`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfk"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
