"""dfk on JAX beside PyTorch on one GPU: both compile at once, and are measured in turn."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from absl import logging

from dfk.benchmarks.contest import CannotRunError, Contestant, Runner
from dfk.benchmarks.gpu import ours, theirs
from dfk.benchmarks.gpu.plan import PLAN, Case, Plan
from dfk.benchmarks.rows import Row, rounded

_PYTORCH = {"eager": "PyTorch eager", "compiled": "PyTorch compiled"}
_SOURCES = {"resident": "images on the GPU", "loader": "a DataLoader"}
# Seconds that nothing may take, and that are left to what has begun when time is over.
_STUCK, _GRACE = 150.0, 20.0
_LATE = "no time was left: --full takes what it needs"

Figures = dict[str, Any]


class Side(NamedTuple):
    """A process and, if it is not there, why."""

    runner: Runner | None
    problem: str = ""

    @property
    def is_there(self) -> bool:
        """Whether it can be asked."""
        return self.runner is not None


def rows(full: bool, plan: Plan = PLAN, trace: str = "") -> Iterator[Row]:
    """Each row as it is measured, those that matter most first.

    Args:
        full: takes the time that it needs.
        plan: how much is measured.
        trace: the folder that a profile of DeepFakeNet's steps is written to; "" for none.
    """
    plan = plan._replace(budget=math.inf) if full else plan
    with _Race(plan) as race:
        yield from race.rows(trace)


class _Race:
    """Both sides, and the time that is left."""

    def __init__(self, plan: Plan):
        self._plan, self._end = plan, time.monotonic() + plan.budget
        self._ours = self._theirs = Side(None)
        self._longest = 0.0  # Seconds of a case

    def __enter__(self) -> _Race:
        missing = importlib.util.find_spec("jax") is None
        if missing:
            self._ours = Side(None, "JAX is not installed (pip install 'jax[cuda13]')")
            return self
        self._ours = self._started("dfk on JAX", ours.make)
        self._about = self._ask(self._ours, do="about")
        if not self._about.get("gpu"):
            self._stop(self._ours)
            problem = self._about.get("problem") or "JAX sees no GPU (pip install 'jax[cuda13]')"
            self._ours = Side(None, problem)
            return self
        self._theirs = self._started("PyTorch", theirs.make, "torch")
        their = self._ask(self._theirs, do="about")
        if self._theirs.is_there and not their.get("gpu"):
            self._stop(self._theirs)
            self._theirs = Side(None, their.get("problem") or "PyTorch sees no GPU")
        self._rate = max(self._about["rate"], their.get("rate", 0.0))
        return self

    def __exit__(self, *_: object) -> None:
        for side in (self._ours, self._theirs):
            self._stop(side)

    def rows(self, trace: str) -> Iterator[Row]:
        """All rows; without a GPU those that something is required of, with the reason."""
        if not self._ours.is_there:
            nothing = {"problem": self._ours.problem}
            for case in self._plan.cases:
                yield from (r for r in self._of_case(case, nothing, nothing) if r.required)
            yield self._of_whole(nothing)
            return
        logging.info("  %s, JAX %s", self._about["gpu"], self._about["version"])
        yield Row("bf16 matrices, TFLOP/s", rounded(self._rate / 1e12))
        first, *cases = self._plan.cases
        yield from self._measured(first, trace)
        yield self._of_whole(self._ask(self._ours, do="whole"))
        yield from self._of_scoring(self._ask(self._ours, do="scoring"))
        for case in cases:
            yield from self._measured(case)
        peak = self._ask(self._ours, do="peak")
        yield _peak("dfk, peak of device memory, GiB", peak)

    def _measured(self, case: Case, trace: str = "") -> Iterator[Row]:
        """Lets both sides prepare at once, and measures one after the other."""
        logging.info("  %s (%s)", case.title, self._left())
        if self._is_late():
            late = {"problem": _LATE}
            yield from self._of_case(case, late, late)
            return
        start = time.monotonic()
        sides = (self._ours, self._theirs)
        begun = [self._begin(side, do="prepare", case=case) for side in sides]
        ready = [self._answer(side) if ok else {} for side, ok in zip(sides, begun, strict=True)]
        found = [
            answer if answer.get("problem") else answer | self._ask(side, do="measure")
            for side, answer in zip(sides, ready, strict=True)
        ]
        yield from self._of_case(case, *found)
        if self._theirs.is_there:
            what = f"PyTorch, {case.title}: peak of device memory, GiB"
            yield _peak(what, self._ask(self._theirs, do="peak"))
        if trace and self._ours.is_there:
            traced = self._ask(self._ours, do="trace", folder=trace)
            what = f"{case.title}: share of the time that the GPU is at work"
            yield Row(what, traced.get("busy"), note=traced.get("problem", ""))
        self._longest = max(self._longest, time.monotonic() - start)

    def _of_case(self, case: Case, own: Figures, their: Figures) -> Iterator[Row]:
        """The rows of a case, from seconds an image."""
        note, their_note = own.get("problem", ""), _notes(their, self._theirs)
        step, epoch, what = own.get("step"), own.get("epoch"), case.title
        yield Row(f"{what}: step, images/s", _rate(step), note=note)
        share = own["flops"] / step / self._rate if step else None
        least = 0.5 if (case.network, case.side) == ("vgg16", 128) else None
        name = f"{what}: step, share of the bf16 matrix rate"
        yield Row(name, share and rounded(share), least, note=note)
        for variant, title in _PYTORCH.items():
            ratio = _ratio(their.get(variant), step)
            yield Row(f"{what}: step, x {title}", ratio, note=note or their_note)
        yield Row(f"{what}: epoch, images/s", _rate(epoch), note=note)
        epochs = {name: their[name] for name in _SOURCES if name in their}
        best = min(epochs, key=epochs.get, default="")
        variant = min((v for v in _PYTORCH if v in their), key=their.get, default="")
        if best:
            their_note = f"the best is {_PYTORCH[variant]} with {_SOURCES[best]}"
        ratio = _ratio(epochs.get(best), epoch)
        yield Row(f"{what}: epoch, x the best PyTorch", ratio, 1.0, note=note or their_note)

    def _of_whole(self, figures: Figures) -> Row:
        _, side, crop, batch, epochs = self._plan.whole
        note = figures.get("problem", "")
        if "epoch" in figures:
            note = (
                f"{figures['first']:.1f} s the first, which compiles; {figures['epoch']:.3f} s each"
            )
        what = f"residual_wide, {epochs} epochs as in its flag file, crops of {crop} of {side}"
        seconds = figures.get("all")
        name = f"{what}, batch {batch}: s"
        return Row(name, seconds and rounded(seconds), 60, at_most=True, note=note)

    def _of_scoring(self, figures: Figures) -> Iterator[Row]:
        note = figures.get("problem", "")
        for kind, what in (("png", "PNG of 100x100"), ("jpeg", "JPEG of a megapixel")):
            for key, does in (("", "predict"), ("_features", "features"), ("_decoded", "decoding")):
                name = f"residual_wide, {does}, {what}: images/s"
                yield Row(name, _rate(figures.get(kind + key)), note=note)

    def _started(self, name: str, make: Any, *needs: str) -> Side:
        logging.info("  starting %s", name)
        try:
            runner = Runner(Contestant(name, make, {"plan": self._plan}, needs))
        except CannotRunError as error:
            return Side(None, str(error))
        side = Side(runner)
        problem = self._answer(side).get("problem", "")
        return Side(None, problem) if problem else side

    def _ask(self, side: Side, **request: Any) -> Figures:
        return self._answer(side) if self._begin(side, **request) else {"problem": side.problem}

    def _begin(self, side: Side, **request: Any) -> bool:
        """Whether a side has been asked: it is there, and alive."""
        if not side.is_there:
            return False
        try:
            side.runner.begin(**request)
        except CannotRunError:
            return False
        return True

    def _answer(self, side: Side) -> Figures:
        """What a side answers, or why not; one that fails is given up."""
        try:
            left = max(0.0, self._end - time.monotonic())
            return side.runner.answer(min(_STUCK, left + _GRACE))[1] or {}
        except CannotRunError as error:
            logging.warning("%s: %s", side.runner.name, error)
            self._stop(side)
            gone = Side(None, str(error))
            if side is self._ours:
                self._ours = gone
            else:
                self._theirs = gone
            return {"problem": str(error)}

    def _stop(self, side: Side) -> None:
        if side.is_there:
            side.runner.stop()

    def _is_late(self) -> bool:
        """Whether another case is likely to take longer than there is time."""
        return time.monotonic() + self._longest > self._end

    def _left(self) -> str:
        if math.isinf(self._end):
            return "no limit"
        return f"{max(0.0, self._end - time.monotonic()):.0f} s left"


def _rate(seconds: float | None) -> float | None:
    """Images a second of seconds an image."""
    return rounded(1 / seconds) if seconds else None


def _ratio(their: float | None, own: float | None) -> float | None:
    return rounded(their / own) if their and own else None


def _notes(their: Figures, side: Side) -> str:
    problems = [f"{_PYTORCH[name]}: {why}" for name, why in their.get("problems", {}).items()]
    return "; ".join(problems) or their.get("problem", "") or side.problem


def _peak(name: str, figures: Figures) -> Row:
    peak = figures.get("peak")
    return Row(name, peak and rounded(peak / 2**30), note=figures.get("problem", ""))
