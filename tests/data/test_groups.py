"""What images share is read from a column or from their names, or what is wrong is said."""

import unicodedata
from types import SimpleNamespace

import pytest

from dfk.data import catalog, groups
from dfk.errors import UsageError
from tests.datasets import write_csv, write_folders, write_kaggle


def _named(group_by, ids, cells=None, split="train"):
    images = SimpleNamespace(ids=ids, groups=cells)
    return groups.named({split: images}, group_by)[split]


@pytest.mark.parametrize(
    ("group_by", "ids", "expected"),
    [
        (r"/(.*)--", ["gan/a cat--1.png", "camera/a cat--22.png"], ["a cat", "a cat"]),
        (r"video\d+", ["x/video12_3.png", "y/video7_3.png"], ["video12", "video7"]),
        (r"^(\d+)_(\d+)", ["12_3", "12_4"], ["12", "12"]),
        (r"(?P<scene>[^_]+)_(?:\d)", ["ä_1", "b_2"], ["ä", "b"]),
    ],
)
def test_an_expression_finds_the_group_in_the_id(group_by, ids, expected):
    assert _named(group_by, ids) == expected


@pytest.mark.parametrize(
    ("group_by", "ids", "cells", "message"),
    [
        ("(video", ["a"], None, r"no CSV has a column of that name.*no regular expression: "),
        (
            r"v(\d+)",
            ["v1", "x", "y"],
            None,
            r"^--group_by=v.*: 2 of the 3 images of train .*: x, y$",
        ),
        ("v|(x)", ["v", "x"], None, "1 of the 2 images of train"),  # Found without its group
        ("z*", [f"a{i}" for i in range(9)], None, r"9 of the 9 .*: a0, a1, a2, a3, a4, \.\.\.$"),
        ("prompt", ["a", "b"], ["cat", ""], "1 of the 2 images of train .* in the column .*: b"),
    ],
)
def test_what_has_no_group_is_named(group_by, ids, cells, message):
    with pytest.raises(UsageError, match=message):
        _named(group_by, ids, cells)


def test_a_test_split_may_lack_groups():
    assert _named(r"v\d", ["v1", "x"], split="test") is None


def test_a_column_comes_before_an_expression(tmp_path):
    write_kaggle(tmp_path, counts={"train": 4, "test": 2}, size=2)
    ids = [f"train{i:04}" for i in range(4)]
    rows = [(name, 0, f"scene {i % 2}") for i, name in enumerate(ids)]
    write_csv(tmp_path / "train.csv", rows, ("image_id", "label", "train"))
    splits = catalog.read(tmp_path, "train").splits  # Also what the ids start with
    assert splits["train"].groups == ["scene 0", "scene 1"] * 2
    assert splits["train"].take([2, 1]).groups == ["scene 0", "scene 1"]
    assert splits["test"].groups is None
    assert catalog.read(tmp_path, r"\d").splits["test"].groups == ["0", "0"]
    assert catalog.read(tmp_path).splits["train"].groups is None


def test_a_column_that_another_csv_lacks_is_named(tmp_path):
    write_kaggle(tmp_path, counts={"train": 1, "validation": 2}, classes="0", size=2)
    write_csv(tmp_path / "train.csv", [("train0000", "0", "x")], ("image_id", "label", "scene"))
    with pytest.raises(
        UsageError, match="2 of the 2 images of validation have no group in the col"
    ):
        catalog.read(tmp_path, "scene")


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_columns_and_groups_are_compared_in_one_form_of_unicode(forms, tmp_path):
    there, given = (unicodedata.normalize(form, "scène") for form in forms)
    data = write_kaggle(tmp_path, counts={"train": 4, "validation": 4}, classes="ab")
    for split in ("train", "validation"):
        rows = (data / f"{split}.csv").read_text().splitlines()
        cells = [there, *[unicodedata.normalize(form, "é") for form in (*forms, *forms)]]
        lines = [f"{row},{cell}" for row, cell in zip(rows, cells, strict=True)]
        (data / f"{split}.csv").write_text("\n".join(lines))
    assert set(catalog.read(data, given).splits["train"].groups) == {"é"}


def test_an_expression_is_searched_in_one_form_of_unicode(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for there, given in ((nfc, nfd), (nfd, nfc)):
        data = write_folders(tmp_path / there, counts={"train": 4}, classes=("a", f"b{there}"))
        assert {*catalog.read(data, f"^(a|b{given})/").splits["train"].groups} == {"a", f"b{nfc}"}
