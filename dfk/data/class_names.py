"""Which names classes may have: those that every table, flag and screen can hold and tell apart."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from dfk.errors import UsageError
from dfk.runs.columns import ANSWERS, RESERVED
from dfk.text import nfc

LONGEST = 200  # Characters
# Unicode's marks that turn the text after them round.
_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def faults(names: Sequence[str]) -> list[tuple[str, str]]:
    """(name, what is wrong with it) of each class that a model cannot be made for."""
    alike = Counter(map(_folded, names))
    checked = [(name, _fault(name, alike)) for name in names]
    return [(name, what) for name, what in checked if what]


def renamed(names: Sequence[str], given: Mapping[str, str]) -> tuple[str, ...]:
    """Class names in their order, some of them by the name that is `given` for them, in NFC.

    Raises:
        UsageError: if a name is given for no class, or no class can have it.
    """
    if absent := given.keys() - set(map(nfc, names)):
        raise UsageError(
            f"--class_names names {', '.join(sorted(absent))}; the classes are {', '.join(names)}"
        )
    new = tuple(given.get(nfc(name), name) for name in names)
    if len(set(new)) < len(new):
        raise UsageError(f"--class_names: two of {', '.join(new)} have one name")
    for name, what in faults(new) if given else ():
        raise UsageError(f"--class_names: the class {name!r} {what}")
    return new


def _fault(name: str, alike: Counter[str]) -> str:
    if any("\ud800" <= c <= "\udfff" for c in name):
        return "is not UTF-8"
    if any(map(_disturbs, name)):
        return "holds control characters, or such as turn text round"
    if name != name.strip() or not name:
        return "begins or ends with a blank"
    if len(name) > LONGEST:
        return f"has {len(name)} characters, {LONGEST} are the most"
    if (key := _folded(name)) in ANSWERS:
        return "is an answer of dfk's: that an image is like no class, or its label does not last"
    if key in RESERVED:
        return "is the name of a column in dfk's tables"
    return "differs from another class in case or in Unicode form only" if alike[key] > 1 else ""


def _folded(name: str) -> str:
    return nfc(nfc(name).casefold())


def _disturbs(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(character) in _TURNING
    )
