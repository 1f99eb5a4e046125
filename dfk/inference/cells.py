"""What the cells of a column of answers hold: as text, in JSON, on a terminal, and read again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dfk.runs.columns import UNKNOWN, UNSURE
from dfk.text import printable

# How far a model may be from its own earlier answer, which other batches computed.
SAME = 1e-3
_NUMBER = ">{}.3f"
# Characters that a table keeps for a text; a longer one pushes the path aside.
_WIDEST = 24


class Cells:
    """A kind of value, and the cells that it takes: by default one, of the value itself."""

    is_number = False

    def heads(self, name: str) -> list[str]:
        """What stands above the cells of a column of this name."""
        return [name]

    def flat(self, value: Any) -> list[Any]:
        """The cells of a value: each a text or a float32."""
        return [value]

    def json(self, value: Any) -> Any:
        """A value as JSON can hold it."""
        return value

    def specs(self, name: str) -> list[str]:
        """How a terminal shows the cells, as `format` takes it."""
        raise NotImplementedError

    def read(self, cells: Sequence[str]) -> Any:
        """The value that cells of CSV stand for.

        Raises:
            ValueError: if they stand for none; so does `read_json`.
        """
        return cells[0]

    def read_json(self, value: Any) -> Any:
        """The value that was written as JSON."""
        return value

    def may_hold(self, text: str) -> bool:
        """Whether a cell of CSV may hold a text."""
        return True

    def agree(self, value: Any, expected: Any) -> bool:
        """Whether a value that was read is another one."""
        return np.array_equal(value, expected)


class Text(Cells):
    """A text of any kind, perhaps empty."""

    def specs(self, name: str) -> list[str]:
        return [f"<{_WIDEST}"]

    def read_json(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("a row has no text")
        return value


class OneClass(Cells):
    """The name of one of the classes, `unknown` or `unsure`."""

    def __init__(self, class_names: Sequence[str]):
        self._names = (*class_names, UNKNOWN, UNSURE)

    def specs(self, name: str) -> list[str]:
        return [f"<{max(map(len, [*map(printable, self._names), name]))}"]

    def read(self, cells: Sequence[str]) -> str:
        return self.read_json(cells[0])

    def read_json(self, value: Any) -> str:
        if value not in self._names:
            raise ValueError("a row has another label")
        return value

    def may_hold(self, text: str) -> bool:
        return text in ("", *self._names)


class Number(Cells):
    """A number, float32."""

    is_number = True

    def json(self, value: np.float32) -> float:
        return float(str(value))  # As short as it is in CSV

    def specs(self, name: str) -> list[str]:
        return [_NUMBER.format(len(name))]

    def read(self, cells: Sequence[str]) -> np.float32:
        return np.float32(cells[0])

    def read_json(self, value: Any) -> np.float32:
        return np.float32(value)

    def may_hold(self, text: str) -> bool:
        return re.fullmatch(r"[0-9.e+-]*", text) is not None


class NumberPerClass(Number):
    """A probability for each class, float32 [C]: a cell each, under the names of the classes."""

    def __init__(self, class_names: Sequence[str]):
        self._names = [*class_names]

    def heads(self, name: str) -> list[str]:
        return self._names

    def flat(self, value: np.ndarray) -> list[np.float32]:
        return [*value]

    def json(self, value: np.ndarray) -> dict[str, float]:
        return dict(zip(self._names, map(super().json, value), strict=True))

    def specs(self, name: str) -> list[str]:
        return [_NUMBER.format(max(6, len(printable(head)))) for head in self._names]

    def read(self, cells: Sequence[str]) -> np.ndarray:
        values = np.array(cells, np.float32)
        if not ((values >= 0) & (values <= 1 + SAME)).all():
            raise ValueError("a row has what are no probabilities")
        return values

    def read_json(self, value: Any) -> np.ndarray:
        if [*value] != self._names:
            raise ValueError("a row has other classes")
        return self.read([*value.values()])


class SeveralClasses(Cells):
    """A list of classes, perhaps empty; in one cell with `|` between them."""

    def __init__(self, class_names: Sequence[str]):
        self._width = len("|".join(map(printable, class_names)))

    def flat(self, value: Sequence[str]) -> list[str]:
        return ["|".join(value)]

    def specs(self, name: str) -> list[str]:
        return [f"<{min(self._width, _WIDEST)}"]

    def read_json(self, value: Any) -> list[str]:
        if not isinstance(value, list):
            raise ValueError("a row has no list of classes")
        return value

    def agree(self, value: str | list[str], expected: list[str]) -> bool:
        # A name may have a | of its own, and so the text is not taken apart.
        return value == ("|".join(expected) if isinstance(value, str) else expected)
