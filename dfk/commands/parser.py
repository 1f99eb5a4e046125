"""How the commands read their arguments: argparse, with usage errors as one line."""

from __future__ import annotations

import argparse
import csv
import itertools
import os

from dfk.errors import UsageError
from dfk.text import nfc

_MANY = 1_000_000
MODEL_HELP = "a run's folder, a .keras file, a SavedModel's folder, or a model of dfk's: unibuc"


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows a docstring as it is, and the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if "default" in text or not action.default or action.default is argparse.SUPPRESS:
            return text
        return f"{text} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that shows a docstring as help and raises `UsageError`s.

    In an option's name - is as good as _, which is how all of them are written here.
    """

    def __init__(self, command: str, doc: str):
        super().__init__(
            prog=f"dfk {command}",
            description=doc,
            formatter_class=_Help,
            allow_abbrev=False,
        )

    def add_format(self, *names: str) -> None:
        """Adds --format, a choice of `names`; the first is the default."""
        self.add_argument("--format", choices=names, default=names[0], help="table: for people")

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's, which `parse_args` calls."""
        ours = list(itertools.takewhile(lambda argument: argument != "--", args))
        return super().parse_known_args([*map(_underscored, ours), *args[len(ours) :]], namespace)

    def error(self, message: str):
        raise UsageError(f"{message}; {self.prog} --help explains it")


def _underscored(argument: str) -> str:
    name, separator, value = argument.partition("=")
    if not name.startswith("--"):
        return argument
    return f"--{name[2:].replace('-', '_')}{separator}{value}"


def model(text: str) -> str:
    """What `dfk.load` takes, if something is there: seen before TensorFlow is imported."""
    from dfk.runs import locate  # Here, where a Ctrl-C is minded

    try:
        locate.find_model(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def folder(text: str) -> str:
    """A folder that is there."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return text


def data_set(text: str) -> str:
    """A folder that is there, or `demo` for the embedded set."""
    return text if text == "demo" else folder(text)


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
