"""Work in threads: in order, with so much in memory and no more, and an end in every case."""

import threading
import time

import pytest

from dfk.system import hardware, threads
from dfk.system.threads import in_threads


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Of four cores, where 100 bytes are for images."""
    monkeypatch.setattr(hardware, "cores", lambda: 4)
    monkeypatch.setattr(hardware, "available_bytes", lambda: 100 / threads._SHARE)


class Work:
    """Counts the bytes of items that are in work or wait."""

    def __init__(self):
        self.held, self.most, self.lock = 0, 0, threading.Lock()

    def __call__(self, item):
        with self.lock:
            self.held += item
            self.most = max(self.most, self.held)
        time.sleep(0.001)
        return item

    def of(self, items):
        for item in in_threads(self, items, lambda item: item):
            yield item
            with self.lock:
                self.held -= item


def test_answers_come_in_order():
    items = list(range(50))
    delays = [0.002 * (item % 3) for item in items]
    slowly = lambda item: time.sleep(delays[item]) or item  # noqa: E731
    assert list(in_threads(slowly, iter(items))) == items
    assert list(in_threads(slowly, [])) == []


@pytest.mark.parametrize("items", [[30] * 40, [5, 60, 45, 1, 99, 2] * 6, [10, 250, 10, 300] * 4])
def test_as_many_are_in_work_as_memory_holds(items):
    work = Work()
    assert list(work.of(items)) == items
    # One that is larger than all that there is has it alone; what was just answered may be there.
    assert work.most <= max(100, *items) + max(items)


def test_an_early_end_waits_for_nobody():
    started = []
    stream = in_threads(lambda item: started.append(item), range(20), lambda item: 60)
    next(stream)
    stream.close()
    assert len(started) <= 8


@pytest.mark.parametrize("where", ["function", "bytes_of"])
def test_an_error_ends_the_stream(where):
    def fails(item):
        if item == 3:
            raise OSError("three")
        return 60

    calls = {"function": lambda item: item, "bytes_of": lambda item: 60, where: fails}
    with pytest.raises(OSError, match="three"):
        list(in_threads(calls["function"], range(20), calls["bytes_of"]))
