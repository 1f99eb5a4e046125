"""Thresholds with a promise: by hand, and by drawing images for which it has to hold."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dfk.evaluation import conformal


@pytest.mark.parametrize(
    ("n", "share", "rank"),
    [
        (9, 0.1, 1),  # (9 + 1) 0.1 = 1
        (9, 1 - 0.9, 1),  # a little less than 0.1 in binary
        (8, 0.1, 0),  # of 9 images, no tenth can be left out
        (19, 0.1, 2),
        (28, 0.1, 2),
        (29, 0.1, 3),
        (98, 1 - 0.99, 0),
        (99, 1 - 0.99, 1),
        (0, 0.1, 0),
        (4, 1.0, 4),
        (4, 0.0, 0),
    ],
)
def test_the_bound_is_the_kth_smallest_of_n_with_n_plus_one(n, share, rank):
    values = np.random.default_rng(n).permutation(np.arange(1, n + 1))
    assert conformal.lower_bound(values, share) == rank


def test_thresholds_by_hand():
    right = np.arange(1, 20) / 20  # The probability of the true class: 0.05, 0.10, ... 0.95
    probabilities = np.stack([right, 1 - right], axis=1)
    labels = np.zeros(19, int)
    found = conformal.choose(probabilities, labels, false_alarm_rate=0.1)
    # Twenty with the new one: one may fall below at 95 %, two at 90 %, none at 99 %. The class
    # without an image is in every set.
    assert found["set_0.9"] == [0.1, 0.0]
    assert found["set_0.95"] == [0.05, 0.0]
    assert found["set_0.99"] == [0.0, 0.0]
    # The largest probability is 0.5 once and all others twice: two may fall below 0.55.
    assert found["unknown_centred_logit"] == pytest.approx(np.log(0.55 / 0.45) / 2)


def test_sets_and_their_measure_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32)
    thresholds = {"set_0.9": [0.6, 0.3, 0.9]}
    sets = conformal.members(probabilities, thresholds["set_0.9"])
    assert sets.tolist() == [[True, False, False], [False, True, False], [False, False, False]]
    found = conformal.measure(probabilities, np.array([0, 0, 1]), "abc", thresholds)
    row_c = {"class": "c", "measured": None, "mean_size": None}
    assert found == {
        "conformal": [
            {
                "coverage": 0.9,
                "measured": pytest.approx(1 / 3),
                "mean_size": pytest.approx(2 / 3),
                "per_class": [
                    {"class": "a", "measured": 0.5, "mean_size": 1.0},
                    {"class": "b", "measured": 0.0, "mean_size": 0.0},
                    row_c,
                ],
            }
        ]
    }
    assert conformal.measure(probabilities, np.array([0, 0, 1]), "abc", {}) == {}


def _images(rng, n, classes=3):
    """Answers of a poor and uncalibrated model whose classes differ in difficulty."""
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * [3, 1, 2]
    logits[np.arange(n), labels] += np.array([1, 0.2, 3])[labels]
    exponentials = np.exp(2.5 * logits)
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32), labels


def test_each_class_gets_the_coverage_that_is_promised():
    """Over 300 holdouts of 200, each with 100 new images: the mean is exact to its error."""
    rng = np.random.default_rng(0)
    held = {c: [] for c in conformal.COVERAGES}
    alarms = []
    for _ in range(300):
        thresholds = conformal.choose(*_images(rng, 200), false_alarm_rate=0.05)
        probabilities, labels = _images(rng, 100)
        for c, rows in held.items():
            sets = conformal.members(probabilities, thresholds[conformal.set_name(c)])
            right = sets[np.arange(100), labels]
            rows.append([right[labels == k].mean() for k in range(3)])
        scores = conformal.centred_logit(probabilities)
        alarms.append((scores < thresholds["unknown_centred_logit"]).mean())
    for coverage, rows in held.items():
        # At least as promised, and no more than one image of a class's n + 1 above it.
        shares, error = np.mean(rows, axis=0), 3 * np.std(rows, axis=0) / np.sqrt(300)
        assert (shares > coverage - error).all()
        assert (shares < coverage + 1 / 50 + error).all()
    assert np.mean(alarms) == pytest.approx(10 / 201, abs=3 * np.std(alarms) / np.sqrt(300))


@settings(max_examples=100, deadline=None, database=None)
@example(values=[1] * 10, coverage=0.9)
@given(
    values=st.lists(st.integers(0, 8), min_size=1, max_size=40),
    coverage=st.sampled_from(conformal.COVERAGES),
)
def test_whichever_image_is_the_new_one_the_promise_holds_on_average(values, coverage):
    """Exchangeability itself: of n + 1 images each is left out once, and enough are covered."""
    values = np.array(values)
    covered = [
        value >= conformal.lower_bound(np.delete(values, i), 1 - coverage)
        for i, value in enumerate(values)
    ]
    assert np.mean(covered) >= coverage - 1e-9


@settings(max_examples=50, deadline=None, database=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_higher_coverage_gives_no_smaller_set(seed):
    rng = np.random.default_rng(seed)
    thresholds = conformal.choose(*_images(rng, 150), false_alarm_rate=0.05)
    probabilities, _ = _images(rng, 20)
    small, middle, large = (
        conformal.members(probabilities, thresholds[conformal.set_name(c)])
        for c in conformal.COVERAGES
    )
    assert (small <= middle).all() and (middle <= large).all()
