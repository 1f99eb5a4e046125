"""Work in threads on streams of any length."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dfk.system import hardware

# What of the memory available the items in work, and those that wait, may take.
_SHARE = 1 / 4


def in_threads(
    function: Callable, items: Iterable, bytes_of: Callable[[Any], int] | None = None
) -> Iterator:
    """Maps `function` over `items` in order, with a few at a time in work or waiting.

    Args:
        bytes_of: the memory that `function` and its answer take for an item. Together they take
            no more than a quarter of what is available; one that takes more is alone.
    """
    items = enumerate(items)
    workers = hardware.cores()
    room = _Room(_SHARE * hardware.available_bytes())

    def work(turn: int, item: Any) -> tuple[Any, int]:
        needed = 0
        try:
            needed = bytes_of(item) if bytes_of else 0
        finally:  # Others wait for its turn, whatever becomes of it.
            room.enter(turn, needed)
        return function(item), needed

    pool = ThreadPoolExecutor(workers)
    try:
        pending = deque(pool.submit(work, *item) for item in itertools.islice(items, 2 * workers))
        while pending:
            answer, needed = pending.popleft().result()
            room.leave(needed)
            yield answer
            del answer
            pending.extend(pool.submit(work, *item) for item in itertools.islice(items, 1))
    finally:
        room.open()
        pool.shutdown(cancel_futures=True)


class _Room:
    """Bytes that threads share. They enter in turns, so that what is asked for first is first."""

    def __init__(self, total: float):
        self._total, self._used, self._turn = total, 0, 0
        self._is_open = False
        self._changed = threading.Condition()

    def enter(self, turn: int, needed: int) -> None:
        """Waits for the turn, and until there is room; there always is where nobody is."""

        def may_enter() -> bool:
            fits = not self._used or self._used + needed <= self._total
            return self._is_open or (self._turn == turn and fits)

        with self._changed:
            self._changed.wait_for(may_enter)
            self._turn += 1
            self._used += needed
            self._changed.notify_all()

    def leave(self, needed: int) -> None:
        with self._changed:
            self._used -= needed
            self._changed.notify_all()

    def open(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()
