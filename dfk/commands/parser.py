"""How the commands read their arguments: argparse, with usage errors as one line."""

from __future__ import annotations

import argparse
import csv

from dfk.errors import UsageError
from dfk.text import nfc

_MANY = 1_000_000
MODEL_HELP = "a run's folder, a .keras file, a SavedModel's folder, or a model of dfk's: unibuc"


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that shows a docstring as help and raises `UsageError`s."""

    def __init__(self, command: str, doc: str):
        super().__init__(
            prog=f"dfk {command}",
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str):
        raise UsageError(f"{message}; {self.prog} --help explains it")


def share(text: str) -> float:
    """A number in 0..1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not within 0..1")
    return value


def positive(text: str) -> int:
    """A whole number from 1 to a million, which is more than anything here can be."""
    value = int(text)
    if not 1 <= value <= _MANY:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to {_MANY:,}")
    return value


def pairs(text: str) -> dict[str, str]:
    """`a:x,b:y` (or with `=`) as a dictionary; `"a,b:x"` in quotes where a name has a comma.

    Names are in NFC, as those of the data are.
    """
    try:
        (items,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL:CLASS,...") from error
    meanings = {}
    for item in items or [""]:
        separator = "=" if "=" in item else ":"
        name, _, value = item.rpartition(separator)
        if not name or not value:
            raise argparse.ArgumentTypeError(f"{item!r} is not LABEL:CLASS")
        meanings[nfc(name)] = nfc(value)
    return meanings
