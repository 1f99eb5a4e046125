"""How much a file from anybody may become when it is loaded."""

from __future__ import annotations

from pathlib import Path

from dfk.model_files.refused import Refused
from dfk.system import hardware

# Weights hardly compress: dfk's compact files, the densest there are, unpack to 2.2 of their
# size. Bombs unpack to a thousand and more.
_ANYWAY, _EXPANSION = 64 * 2**20, 16


def check_regular(path: Path) -> None:
    """Makes sure that opening a path neither waits for ever nor reads a device.

    Raises:
        Refused: if it is no regular file.
        OSError: if it is not there.
    """
    if not path.is_file():
        path.stat()  # Raises what the system says of a missing one
        raise Refused("it is a folder" if path.is_dir() else "it is no regular file")


def unpacked(path: Path) -> int:
    """Bytes that what a file holds may take, unpacked; also of its weights as arrays."""
    return _ANYWAY + _EXPANSION * path.stat().st_size


def check_unpacked(size: int, path: Path) -> None:
    """Makes sure that `size` bytes may come out of a file, and that memory has room for them.

    Raises:
        Refused: if not.
    """
    claims = f"its {path.stat().st_size / 2**20:.1f} MiB would unpack to {size / 2**20:,.0f} MiB"
    if size > unpacked(path):
        raise Refused(f"{claims}, as no file of dfk does")
    if size > hardware.available_bytes() / 2:
        raise Refused(f"{claims}, more than half of the memory available")
