"""Command lines and flag files: the flags in their order, with the place where each was given."""

from __future__ import annotations

import difflib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dfk.config import recipes
from dfk.config.experiment import every_knob
from dfk.config.values import FilePath, shown
from dfk.errors import UsageError

# What a run leaves; the name is `dfk.runs`' too.
_RUN_FILE = "config.flags"

# What names a file of flags: by its path, and by its name among dfk's.
_FILES = ("flagfile", "recipe")

# Bytes of a flag file; what is longer is something else.
_LONGEST = 2**20


class Place(NamedTuple):
    """Where a flag was given: the command line, or a line of a file.

    Attributes:
        depth: 0 on the command line, 1 in a flag file named there, and so on.
    """

    file: str = ""
    line: int = 0
    depth: int = 0

    @property
    def of_run(self) -> bool:
        """Whether a run has left it; earlier versions wrote knobs of other models, too."""
        return Path(self.file).name == _RUN_FILE

    def __str__(self) -> str:
        return f"{shown(self.file)}, line {self.line}: " if self.file else ""


class Given(NamedTuple):
    """A flag as it was given."""

    name: str
    text: str
    place: Place


class _Word(NamedTuple):
    text: str
    place: Place


def read(arguments: Sequence[str]) -> list[Given]:
    """The flags of a command line, those of a file at the place of its `--flagfile` or `--recipe`.

    Raises:
        UsageError: for words that are no flag, unknown flags, one without its value, or a flag
            file that cannot be read.
    """
    return list(_read([_Word(argument, Place()) for argument in arguments], ()))


def stem(arguments: Sequence[str]) -> str:
    """The stem of the last file of flags among the arguments themselves, "" without one."""
    last = ""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, separator, value = argument.lstrip("-").partition("=")
        if name in _FILES and argument.startswith("-"):
            last = Path(value if separator else following).stem
    return last


def _read(words: Sequence[_Word], opened: tuple[Path, ...]) -> Iterator[Given]:
    """Args:
    opened: the files that are being read.
    """
    rest = iter(words)
    for word in rest:
        name, text = _split(word)
        if text is None:
            text = _next(rest, name, word.place)
        if name in _FILES:
            yield from _read_file(_file(name, text, word.place), word.place, opened)
        else:
            yield Given(name, text, word.place)


def _split(word: _Word) -> tuple[str, str | None]:
    """The name of a flag, and its value; None where that is the next word."""
    name, separator, text = word.text.removeprefix("-").removeprefix("-").partition("=")
    name = name.replace("-", "_")
    if not word.text.startswith("-") or not name:
        raise UsageError(
            f"{word.place}unexpected argument {shown(word.text)!r}; flags look like --name=value"
        )
    if _is_switch(name) and not separator:
        return name, "true"
    denied = name.removeprefix("no").removeprefix("_")
    if _is_switch(denied) and not separator:
        return denied, "false"
    if name not in every_knob() and name not in _FILES:
        near = difflib.get_close_matches(name, [*every_knob(), *_FILES], n=1)
        hint = f"; did you mean --{near[0]}?" if near else ""
        raise UsageError(f"{word.place}there is no flag --{shown(name)}{hint}")
    return name, text if separator else None


def _is_switch(name: str) -> bool:
    return any(knob.is_switch for knob in every_knob().get(name, ()))


def _next(rest: Iterator[_Word], name: str, place: Place) -> str:
    word = next(rest, None)
    if word is None or word.text.startswith("--"):
        raise UsageError(f"{place}--{name}: its value is missing")
    return word.text


def _file(name: str, text: str, place: Place) -> str:
    where = f"{place}--{name}={shown(text)}"
    return str(recipes.path(text, where)) if name == "recipe" else found(text, place, where)


def _read_file(name: str, place: Place, opened: tuple[Path, ...]) -> Iterator[Given]:
    path, where = real(name), f"{place}--flagfile={shown(name)}"
    if path in opened:
        raise UsageError(f"{where}: this file includes itself")
    words = [
        _Word(line.strip(), Place(name, number, place.depth + 1))
        for number, line in enumerate(_text(path, where).split("\n"), start=1)
        if line.strip() and not line.lstrip().startswith(("#", "//"))
    ]
    yield from _read(words, (*opened, path))


def found(name: str, place: Place, where: str) -> str:
    """Where a flag file is that another names: beside that, else in the working folder.

    Args:
        name: as it was given.
        place: where it was given; on the command line, nothing is beside it.
        where: said of a name that cannot be one.
    """
    try:
        if not FilePath().read(name):
            raise ValueError("name a flag file")
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None
    name = os.path.expanduser(name)
    beside = os.path.join(os.path.dirname(place.file), name)
    return beside if os.path.exists(beside) else name


def real(name: str) -> Path:
    """The path of a flag file, the same for all of its names."""
    return Path(os.path.realpath(name))


def _text(path: Path, where: str) -> str:
    if path.is_dir():
        raise UsageError(f"{where}: this is a folder, not a flag file")
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST or b"\0" in content:
            raise ValueError
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from error
    except ValueError:
        raise UsageError(f"{where}: this is no text of flags, one a line") from None
