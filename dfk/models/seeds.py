"""Seeds for the layers of a model."""

from __future__ import annotations


class Seeds:
    """A different seed for each layer, all of them from one; None stays None."""

    def __init__(self, seed: int | None):
        self._next = None if seed is None else 1000 * seed

    def next(self) -> int | None:
        if self._next is not None:
            self._next += 1
        return self._next
