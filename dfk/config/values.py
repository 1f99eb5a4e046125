"""What the text of a flag may say: each kind of value reads it, and says what it allows."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from dfk.text import nfc

# What file systems take, in bytes: a name, and a whole path.
_LONGEST_NAME, _LONGEST_PATH = 255, 4000

# Room in a name for what a run's files and folders add to its own.
_ROOM = 55

# Characters of a value that an error message shows.
_SHOWN = 200


class Value(Protocol):
    """A kind of value."""

    allowed: str

    def read(self, text: str) -> Any:
        """The value of a text.

        Raises:
            ValueError: saying what is allowed.
        """


class Switch:
    """True or false."""

    allowed = "true or false"

    def read(self, text: str) -> bool:
        """The value of `true`, `false`, `1`, `0`."""
        value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
        if value is None:
            raise ValueError(self.allowed)
        return value


class Choice:
    """One of some words."""

    def __init__(self, *words: str):
        self._words, self.allowed = words, f"one of {', '.join(words)}"

    def read(self, text: str) -> str:
        """The word itself."""
        if text not in self._words:
            raise ValueError(self.allowed)
        return text


class Number:
    """A finite number from `low` to `high`; also 0 where that means none."""

    def __init__(
        self, kind: type[int] | type[float], low: float, high: float, *, or_none: bool = False
    ):
        self._kind, self._low, self._high, self._or_none = kind, low, high, or_none
        what = "a whole number" if kind is int else "a number"
        self.allowed = f"{what} from {low} to {high}{', or 0 for none' if or_none else ''}"

    def read(self, text: str) -> int | float:
        """The number; NaN is none."""
        try:
            value = self._kind(text)
        except (ValueError, OverflowError):
            raise ValueError(self.allowed) from None
        if not (self._low <= value <= self._high or (self._or_none and value == 0)):
            raise ValueError(self.allowed)
        return value


class Text:
    """A line of text, as a flag file holds it."""

    allowed = "a line of UTF-8 text without control characters, not within blanks"

    def read(self, text: str) -> str:
        """The text itself."""
        if text != text.strip() or not _is_plain(text):
            raise ValueError(self.allowed)
        return text


class FilePath(Text):
    """The path of a file or folder, or its name."""

    def read(self, text: str) -> str:
        """The path itself."""
        sizes = [len(part.encode()) for part in Path(super().read(text)).parts]
        if max(sizes, default=0) > _LONGEST_NAME or sum(sizes) > _LONGEST_PATH:
            raise ValueError(
                f"names of at most {_LONGEST_NAME} bytes, {_LONGEST_PATH} in all; this is longer"
            )
        return text


class Name(Text):
    """The name of a folder that dfk makes."""

    allowed = "it must be a name, not a path, and begin with a letter or a digit"

    def read(self, text: str) -> str:
        """The name itself; an empty one is left to be chosen."""
        if not text:
            return text
        separators = {"/", os.sep, os.altsep or "/"}
        if not _is_plain(text) or text != text.strip() or separators & set(text):
            raise ValueError(self.allowed)
        if not (text[0].isalnum() or text[0] == "_"):
            raise ValueError(self.allowed)
        if len(text.encode()) > _LONGEST_NAME - _ROOM:
            raise ValueError(f"at most {_LONGEST_NAME - _ROOM} bytes; this is longer")
        return text


class Class(Text):
    """The name of a class, in the form that names of the data have."""

    def read(self, text: str) -> str:
        """The name in NFC."""
        return nfc(super().read(text))


class ClassWeight:
    """A class and how much its images count."""

    allowed = "class:weight, as in 0:1.9,4:1.7"

    def read(self, text: str) -> tuple[str, float]:
        """The class, and its weight."""
        name, _, weight = text.rpartition(":")
        number = Number(float, 1e-6, 1e6)
        try:
            if name:
                return nfc(name), number.read(weight)
        except ValueError:
            pass
        raise ValueError(f"{text!r} is not {self.allowed}, with {number.allowed}")


class ClassName:
    """A class of the data and what it is called instead."""

    allowed = "label:name, as in 0:stylegan,1:vae"

    def read(self, text: str) -> tuple[str, str]:
        """The label, and the name."""
        label, _, name = text.rpartition(":")
        if not label or not name:
            raise ValueError(f"{text!r} is not {self.allowed}")
        return nfc(label), nfc(name)


class ClassImages:
    """A class and the folder that holds its images."""

    allowed = "class:folder, as in stylegan:my/images"

    def read(self, text: str) -> tuple[str, str]:
        """The class, in NFC, and the folder."""
        name, _, folder = text.partition(":")
        if not name or not folder:
            raise ValueError(f"{text!r} is not {self.allowed}")
        return nfc(name), FilePath().read(folder)


class Several:
    """Values of one kind with commas between them; they stay text, read where they are used.

    Args:
        item: the kind of each.
        allowed: what is said of all of them together.
        count: how many there must be; None for any number.
        check: refuses values that do not fit each other.
    """

    def __init__(
        self,
        item: Value,
        allowed: str = "",
        *,
        count: int | None = None,
        check: Callable[[Sequence[Any]], bool] = lambda values: True,
    ):
        self._item, self._count, self._check = item, count, check
        self.allowed = allowed or f"with commas between them, each {item.allowed}"

    def read(self, text: str) -> tuple[str, ...]:
        """The text of each."""
        items = split(text)
        try:
            values = [self._item.read(item) for item in items]
        except ValueError as error:
            # What all allow says it of one; an item of many parts says more itself.
            own = str(error) == self._item.allowed
            raise ValueError(self.allowed if own else str(error)) from None
        if (self._count is not None and len(values) != self._count) or not self._check(values):
            raise ValueError(self.allowed)
        return items


def split(text: str) -> tuple[str, ...]:
    """The items of a list; one that holds a comma stands in quotes, as in CSV."""
    if not _is_plain(text):
        raise ValueError(Text.allowed)
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(f"items with commas between them: {error}") from None
    return tuple(item.strip() for item in rows[0]) if rows else ()


def write(value: Any) -> str:
    """The text that `read` makes this value of."""
    if not isinstance(value, tuple):
        return str(value)
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(value)
    # CSV tells a row of one empty item from no row.
    return row.getvalue() if value else ""


def shown(text: str) -> str:
    """A value in an error message: in one short line, whatever it holds."""
    if not _is_plain(text):
        text = ascii(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _is_plain(text: str) -> bool:
    """Whether it is one line of characters that UTF-8 has."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)
