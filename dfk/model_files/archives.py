"""Zip files from anybody, `.keras` and `.skops` files are some: what is unpacked has bounds."""

from __future__ import annotations

import contextlib
import lzma
import zipfile
import zlib
from collections.abc import Container, Iterator
from pathlib import Path

from dfk.model_files import bounds
from dfk.model_files.refused import Refused, reason

# What Python's zipfile and its decompressors raise for damaged or foreign files.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # An encrypted entry; NotImplementedError is one, too
    ValueError,
)

# Of compressed bytes, unpacked at once. zipfile unpacks all that it takes of LZMA and bzip2,
# whatever size the entry claims; these bytes become 30 MB of the former, 80 of the latter.
_PIECE = 4096


@contextlib.contextmanager
def opened(path: Path, names: Container[str] | None = None) -> Iterator[zipfile.ZipFile]:
    """Opens a zip file of which all entries together are no more than `bounds.unpacked` allows.

    Only `read` may read of it.

    Args:
        path: of the file.
        names: what its entries may be called; None for any plain name.

    Raises:
        Refused: if it is no zip file, holds something else, or too much.
    """
    bounds.check_regular(path)
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise Refused(reason(error)) from error
    with archive:
        _check(archive, path, names)
        yield archive


def read(archive: zipfile.ZipFile, name: str) -> bytes:
    """Unpacks one entry, no more than it claims to be, and checks its checksum.

    Raises:
        Refused: if it is not there or damaged.
    """
    data = bytearray()
    try:
        with archive.open(name) as entry:
            while piece := entry.read(_PIECE):
                data += piece
        if len(data) != archive.getinfo(name).file_size:
            raise EOFError("it is cut off")
    except KeyError as error:
        raise Refused(f"it holds no {name}") from error
    except DAMAGED as error:
        raise Refused(f"{name}: {reason(error)}") from error
    return bytes(data)


def _check(archive: zipfile.ZipFile, path: Path, names: Container[str] | None) -> None:
    entries = archive.infolist()
    seen = [entry.filename for entry in entries]
    for name in seen:
        plain = name in names if names is not None else name == Path(name).name
        if not plain or seen.count(name) > 1:
            raise Refused(f"it holds {name!r}, which no such file of dfk does")
    bounds.check_unpacked(sum(entry.file_size for entry in entries), path)
