"""Contestants, each in a process of its own, measured in turn.

Machines are noisy, and libraries that share a process share its threads and its memory. So
dfk and an alternative run alternately, each in its own process, and what counts is the ratio
of their medians.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from absl import logging

Measured = Callable[[], object]


class Contestant(NamedTuple):
    """Something to measure.

    Attributes:
        name: in the table.
        make: a function of a module, called with `arguments` in the contestant's process; it
            prepares everything and returns what is timed, a function without arguments.
        arguments: of `make`.
        needs: modules that must be installed.
    """

    name: str
    make: Callable[..., Measured]
    arguments: Mapping[str, Any] = {}
    needs: Sequence[str] = ()


class Result(NamedTuple):
    """What an alternative took.

    Attributes:
        name: of the alternative.
        seconds: the median of its rounds; None if it did not run.
        ours: the median of dfk's, in the same minutes.
        problem: why it did not run.
    """

    name: str
    seconds: float | None
    ours: float | None
    problem: str = ""


class _CannotRunError(Exception):
    """A contestant could not be measured; the message says why."""


class Runner:
    """A contestant that is ready."""

    def __init__(self, contestant: Contestant):
        self.name = contestant.name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contestant))
        self._process.start()
        theirs.close()

    def answer(self) -> float:
        """What it has to say: the seconds of a run, or zero once it is ready."""
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise _CannotRunError(f"ended with {self._process.exitcode}") from None
        if isinstance(answer, str):
            raise _CannotRunError(answer)
        return answer

    def run(self) -> float:
        """Runs it once; returns the seconds that took."""
        self._pipe.send("run")
        return self.answer()

    def stop(self) -> None:
        """Ends its process."""
        self._pipe.close()
        self._process.join(10)
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def ready(contestant: Contestant, warm_up: int = 1) -> Iterator[Runner]:
    """Starts a contestant and runs it `warm_up` times; ends it with the block.

    Raises:
        _CannotRunError: if it does not start or run.
    """
    for module in contestant.needs:
        if importlib.util.find_spec(module) is None:
            raise _CannotRunError(f"{module} is not installed (pip install 'dfk[bench]')")
    runner = Runner(contestant)
    try:
        runner.answer()
        for _ in range(warm_up):
            runner.run()
        yield runner
    finally:
        runner.stop()


def contest(ours: Contestant, others: Sequence[Contestant], *, rounds: int) -> list[Result]:
    """Measures dfk in turn with each of the others, `rounds` times.

    Raises:
        RuntimeError: if dfk's own contestant fails, which is a fault of dfk.
    """
    logging.info("  %s", ours.name)
    with contextlib.ExitStack() as stack:
        try:
            runner = stack.enter_context(ready(ours))
        except _CannotRunError as error:
            raise RuntimeError(f"{ours.name}: {error}") from error
        return [_duel(runner, other, rounds) for other in others]


def _duel(ours: Runner, other: Contestant, rounds: int) -> Result:
    logging.info("  %s", other.name)
    try:
        with ready(other) as theirs:
            pairs = [(ours.run(), theirs.run()) for _ in range(rounds)]
    except _CannotRunError as error:
        return Result(other.name, None, None, str(error))
    own, seconds = map(statistics.median, zip(*pairs, strict=True))
    return Result(other.name, seconds, own)


def alone(contestant: Contestant, *, rounds: int) -> float:
    """The median seconds of a contestant that has no rival."""
    logging.info("  %s", contestant.name)
    with ready(contestant) as runner:
        return statistics.median(runner.run() for _ in range(rounds))


def _serve(pipe: Connection, contestant: Contestant) -> None:
    """The contestant's process: prepares it, then runs it as often as the pipe says."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What libraries say while they start and compile is not the benchmark's.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        run = contestant.make(**contestant.arguments)
        pipe.send(0.0)
        while pipe.recv():
            start = time.perf_counter()
            run()
            pipe.send(time.perf_counter() - start)
    except EOFError:  # No more runs are wanted.
        return
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        pipe.send(f"{type(error).__name__}: {lines[0][:200]}")
