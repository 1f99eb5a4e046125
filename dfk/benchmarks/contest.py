"""Contestants, each in a process of its own, measured in turn.

Machines are noisy, and libraries that share a process share its threads and its memory. So
dfk and an alternative run alternately, each in its own process, and what counts is the ratio
of their medians.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import multiprocessing
import os
import pickle
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
    """How an alternative compares.

    Attributes:
        name: of the alternative.
        ratio: its median over dfk's in the same minutes: how many times as fast dfk is. None
            if it did not run.
        problem: why it did not run.
    """

    name: str
    ratio: float | None
    problem: str = ""


class Contest(NamedTuple):
    """What dfk took, in seconds, and how each alternative compares."""

    seconds: list[float]
    results: list[Result]

    @property
    def median(self) -> float:
        """The median of dfk's runs, in seconds."""
        return statistics.median(self.seconds)

    @property
    def p99(self) -> float:
        """Of a hundred of dfk's runs one takes longer, in seconds."""
        return sorted(self.seconds)[math.ceil(0.99 * len(self.seconds)) - 1]


class CannotRunError(Exception):
    """A contestant could not be measured; the message says why, `runner` which, if it started."""

    def __init__(self, message: str, runner: Runner | None = None):
        super().__init__(message)
        self.runner = runner


class Runner:
    """A contestant, which is ready once it has answered for the first time.

    Raises:
        CannotRunError: if something that it needs is not installed.
    """

    def __init__(self, contestant: Contestant):
        for module in contestant.needs:
            if importlib.util.find_spec(module) is None:
                raise CannotRunError(f"{module} is not installed (pip install 'dfk-keras[bench]')")
        self.name = contestant.name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, pickle.dumps(contestant)))
        self._process.start()
        theirs.close()

    def answer(self, within: float | None = None) -> tuple[float, Any]:
        """Seconds, and a value: of a run, or of nothing once it is ready.

        Args:
            within: seconds that one waits for it; None for ever.
        """
        if within is not None and not self._pipe.poll(max(0.0, within)):
            raise CannotRunError(f"it took more than {within:.0f} s", self)
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise CannotRunError(f"its process ended with exit code {code}", self) from None
        if isinstance(answer, str):
            raise CannotRunError(answer, self)
        return answer

    def run(self) -> float:
        """Runs it once; returns the seconds that took."""
        return self.run_for_value()[0]

    def run_for_value(self) -> tuple[float, Any]:
        """Runs it once; returns the seconds that took, and the number that it answered, if any."""
        self.begin()
        return self.answer()

    def begin(self, **request: Any) -> None:
        """Lets it run, with the arguments that it takes; `answer` waits for the end."""
        try:
            self._pipe.send(request)
        except OSError:
            raise CannotRunError("its process has ended", self) from None

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
        CannotRunError: if it does not start or run.
    """
    runner = Runner(contestant)
    try:
        runner.answer()
        for _ in range(warm_up):
            runner.run()
        yield runner
    finally:
        runner.stop()


def contest(
    ours: Contestant, others: Sequence[Contestant] = (), *, rounds: int, at_once: int = 1
) -> Contest:
    """Measures dfk in turn with each of the others; alone if none of them runs.

    Args:
        ours: dfk.
        others: its rivals.
        rounds: how often each has its turn.
        at_once: how often it runs in a turn. The threads of some libraries wait busily for a
            while after a run, which costs the next contestant's first.

    Raises:
        RuntimeError: if dfk's own contestant fails, which is a fault of dfk.
    """
    logging.info("  %s", ours.name)
    with _must_run(ours, warm_up=1) as runner:
        seconds: list[float] = []
        results = [_duel(runner, other, rounds, at_once, seconds) for other in others]
        if not seconds:
            seconds = [runner.run() for _ in range(rounds * at_once)]
    return Contest(seconds, results)


def _duel(
    ours: Runner, other: Contestant, rounds: int, at_once: int, seconds: list[float]
) -> Result:
    """Runs both in turn; adds what dfk took to `seconds`."""
    logging.info("  %s", other.name)
    own, rival = [], []
    try:
        with ready(other) as theirs:
            for _ in range(rounds):
                own += [ours.run() for _ in range(at_once)]
                rival += [theirs.run() for _ in range(at_once)]
    except CannotRunError as error:
        if error.runner is ours:
            raise
        return Result(other.name, None, str(error))
    seconds += own
    return Result(other.name, statistics.median(rival) / statistics.median(own))


def once(contestant: Contestant) -> tuple[float, Any]:
    """Runs dfk's contestant a single time; returns the seconds, and the number it answered.

    Raises:
        RuntimeError: if it fails.
    """
    logging.info("  %s", contestant.name)
    with _must_run(contestant, warm_up=0) as runner:
        return runner.run_for_value()


@contextlib.contextmanager
def _must_run(contestant: Contestant, warm_up: int) -> Iterator[Runner]:
    try:
        with ready(contestant, warm_up) as runner:
            yield runner
    except CannotRunError as error:
        raise RuntimeError(f"{contestant.name}: {error}") from error


def _serve(pipe: Connection, pickled: bytes) -> None:
    """The contestant's process: prepares it, then runs it as often as the pipe says."""
    # What libraries say while they are imported, start and compile is not the benchmark's.
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        contestant = pickle.loads(pickled)
        run = contestant.make(**contestant.arguments)
        pipe.send((0.0, None))
        while True:
            request = pipe.recv()
            start = time.perf_counter()
            value = run(**request)
            seconds = time.perf_counter() - start
            pipe.send((seconds, value if isinstance(value, int | float | dict) else None))
    except EOFError:  # No more runs are wanted.
        return
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        pipe.send(f"{type(error).__name__}: {lines[0][:200]}")
