"""Seeds for the layers of a model."""

from __future__ import annotations


class Seeds:
    """A different seed for each layer, all of them from one; None stays None.

    They have 32 bits, as the backends' do.
    """

    def __init__(self, seed: int | None):
        self._next = None if seed is None else 1000 * seed

    def next(self) -> int | None:
        if self._next is not None:
            self._next += 1
        return None if self._next is None else self._next % 2**32
