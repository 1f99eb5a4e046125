"""Files that appear whole or not at all, and where dfk may keep things of its own."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has no such lock; nothing keeps two processes apart there.
    fcntl = None

from dfk.errors import DfkError, UsageError

# A folder of this name holds what is being written; nothing else has such a name.
SCRATCH = ".dfk-tmp-"


class DamagedError(DfkError):
    """A file is not what dfk writes under its name; the message says which, and what is wrong."""


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A hidden folder in `parent` for what is not whole yet; in the end it goes with all in it.

    It is locked for as long as it is in use. The system lifts the lock of a process that is
    killed, and `sweep` knows by that what has been left behind.

    Raises:
        OSError: if `parent` cannot be written.
    """
    _sweep_once(os.path.abspath(parent))
    folder, descriptor = _new_scratch(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def sweep(parent: Path) -> None:
    """Deletes what processes that were killed had begun to write in `parent`."""
    if fcntl is None:
        return
    for folder in Path(parent).glob(f"{SCRATCH}*"):
        # It is in use, or another process sweeps, too; or the file system has no locks.
        with contextlib.suppress(OSError, UsageError), locked(folder):
            shutil.rmtree(folder)


@functools.cache
def _sweep_once(parent: str) -> None:
    sweep(Path(parent))


def _new_scratch(parent: Path) -> tuple[Path, int | None]:
    """A new folder, and what holds its lock; None where there are no locks."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=SCRATCH))
        if fcntl is None:
            return folder, None
        descriptor = None
        # Whoever sweeps just now takes a folder that is not locked yet for one left behind.
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():
            return folder, descriptor
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes off a folder or file; the system lifts it when the process ends.

    Raises:
        UsageError: if another process holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another process is at work on {path}") from error
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A path to write a file to, which becomes `path` once it is whole.

    A reader, or a crash, sees the old file or the new one.

    Raises:
        OSError: if the folder cannot be written; the old file then stands untouched.
    """
    path = Path(path)
    with scratch(path.parent) as folder:
        # Inside the scratch folder, which is private, it gets the permissions of the umask.
        yield folder / path.name
        _sync(folder / path.name)
        os.replace(folder / path.name, path)
        _sync(path.parent)


def write_atomic(path: Path, data: str | bytes) -> None:
    """Writes `data` to `path` so that a reader, or a crash, sees the old file or the new one.

    Of names that are not UTF-8, the bytes that do not fit are escaped.

    Raises:
        OSError: if the folder cannot be written; the old file then stands untouched.
    """
    with draft(path) as whole:
        whole.write_bytes(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON; NaN and infinities are refused, JSON has none."""
    write_atomic(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object as `write_json` writes it.

    Raises:
        DamagedError: if there is none in the file.
        OSError: if the file cannot be read.
    """
    if not path.is_file():
        raise DamagedError(f"{path} is damaged: it is no file")
    try:
        value = json.loads(path.read_bytes(), parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise DamagedError(f"{path} is damaged: it holds no JSON object")
    return value


def _refused(constant: str) -> float:
    raise ValueError(f"it holds {constant}, which JSON has not")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refused(text)


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


def cache_dir() -> Path:
    """The folder for what can be made again: `$XDG_CACHE_HOME/dfk`, else `~/.cache/dfk`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfk"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
