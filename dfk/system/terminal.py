"""The streams that people read: what a name holds never reaches a terminal raw."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from dfk.text import escaped


class Escaped:
    """A stream of lines for people: what `printable` escapes, but for line ends and tabs."""

    def __init__(self, stream: TextIO):
        # By this name tqdm knows what it writes to, whatever is around it.
        self._wrapped = stream

    def write(self, text: str) -> int:
        """Writes `text`; returns its length."""
        self._wrapped.write("".join(c if c in "\n\t" else escaped(c) for c in text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes each of `lines`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def raw(stream: TextIO) -> TextIO:
    """The stream below an `Escaped` one, for what draws on a terminal."""
    return stream._wrapped if isinstance(stream, Escaped) else stream


@contextlib.contextmanager
def for_people() -> Iterator[None]:
    """Escapes what goes to stderr, and to a stdout that is a terminal.

    Elsewhere stdout is exact, as far as its encoding goes: what that lacks is escaped.
    """
    # Without one, as after `>&-`, what is written goes nowhere.
    before = (sys.stdout or open(os.devnull, "w"), sys.stderr or open(os.devnull, "w"))  # noqa: SIM115
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = Escaped(before[0]) if before[0].isatty() else before[0]
    sys.stderr = Escaped(before[1])
    during = sys.stdout, sys.stderr
    yield
    # After an exception they stay: its trace may hold names, too.
    if sys.stdout is during[0]:
        sys.stdout = before[0]
    if sys.stderr is during[1]:
        sys.stderr = before[1]
