"""Probabilities from those of pairs: right where they agree, least squares where they do not."""

import numpy as np
import pytest
from scipy.special import expit, logit

from dfk.evaluation import coupling
from dfk.evaluation.calibration import fit_temperature

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_pairs_that_agree_give_the_probabilities_that_they_are_of(classes):
    expected = RNG.dirichlet(np.ones(classes), 50)
    i, j = np.triu_indices(classes, 1)
    margins = logit(expected[:, i] / (expected[:, i] + expected[:, j]))
    np.testing.assert_allclose(coupling.probabilities(margins, classes), expected, atol=1e-5)


def test_no_other_probabilities_are_nearer_to_pairs_that_contradict_each_other():
    margins, (i, j) = RNG.normal(0, 3, (20, 6)), np.triu_indices(4, 1)

    def distance(p):
        sure = expit(margins)
        return (((1 - sure) * p[:, i] - sure * p[:, j]) ** 2).sum(axis=1)

    found = coupling.probabilities(margins, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    for _ in range(50):
        other = np.clip(found + RNG.normal(0, 0.02, found.shape), 0, None)
        assert (distance(other / other.sum(axis=1, keepdims=True)) >= distance(found) - 1e-9).all()


def test_blocks_change_nothing_and_the_largest_margins_are_numbers(monkeypatch):
    margins = RNG.normal(0, 300, (30, 10))
    expected = coupling.probabilities(margins, 5)
    monkeypatch.setattr(coupling, "_BLOCK_VALUES", 1)
    np.testing.assert_allclose(coupling.probabilities(margins, 5), expected)
    assert np.isfinite(coupling.log_probabilities(margins, 5)).all()
    assert coupling.probabilities(np.zeros((0, 10)), 5).shape == (0, 5)


def test_a_temperature_makes_them_as_sure_as_they_are_right():
    truth = RNG.dirichlet(np.ones(4), 4000)
    labels = (truth.cumsum(axis=1) > RNG.random((4000, 1))).argmax(axis=1)
    i, j = np.triu_indices(4, 1)
    margins = 3 * (np.log(truth[:, i]) - np.log(truth[:, j]))  # Three times too sure
    found = fit_temperature(margins, labels, lambda x: coupling.log_probabilities(x, 4))
    assert found == pytest.approx(3, rel=0.05)
