"""What a file says that a model was trained on: a record, or refused."""

import pytest

from dfk.model_files import facts
from dfk.model_files.refused import Refused

RECORD = {
    "sizes": [[8, 9], [8, 90]],
    "crop": 0,
    "formats": [{"PNG": 3}, {"JPEG": 2, "PNG": 0}],
    "demo": False,
}
WRONG = {
    "text": "PNG",
    "more": RECORD | {"more": 1},
    "less": {"sizes": RECORD["sizes"]},
    "one size": RECORD | {"sizes": [[8, 9]]},
    "no size": RECORD | {"sizes": [[8, 9], [8, "90"]]},
    "sizes": RECORD | {"sizes": 5},
    "turned round": RECORD | {"sizes": [[8, 9], [8, 5]]},
    "huge": RECORD | {"sizes": [[8, 9], [2**20, 2**20]]},
    "crop": RECORD | {"crop": -1},
    "no crop": RECORD | {"crop": True},
    "classes": RECORD | {"formats": [{"PNG": 3}]},
    "a name": RECORD | {"formats": [{"PNG": 3}, {"x" * 1000: 1}]},
    "part of one": RECORD | {"formats": [{"PNG": 3}, {"PNG": 0.5}]},
    "endless": RECORD | {"formats": [{"PNG": 3}, {"PNG": 2**80}]},
    "list": RECORD | {"formats": [{"PNG": 3}, ["PNG"]]},
    "demo": RECORD | {"demo": "no"},
}


def test_a_record_is_taken_and_none_from_older_files():
    assert facts.check_trained_on(RECORD, 2) == RECORD
    assert facts.check_trained_on(None, 2) is None


@pytest.mark.parametrize("case", WRONG)
def test_nonsense_is_refused(case):
    with pytest.raises(Refused):
        facts.check_trained_on(WRONG[case], 2)


CHOSEN = {"set_0.9": [0.1, 0.2], "holdout_images": [9, 30], "false_alarm_rate": 0.05}


def test_thresholds_may_tell_how_many_images_they_were_chosen_on():
    assert facts.check_thresholds(CHOSEN, 2) == CHOSEN
    assert facts.check_thresholds({"set_0.9": [0.1, 0.2]}, 2) == {"set_0.9": [0.1, 0.2]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"holdout_images": 9},
        {"holdout_images": [-1, 9]},
        {"false_alarm_rate": [0.1, 0.1]},
        {"false_alarm_rate": -0.1},
        {"false_alarm_rate": 2},
    ],
)
def test_counts_that_are_none_are_refused(wrong):
    with pytest.raises(Refused, match="how many images"):
        facts.check_thresholds(CHOSEN | wrong, 2)
    with pytest.raises(Refused, match="how many images"):
        facts.check_thresholds({name: CHOSEN[name] for name in wrong}, 2)
