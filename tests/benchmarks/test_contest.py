"""Contestants in processes of their own."""

import os

import pytest

from dfk.benchmarks.contest import Contest, Contestant, contest, once
from tests.benchmarks.contestants import broken, sleeper

FAST = Contestant("fast", sleeper, {"seconds": 0.02})
SLOW = Contestant("slow", sleeper, {"seconds": 0.1})


def test_the_ratio_is_of_the_medians_of_runs_in_turn():
    measured = contest(FAST, [SLOW], rounds=3)
    (slow,) = measured.results
    assert len(measured.seconds) == 3
    assert 2 < slow.ratio < 6 and slow.name == "slow" and not slow.problem
    assert 0.02 <= measured.median < 0.08


def test_a_turn_may_be_of_several_runs():
    measured = contest(FAST, [SLOW], rounds=2, at_once=3)
    assert len(measured.seconds) == 6
    assert 2 < measured.results[0].ratio < 6


def test_what_is_not_installed_is_skipped_by_name_and_dfk_measured_alone():
    measured = contest(FAST, [SLOW._replace(needs=["no_such_module"])], rounds=2)
    (skipped,) = measured.results
    assert skipped.ratio is None
    assert skipped.problem == "no_such_module is not installed (pip install 'dfk-keras[bench]')"
    assert len(measured.seconds) == 2


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("make", "ValueError: cannot be made"),
        ("run", "ValueError: out of order"),
        ("exit", "its process ended with exit code 3"),
    ],
)
def test_a_rival_that_fails_says_why_and_stops_no_one(when, problem):
    failing = Contestant("failing", broken, {"when": when})
    failed, slow = contest(FAST, [failing, SLOW], rounds=1).results
    assert failed.problem == problem and failed.ratio is None
    assert slow.ratio > 1


@pytest.mark.parametrize(
    ("when", "problem"),
    [("run", "ValueError: out of order"), ("again", "its process ended with exit code 3")],
)
def test_dfk_itself_must_run(when, problem):
    with pytest.raises(RuntimeError, match=f"ours: {problem}"):
        contest(Contestant("ours", broken, {"when": when}), [SLOW], rounds=1)


def test_once_gives_the_number_that_a_run_answers_in_another_process():
    seconds, process = once(FAST)
    assert seconds >= 0.02
    assert process != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_the_p99_is_what_one_run_of_a_hundred_exceeds():
    assert Contest([float(i) for i in range(1, 201)], []).p99 == 198
    assert Contest([1.0, 3.0], []).p99 == 3
