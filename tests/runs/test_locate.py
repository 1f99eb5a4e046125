"""A name or path of a model means one thing, wherever it is given."""

from pathlib import Path

import pytest

from dfk.errors import UsageError
from dfk.runs import locate


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory: a run in `runs/`, a folder that is called as a shipped model is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "model.keras").touch()
    (tmp_path / "unibuc").mkdir()
    return tmp_path


SHIPPED = locate.FOLDER / "unibuc.keras"


@pytest.mark.parametrize(
    ("model", "folder", "meant"),
    [
        ("mine", "runs", "runs/mine"),
        ("gone", "runs", "runs/gone"),
        ("runs/mine", "elsewhere", "runs/mine"),
        ("./unibuc-small", "runs", "unibuc-small"),
        ("unibuc", "", "unibuc"),  # A path that is there wins
        ("unibuc", "runs", SHIPPED),  # There, not here
        ("unibuc-small", "", locate.FOLDER / "unibuc-small.keras"),
        ("unibuc.keras", "runs", "runs/unibuc.keras"),
    ],
)
def test_a_bare_name_is_what_lies_in_the_folder_or_is_shipped(here, model, folder, meant):
    assert locate.locate(model, folder) == Path(meant)
    # As the flags of a run say it, it means the same again.
    assert locate.locate(locate.named(model, folder), folder) == Path(meant)


def test_a_run_that_will_be_there_wins_over_a_shipped_model(here):
    assert locate.named("unibuc", "runs") == "unibuc"
    assert locate.named("unibuc", "runs", {Path("runs/unibuc")}) == "runs/unibuc"
    (here / "runs" / "unibuc").mkdir()
    assert locate.named("unibuc", "runs") == "runs/unibuc"


def test_the_file_of_a_run_in_the_folder_is_found(here):
    assert locate.find_model("mine", "runs") == Path("runs/mine/model.keras")
    assert locate.find_keras("unibuc", "", "runs") == SHIPPED


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("gone", "no model at runs/gone; with dfk come unibuc, unibuc-small"),
        ("./gone", "no model at gone;"),
        ("empty", "runs/empty holds no model.keras, model.skops or SavedModel$"),
        ("begun", "runs/begun holds .*not finished, continue it with --resume$"),
        ("unibuc", "runs/unibuc holds no .*; it hides the unibuc that comes with dfk"),
        ("svm", "runs/svm/model.skops is an SVM; only those"),
        ("exported", "runs/exported/saved_model/2 is a SavedModel; only those"),
        ("notes", "runs/notes is no model"),
    ],
)
def test_what_was_looked_for_and_where_is_said(here, model, message):
    for name in ("empty", "begun", "unibuc", "svm", "exported/saved_model/2"):
        (here / "runs" / name).mkdir(parents=True)
    (here / "runs" / "begun" / "config.flags").touch()
    (here / "runs" / "svm" / "model.skops").touch()
    (here / "runs" / "exported" / "saved_model" / "2" / "saved_model.pb").touch()
    (here / "runs" / "notes").touch()
    with pytest.raises(UsageError, match=message):
        locate.find_keras(model, "only those", "runs")
