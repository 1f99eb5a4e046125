"""McNemar's test against figures worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from dfk import cli
from dfk.data.catalog import Split
from dfk.errors import DfkError
from dfk.evaluation import comparison
from dfk.reports.comparison import compare
from dfk.reports.predictions import read_correct, write_predictions


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
    assert read_correct(path) == {"a": True, "b": False}


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


# Classes of older models, which may be called like columns

NAMES = ("label", "predicted", "image_id", "confidence", "unknown")


def _predictions(path, seed):
    """`predictions.csv` of such a model, and how often it is right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 60).astype(np.int32)
    answers = rng.dirichlet(np.ones(5), 60).astype(np.float32)
    labels[:20] = answers[:20].argmax(axis=1)
    ids = [f"carriage\r{i}" for i in range(60)]
    split = Split(ids, [""] * 60, labels, [""] * 60)
    write_predictions(path, split, answers, NAMES)
    return labels, answers


def test_names_of_columns_change_no_comparison(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    labels, answers = _predictions(tmp_path / "a" / "predictions.csv", 1)
    accuracy = (answers.argmax(axis=1) == labels).mean()
    right = read_correct(tmp_path / "a" / "predictions.csv")
    assert len(right) == 60 and np.mean([*right.values()]) == accuracy
    split = Split([*right], [""] * 60, labels, [""] * 60)
    write_predictions(tmp_path / "b" / "predictions.csv", split, np.eye(5)[labels], NAMES)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found.accuracy_a, found.accuracy_b) == (accuracy, 1.0)
    assert len(found.disagreements) == found.test.second_only == round(60 * (1 - accuracy))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"path,label,confidence\n", b"image_id,label,predicted\na\n", b"a\0b\n"],
)
def test_what_is_no_predictions_csv_is_one_message(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    for read in (read_correct, lambda path: compare(path, path)):
        with pytest.raises(DfkError, match="is no predictions"):
            read(tmp_path / "x")


def test_names_move_no_cursor_on_their_way_to_people(tmp_path, capsys):
    for name, answer in (("a", "x"), ("b", "y")):
        (tmp_path / name).write_text(f"image_id,label,predicted\n\x1b[2Ji,x,{answer}\u202e\n")
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert cli.main(["compare", *paths]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[2Ji: x; A x\\u202e, B y\\u202e" in out and out.isascii()
    assert cli.main(["compare", *paths, "--format=csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "\x1b[2Ji,x,x\u202e,y\u202e"
