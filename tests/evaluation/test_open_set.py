"""Known against unknown: figures worked out by hand, and as what they are defined to be."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from dfk.evaluation import open_set

FIGURES = {"auroc": 0.75, "fpr95": 0.5, "oscr": 0.6}


def test_figures_by_hand():
    # Of 6 pairs of a known and an unknown image, 2 + 1 + 1 are in order, and 2 + 1 of them have
    # a known image that is named rightly. To let all known images pass, 0.7 has to pass, too.
    found = open_set.figures(
        np.array([0.9, 0.6, 0.4]), np.array([0.7, 0.3]), np.array([True, False, True])
    )
    assert found == pytest.approx({"auroc": 4 / 6, "fpr95": 1 / 2, "oscr": 3 / 6})


def test_fpr95_lets_one_known_image_in_twenty_go():
    known, unknown = np.arange(1, 21) / 20, np.array([0.04, 0.06, 0.08, 0.2])
    found = open_set.figures(known, unknown, np.ones(20, bool))
    assert found["fpr95"] == 1 / 4  # At 0.10, which 19 of 20 reach
    assert open_set.figures(known[:19], unknown, np.ones(19, bool))["fpr95"] == 3 / 4  # At 0.05


scores = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, database=None)
@given(scores, scores, st.integers(0, 2**12 - 1))
def test_areas_are_shares_of_pairs_where_a_tie_counts_half(known, unknown, bits):
    known, unknown = np.array(known), np.array(unknown)
    correct = np.array([bits >> i & 1 for i in range(len(known))], bool)
    above = np.sign(known[:, None] - unknown) / 2 + 0.5
    found = open_set.figures(known, unknown, correct)
    assert found["auroc"] == pytest.approx(above.mean())
    assert found["oscr"] == pytest.approx((above * correct[:, None]).mean())
    reached = np.sort(known)[math.floor(len(known) * 0.05)]
    assert found["fpr95"] == pytest.approx((unknown >= reached).mean())


def test_scores_of_logits():
    logits = np.log([[2.0, 1.0, 1.0], [3.0, 6.0, 0.5]])
    found = open_set.scores(np.array([[0.5, 0.25, 0.25], [0.3, 0.6, 0.1]]), logits)
    assert found["probability"] == pytest.approx([0.5, 0.6])
    assert found["logit"] == pytest.approx(np.log([2, 6]))
    assert found["energy"] == pytest.approx(np.log([4, 9.5]))


def test_the_centred_logit_needs_no_logits():
    logits = np.array([[3.0, 1.0, -1.0], [0.5, 0.2, 0.2]])
    found = open_set.scores(softmax(logits / 2, axis=1), None)
    assert found["centred_logit"] == pytest.approx((logits.max(axis=1) - logits.mean(axis=1)) / 2)
    sure = open_set.scores(np.array([[1.0, 0.0]], np.float32), None)
    assert np.isfinite(sure["centred_logit"]).all()


def test_a_model_without_logits_has_two_scores():
    known = open_set.scores(np.array([[0.9, 0.1], [0.4, 0.6]]), None)
    unknown = open_set.scores(np.array([[0.5, 0.5]]), None)
    found = open_set.measure(known, unknown, np.array([True, False]), np.log(1.5) / 2 + 1e-7)
    assert (found["n_known"], found["n_unknown"]) == (2, 1)
    assert found["scores"]["logit"] is found["scores"]["energy"] is None
    assert found["scores"]["probability"] == {"auroc": 1.0, "fpr95": 0.0, "oscr": 0.5}
    # At the threshold and above it an image passes.
    assert (found["threshold"]["false_alarms"], found["threshold"]["found"]) == (0.5, 1.0)
    histogram = found["histogram"]
    assert histogram["score"] == "probability" and len(histogram["edges"]) == 21
    assert sum(histogram["known"]) == sum(histogram["unknown"]) == pytest.approx(1)


def test_the_histogram_shows_the_score_that_tells_them_best():
    same = {"energy": None, "centred_logit": np.array([1.0, 2])}
    known = {"probability": np.array([1.0, 2]), "logit": np.array([1.0, 2]), **same}
    unknown = {"probability": np.array([1.5]), "logit": np.array([0.5]), **same}
    found = open_set.measure(known, unknown, np.array([True, True]), 0)
    assert found["histogram"]["score"] == "logit"
