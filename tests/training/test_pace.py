"""Steps that are done together, and losses that are looked at late."""

import pytest

from dfk.training.pace import Delayed, Pace


@pytest.mark.parametrize(
    ("pace", "done"),
    [(Pace(7), [1, 2, 3]), (Pace(7, (3, 2, 2)), [3, 5, 7])],
)
def test_a_call_may_do_several_steps(pace, done):
    assert [pace.done(call) for call in range(3)] == done
    assert pace.done(-1) == 0


@pytest.mark.parametrize(
    ("blocks", "ahead", "lag"),
    [((), False, 0), ((2, 2), False, 0), ((), True, 16), ((2,), True, 1)],
)
def test_only_a_device_that_works_ahead_is_looked_at_late(blocks, ahead, lag):
    assert Pace.of(4, blocks, ahead=ahead).lag == lag


@pytest.mark.parametrize(
    ("lag", "seen"),
    [(0, [0, 1, 2, 3, 4, 5]), (1, [None, 0, 1, 2, 3, 4]), (2, [None, None, None, 1, None, 3])],
)
def test_logs_come_out_a_look_later(lag, seen):
    delayed = Delayed(Pace(6, lag=lag))
    came = [delayed.next(call, {"loss": call}) for call in range(6)]
    assert [x and x[0] for x in came] == seen
    assert all(x[1] == {"loss": x[0]} for x in came if x)
    delayed.clear()
    assert lag != 1 or delayed.next(0, {}) is None
