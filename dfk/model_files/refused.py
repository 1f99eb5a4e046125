"""Why a file is not loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dfk.errors import UsageError


class Refused(Exception):  # noqa: N818 -- it is none until a user hears of it
    """What is wrong with a file; who knows which file it is makes an error of it.

    Args:
        reason: what is wrong.
        advice: what to do.
    """

    def __init__(self, reason: object, advice: str = "take another copy of it"):
        super().__init__(str(reason))
        self.advice = advice


class Unsafe(Refused):
    """It names what could run code."""


@contextlib.contextmanager
def told(path: Path, what: str) -> Iterator[None]:
    """Makes of a `Refused` what a user is told: the file, what it is not, why, what to do.

    Raises:
        UsageError: instead of `Refused`.
    """
    try:
        yield
    except Unsafe as error:
        raise UsageError(f"{path} is refused, it could run code: {error}") from error
    except Refused as error:
        raise UsageError(f"{path} {what}: {error}; {error.advice}") from error


def reason(error: BaseException) -> str:
    """What an error of a library says, as one line of bounded length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 200 else f"{line[:200]}..."
