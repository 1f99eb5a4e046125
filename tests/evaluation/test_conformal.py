"""Thresholds with a promise: by hand, and by drawing images for which it has to hold."""

import itertools

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
    # without an image has the threshold of all.
    assert found["set_0.9"] == [0.1, 0.1]
    assert found["set_0.95"] == [0.05, 0.05]
    assert "set_0.99" not in found
    assert (found["holdout_images"], found["false_alarm_rate"]) == ([19, 0], 0.1)
    assert [conformal.pooled(found, c) for c in (0.9, 0.95)] == [[False, True]] * 2
    assert conformal.left_out(found) == {"set_0.99": (99, 19)}
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
                "pooled": [],
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


def test_classes_with_too_few_images_are_promised_together():
    """19 images of a class, 5 of another that is harder: 95 % of 24 are all but one."""
    true = np.r_[np.linspace(0.6, 0.9, 19), 0.2, 0.3, 0.4, 0.5, 0.55]
    labels = np.repeat([0, 1], [19, 5])
    probabilities = np.where(np.eye(2)[labels] > 0, true[:, None], 1 - true[:, None])
    found = conformal.choose(probabilities, labels, false_alarm_rate=0)
    # Of itself the first class would have 0.6: what is promised of all would then not hold.
    assert found["set_0.95"] == pytest.approx([0.2, 0.2])
    assert found["set_0.9"] == pytest.approx([0.3, 0.3])


def test_what_is_left_out_and_what_is_pooled_is_said():
    probabilities, labels = _images(np.random.default_rng(0), 12)
    thresholds = conformal.choose(probabilities, labels, false_alarm_rate=0.05)
    measured = conformal.measure(probabilities, labels, "abc", thresholds)
    assert measured["left_out"] == {
        "unknown_centred_logit": {"needed": 19, "there": 12},
        "set_0.95": {"needed": 19, "there": 12},
        "set_0.99": {"needed": 99, "there": 12},
    }
    assert [level["coverage"] for level in measured["conformal"]] == [0.9]
    assert measured["conformal"][0]["pooled"] == ["a", "b", "c"]
    assert list(conformal.lines(measured)) == [
        "sets of 90%: fewer than 9 holdout images of a, b, c: promised of all images together, not "
        "of these by themselves",
        "no threshold for unknown generators: 19 holdout images are needed, there are 12",
        "no sets of 95%: 19 holdout images are needed, there are 12",
        "no sets of 99%: 99 holdout images are needed, there are 12",
    ]
    assert list(conformal.lines(conformal.measure(probabilities, labels, "abc", {}))) == []


def test_a_model_of_before_tells_nothing_of_its_holdout():
    before = {"set_0.9": [0.1, 0.0], "unknown_centred_logit": 1.0}
    assert conformal.left_out(before) == {}
    assert conformal.pooled(before, 0.9) == [False, False]


@pytest.mark.parametrize("share", [1e-320, 0.003, 0.05, 0.1, 1 - 0.99, 1 - 0.95, 1 - 0.9, 0.5, 1])
def test_what_is_needed_is_the_least_for_which_there_is_a_bound(share):
    least = conformal.needed(share)
    if least < 1000:
        assert conformal.lower_bound(np.ones(least), share) == (least > 0)
        assert least == 0 or conformal.lower_bound(np.ones(least - 1), share) == 0
    assert conformal.needed(0) == 0


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


@settings(max_examples=150, deadline=None, database=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 400), skew=st.floats(0, 6))
def test_a_higher_coverage_gives_no_smaller_set(seed, n, skew):
    """However many images there are, and of which classes: of their own, pooled or both."""
    rng = np.random.default_rng(seed)
    probabilities, labels = _images(rng, n)
    kept = rng.random(n) < np.exp(-skew * labels / 2)
    thresholds = conformal.choose(probabilities[kept], labels[kept], false_alarm_rate=0.05)
    there = [c for c in conformal.COVERAGES if conformal.set_name(c) in thresholds]
    assert len(there) == sum(kept.sum() >= least for least in (9, 19, 99))
    assert ("unknown_centred_logit" in thresholds) == (kept.sum() >= 19)
    new, _ = _images(rng, 20)
    sets = [conformal.members(new, thresholds[conformal.set_name(c)]) for c in there]
    assert all((small <= large).all() for small, large in itertools.pairwise(sets))


@pytest.mark.parametrize("images", [(60, 6, 6), (8, 8, 8), (4, 60, 4)])
def test_the_promise_of_all_together_holds_where_classes_are_pooled(images):
    """Over 400 holdouts of a mixture, new images of the same mixture."""
    rng, n = np.random.default_rng(1), sum(images)
    held = {c: [] for c in conformal.COVERAGES if n >= conformal.needed(1 - c)}
    for _ in range(400):
        probabilities, labels = _images(rng, 40 * n)
        order = np.argsort(rng.random(len(labels)) / np.array(images)[labels])[: 2 * n]
        order = rng.permutation(order)
        old, new = order[:n], order[n:]
        thresholds = conformal.choose(probabilities[old], labels[old], false_alarm_rate=0.05)
        for c, shares in held.items():
            sets = conformal.members(probabilities[new], thresholds[conformal.set_name(c)])
            shares.append(sets[np.arange(n), labels[new]].mean())
    for coverage, shares in held.items():
        assert np.mean(shares) > coverage - 3 * np.std(shares) / np.sqrt(400)
