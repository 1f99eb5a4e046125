"""What is said at the end of images that could not be read, and of files that are no images."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dfk.errors import DfkError
from dfk.text import printable


def summary(images: int, bad: int, arguments: Sequence[str], kinds="", left_out="") -> int:
    """Says on stderr what has no answer; returns the exit code.

    Args:
        images: how many there were.
        bad: how many of them could not be read.
        arguments: what the images were found in.
        kinds: of those that could not be read, as `dfk.data.entries.Kinds`.
        left_out: of the files that are no images, the same.

    Raises:
        DfkError: if there was no image.
    """
    if not images:
        what = f"there is no image in {', '.join(arguments)}"
        raise DfkError(f"{what}; left out: {left_out}" if left_out else what)
    if bad:
        of = f" ({kinds})" if kinds else ""
        _say(f"{bad} of {images} images could not be read{of}; their rows say why")
    if left_out:
        _say(f"left out what is no image: {left_out}")
    return 1 if bad else 0


def _say(message: str) -> None:
    print(printable(f"dfk: {message}"), file=sys.stderr)
