"""How far all actors are together: one bar, with images per second and the time left."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import ray

from dfk.system.progress import Bar

# Seconds between two looks at the counter
_BETWEEN = 1.0


class _Counter:
    """An actor that counts what the others have scored."""

    def __init__(self):
        self._count = 0

    def add(self, count: int) -> None:
        self._count += count

    def count(self) -> int:
        return self._count


@contextlib.contextmanager
def shown(total: int, before: int) -> Iterator[Any]:
    """Shows how far it is until the end; yields the counter, to be told `add.remote(images)`.

    What an actor had scored that died is counted twice, but never more than `total`.

    Args:
        total: images of all parts.
        before: images of the parts that were there already.
    """
    counter = ray.remote(num_cpus=0)(_Counter).remote()
    ended = threading.Event()
    with Bar(desc="predict", unit=" images", total=total, initial=before) as bar:

        def look() -> None:
            while not ended.wait(_BETWEEN):
                with contextlib.suppress(ray.exceptions.RayError):  # The next look may succeed.
                    now = before + ray.get(counter.count.remote(), timeout=10 * _BETWEEN)
                    bar.update(min(now, total) - bar.n)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield counter
            bar.update(total - bar.n)
        finally:
            ended.set()
            thread.join()
