"""Accuracy against coverage, by hand."""

import numpy as np
import pytest

from dfk.evaluation import selective


def test_a_curve_by_hand():
    confidence = np.array([0.6, 0.9, 0.7, 0.8])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    found = selective.curve(np.array([0, 0, 0, 1]), probabilities)  # 0.8 is wrong
    assert found["curve"] == [
        {"coverage": 0.25, "accuracy": 1.0, "confidence": 0.9},
        {"coverage": 0.5, "accuracy": 0.5, "confidence": 0.8},
        {"coverage": 0.75, "accuracy": 2 / 3, "confidence": 0.7},
        {"coverage": 1.0, "accuracy": 0.75, "confidence": 0.6},
    ]
    assert found["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_another_score_may_stand_for_the_confidence():
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1]])  # The second is wrong
    found = selective.curve(np.array([0, 1]), probabilities, np.array([0.8, 0.2]))
    assert [point["accuracy"] for point in found["curve"]] == [1.0, 0.5]
    assert [point["confidence"] for point in found["curve"]] == [0.8, 0.2]


def test_the_curve_has_twenty_points_and_ends_with_all_images():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 101)
    labels = rng.integers(0, 3, 101)
    found = selective.curve(labels, probabilities)["curve"]
    assert len(found) == 20
    assert found[0]["coverage"] == 6 / 101 and found[-1]["coverage"] == 1
    assert found[-1]["accuracy"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
    assert found[-1]["confidence"] == probabilities.max(axis=1).min()
