"""The recipes that come with dfk: the flag files of `configs/`, in a wheel `dfk/recipes/`."""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path
from typing import NamedTuple

from dfk.config.values import shown
from dfk.errors import UsageError

_PACKAGE = Path(__file__).parents[1]
# In an installation, and in a checkout; pyproject.toml makes the one of the other.
_FOLDERS = (_PACKAGE / "recipes", _PACKAGE.parent / "configs")
_SUFFIX = ".flags"


class Recipe(NamedTuple):
    """What the head of a flag file says, a line `# name: text` each.

    Attributes:
        name: the stem of its file.
        what: what it trains.
        hardware: what that was measured on.
        minutes: how many it took.
        score: its accuracy, on the validation split of UniBuc if `what` says nothing else.
    """

    name: str
    what: str = ""
    hardware: str = ""
    minutes: str = ""
    score: str = ""


def recipes() -> list[Recipe]:
    """All recipes, by name."""
    return [_read(path) for path in sorted(_folder().glob(f"*{_SUFFIX}"))]


def path(name: str, where: str) -> Path:
    """The flag file of a recipe; `where` is said of an unknown one.

    Raises:
        UsageError: if there is none of that name.
    """
    names = [recipe.name for recipe in recipes()]
    if name in names:
        return _folder() / f"{name}{_SUFFIX}"
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ";"
    raise UsageError(f"{where}: no recipe {shown(name)!r}{hint} dfk recipes lists them")


def _folder() -> Path:
    return next(filter(Path.is_dir, _FOLDERS), _FOLDERS[0])


def _read(path: Path) -> Recipe:
    with path.open(encoding="utf-8") as file:
        pairs = (line.removeprefix("#").partition(":") for line in file)
        head = itertools.takewhile(lambda pair: pair[0].strip() in Recipe._fields[1:], pairs)
        facts = {name.strip(): text.strip() for name, _, text in head}
    return Recipe(path.stem, **facts)
