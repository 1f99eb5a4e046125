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
