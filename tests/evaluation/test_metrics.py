"""Metrics against figures worked out by hand or by another library."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from dfk.evaluation import metrics
from dfk.evaluation.calibration import fit_temperature

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 200)
LOGITS = RNG.normal(size=(200, 3)) + 2 * np.eye(3)[LABELS]


def _softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_figures_agree_with_their_definitions():
    probabilities = _softmax(LOGITS)
    result = metrics.compute(LABELS, probabilities, ("a", "b", "c"))
    predicted = probabilities.argmax(axis=1)
    assert result["accuracy"] == accuracy_score(LABELS, predicted)
    assert result["macro_f1"] == pytest.approx(f1_score(LABELS, predicted, average="macro"))
    assert result["nll"] == pytest.approx(-np.log(probabilities[np.arange(200), LABELS]).mean())
    assert [row["class"] for row in result["per_class"]] == ["a", "b", "c"]
    assert sum(row["support"] for row in result["per_class"]) == result["n"] == 200
    json.dumps(result, allow_nan=False)


def test_rows_of_the_confusion_matrix_are_the_truth():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    result = metrics.compute(np.array([0, 1, 1]), probabilities, ("a", "b"))
    assert result["confusion_matrix"] == [[1, 0], [1, 1]]
    assert result["per_class"][1] == {
        "class": "b",
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }


def test_a_class_that_does_not_occur_is_no_part_of_macro_f1():
    probabilities = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1]])
    result = metrics.compute(np.array([0, 1]), probabilities, ("a", "b", "c"))
    assert result["macro_f1"] == 1.0
    assert result["per_class"][2]["support"] == 0


def test_wilson_interval():
    """Against the closed form, with z = 1.96 (Wilson, 1927)."""
    n, share, z = 1250, 1127 / 1250, 1.959964
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert metrics.wilson(1127, 1250) == pytest.approx([centre - half, centre + half], abs=1e-6)
    assert metrics.wilson(5, 5)[1] == 1.0


def test_ece_is_the_gap_between_confidence_and_accuracy():
    """All 300 answers at confidence .9, two thirds of them right: a gap of .9 - 2/3."""
    labels = np.array([0, 0, 1] * 100)
    probabilities = np.tile([0.9, 0.1], (300, 1))
    # Interleaved: every bin of equal mass holds two right ones and a wrong one per three.
    assert metrics.expected_calibration_error(labels, probabilities) == pytest.approx(0.9 - 2 / 3)


def test_ece_of_fewer_images_than_bins():
    assert metrics.expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0.0


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(true_temperature):
    logits = RNG.normal(scale=2.0, size=(20_000, 4))
    draws = RNG.random((20_000, 1))
    labels = (_softmax(logits).cumsum(axis=1) < draws).sum(axis=1)
    fitted = fit_temperature(logits * true_temperature, labels)
    assert fitted == pytest.approx(true_temperature, rel=0.05)


def test_the_temperature_stays_in_its_bounds():
    assert 0.05 <= fit_temperature(np.eye(3) * 9, np.arange(3)) <= 20


def test_the_brier_score_is_the_squared_distance_from_the_truth():
    probabilities = np.array([[1.0, 0.0, 0.0], [0.5, 0.3, 0.2]])
    expected = (0 + 0.5**2 + 0.7**2 + 0.2**2) / 2
    assert metrics.brier_score(np.array([0, 1]), probabilities) == pytest.approx(expected)


def test_what_calibration_did_is_told_beside_what_came_out():
    probabilities = _softmax(LOGITS / 2.5).astype(np.float32)
    result = metrics.compute(LABELS, probabilities, ("a", "b", "c"), temperature=2.5)
    plain = metrics.compute(LABELS, _softmax(LOGITS), ("a", "b", "c"))
    expected = {name: pytest.approx(plain[name], abs=1e-5) for name in ("nll", "ece", "brier")}
    assert result["uncalibrated"] == expected
    assert "uncalibrated" not in plain


def test_certain_answers_have_an_uncalibrated_form_too():
    sure = metrics.uncalibrated(np.array([[1.0, 0.0]], np.float32), 3.0)
    np.testing.assert_allclose(sure, [[1.0, 0.0]], atol=1e-12)
