"""Work in threads on streams of any length."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from dfk.system import hardware


def in_threads(function: Callable, items: Iterable) -> Iterator:
    """Maps `function` over `items` in order, with a few at a time in work or waiting."""
    items = iter(items)
    workers = hardware.cores()
    with ThreadPoolExecutor(workers) as pool:
        pending = deque(
            pool.submit(function, item) for item in itertools.islice(items, 2 * workers)
        )
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
