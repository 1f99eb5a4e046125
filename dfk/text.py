"""Text that came from others: what a name holds never reaches a terminal raw, nor ends a writer."""

from __future__ import annotations

import unicodedata
from typing import TextIO

_LONGEST_NAME = 255  # Bytes that a file's name may have


def valid(text: str) -> str:
    """A name as text that any file can hold: bytes of it that are no UTF-8 are escaped."""
    return text.encode(errors="backslashreplace").decode()


def nfc(text: str) -> str:
    """A name as it is compared: a letter and its accent may be written as one or as two."""
    return unicodedata.normalize("NFC", text)


def sentence(text: str) -> str:
    """Words that begin a line."""
    return text[:1].upper() + text[1:]


def shortened(name: str, longest: int = 16) -> str:
    """A name of at most `longest` characters, without its middle where it has more."""
    # A line break would move the labels below it, and matplotlib refuses lone surrogates.
    name = " ".join(name.encode(errors="replace").decode().split())
    half = longest // 2  # names of generators, and of runs, differ at their ends
    return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"


def printable(text: str) -> str:
    """Text as one line that moves no cursor, hides nothing and turns nothing round.

    Control characters, line ends, marks of direction and what is no text are escaped.
    """
    return "".join(map(escaped, text)) if not text.isprintable() else text


def shown(text: str, stream: TextIO) -> str:
    """A cell of a table: `printable` on a terminal, exact in a file or a pipe."""
    return printable(text) if stream.isatty() else text


def file_name(prefix: str, name: str, suffix: str) -> str:
    """A file's name made of text, which is cut where the system would not take all of it."""
    room = _LONGEST_NAME - len(f"{prefix}{suffix}".encode())
    name = printable(name).replace("/", "_").encode()[:room].decode(errors="ignore")
    return f"{prefix}{name}{suffix}"


def escaped(character: str) -> str:
    """One character, or its escape where `printable` lets it not stand."""
    if character.isprintable() or unicodedata.category(character) == "Zs":  # A kind of blank
        return character
    return character.encode("unicode_escape").decode()
