"""The plots of a report: what they count, mark and leave out."""

import re

import numpy as np
import pytest

from dfk.reports import plots
from tests.reports.rendered import Page


def test_the_matrix_counts_and_shares():
    page = Page(plots.confusion(np.array([[3, 1], [0, 0]]), ["a", "b"]))
    assert re.findall(r"\d\S*", page.text) == ["3", "75.0%", "1", "25.0%"]
    cells = re.findall(r"fill: var\(--(\w+)\); fill-opacity: ([\d.]+)", page.source)
    assert cells == [("accent", "0.866025"), ("warm", "0.5")]


@pytest.mark.parametrize(("count", "room"), [(plots.MANY, True), (plots.MANY + 1, False)])
def test_the_matrix_gives_percentages_where_there_is_room(count, room):
    drawn = plots.confusion(4 * np.eye(count, dtype=int), ["name"] * count)
    assert drawn.count(">4</text>") == count
    assert drawn.count(">100.0%</text>") == count * room


def test_a_history_without_a_holdout():
    history = [{"loss": 2.0, "accuracy": 0.5}]
    assert plots.best_epoch(history) is None
    curves = plots.learning_curves(history)
    assert list(curves) == ["Loss", "Accuracy"]
    assert "best" not in curves["Loss"]


def test_a_loss_that_is_no_number_is_not_the_best():
    losses = [np.nan, 0.4, 0.3, np.nan]
    assert plots.best_epoch([{"epoch": i, "holdout_loss": x} for i, x in enumerate(losses, 1)]) == 3


def test_reliability_bins_are_equally_filled_and_carry_their_interval():
    confidence = np.linspace(0.5, 0.99, 30)[::-1]
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    bins = plots.reliability_bins(probabilities, np.zeros(30, int))
    np.testing.assert_allclose(bins[:, 0], confidence[::-1].reshape(15, 2).mean(axis=1))
    np.testing.assert_array_equal(bins[:, 1], 1)
    np.testing.assert_allclose(bins[:, 2], 2 / (2 + 1.959964**2), rtol=1e-5)  # Wilson for 2 of 2
    assert len(plots.reliability_bins(probabilities[:4], np.zeros(4, int))) == 4
