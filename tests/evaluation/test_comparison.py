"""McNemar's test against figures worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from dfk.evaluation import comparison


def _answers(text):
    return {f"i{n}": c == "+" for n, c in enumerate(text)}


def test_the_exact_test_counts_only_what_the_models_disagree_on():
    result = comparison.mcnemar(_answers("++++++++--"), _answers("+++++--+++"))
    assert (result.first_only, result.second_only) == (2, 2)
    assert result.p_value == 1.0
    result = comparison.mcnemar(_answers("------++"), _answers("++++++++"))
    assert result == (0, 6, pytest.approx(2 * 0.5**6))


def test_models_that_always_agree_do_not_differ():
    assert comparison.mcnemar(_answers("+-"), _answers("+-")) == (0, 0, 1.0)


def test_only_common_images_count():
    second = {"i0": False, "other": True}
    assert comparison.mcnemar(_answers("++"), second)[:2] == (1, 0)
    with pytest.raises(ValueError, match="no image in common"):
        comparison.mcnemar(_answers("+"), {"other": True})


def test_unlabelled_images_are_left_out(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("image_id,label,predicted\na,0,0\nb,1,0\nc,,0\n")
    assert comparison.read_correct(path) == {"a": True, "b": False}


def test_the_bootstrap_interval_is_the_resampled_differences():
    """Against scipy's own, which resamples the images themselves."""
    first, second = (
        _answers("+" * 60 + "-" * 40),
        _answers("+" * 50 + "-" * 10 + "+" * 25 + "-" * 15),
    )
    gains = [second[i] - first[i] for i in first]
    expected = stats.bootstrap((gains,), np.mean, method="percentile", rng=1).confidence_interval
    assert comparison.bootstrap(first, second) == pytest.approx(expected, abs=0.011)
    assert comparison.bootstrap(first, second) == comparison.bootstrap(first, second)


def test_models_that_always_agree_differ_by_nothing():
    assert comparison.bootstrap(_answers("+-"), _answers("+-")) == [0.0, 0.0]
