"""Which images train, choose and accept: the holdout, the carved validation split, `--limit`."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from dfk.data import catalog, splits
from dfk.data.catalog import DataError
from tests.datasets import COUNTS, names_by_id, save, write_csv, write_kaggle

IMAGE = np.zeros((2, 2, 3), np.uint8)

# The holdout


def _smallest(names, share):
    """Ids by the SHA-256 of their text, the first `share` of each class."""
    chosen = set()
    for label in set(names.values()):
        ids = [i for i, name in names.items() if name == label]
        ids.sort(key=lambda id: hashlib.sha256(id.encode()).hexdigest())
        chosen |= set(ids[: max(1, round(share * len(ids)))])
    return chosen


@pytest.fixture
def uneven(tmp_path):
    """31 + 20 + 4 images, labels in blocks, and no validation split."""
    folder = write_kaggle(tmp_path, counts={"train": 55}, size=2)
    labels = [0] * 31 + [1] * 20 + [2] * 4
    write_csv(folder / "train.csv", [(f"train{i:04}", n) for i, n in enumerate(labels)])
    return folder


def test_the_holdout_is_a_tenth_of_each_class_by_the_hash_of_the_id(uneven):
    save(IMAGE, uneven / "validation" / "v.png")
    write_csv(uneven / "validation.csv", [("v", 0)])
    data = catalog.read(uneven)
    aside = splits.set_aside(data)
    names, holdout = names_by_id(data), names_by_id(aside, "holdout")
    assert Counter(holdout.values()) == {"0": 3, "1": 2, "2": 1}
    assert set(holdout) == _smallest(names, 0.1)
    assert holdout | names_by_id(aside) == names
    assert len(aside.splits["train"]) == 55 - 6
    assert list(names_by_id(aside)) == [id for id in names if id not in holdout]  # In their order
    assert aside.splits["validation"] is data.splits["validation"]


def test_the_holdout_does_not_depend_on_the_order_of_the_csv(uneven):
    before = splits.set_aside(catalog.read(uneven))
    header, *lines = (uneven / "train.csv").read_text().splitlines()
    (uneven / "train.csv").write_text("\n".join([header, *lines[::-1]]))
    after = splits.set_aside(catalog.read(uneven))
    for split in ("train", "validation", "holdout"):
        assert names_by_id(before, split) == names_by_id(after, split)
        assert list(names_by_id(before, split)) == list(names_by_id(after, split))[::-1]


def test_without_validation_one_is_carved_first_and_it_is_said(uneven, logged):
    data = catalog.read(uneven)
    aside = splits.set_aside(data)
    names = names_by_id(data)
    validation = _smallest(names, 0.1)
    rest = {id: name for id, name in names.items() if id not in validation}
    assert set(names_by_id(aside, "validation")) == validation
    assert set(names_by_id(aside, "holdout")) == _smallest(rest, 0.1)
    assert set(names_by_id(aside)) == set(rest) - _smallest(rest, 0.1)
    assert "No validation split: 6 images of train" in logged.text


@pytest.mark.parametrize(
    ("labels", "validation", "problems"),
    [
        ("aab", True, ["train: class 'b' has 1 images, it needs at least 2"]),
        ("aabb", False, [f"train: class {c!r} has 2 images, it needs at least 3" for c in "ab"]),
        ("aaaa", True, ["train: a classifier needs at least two classes"]),
        ("a", False, ["train: class 'a' has 1 images", "train: a classifier needs at least two"]),
    ],
)
def test_too_few_images_or_classes_are_refused(tmp_path, labels, validation, problems):
    for split in ("train", "validation")[: 1 + validation]:
        for i in range(len(labels)):
            save(IMAGE, tmp_path / split / f"{i}.png")
        write_csv(tmp_path / f"{split}.csv", enumerate(labels))
    with pytest.raises(DataError) as error:
        splits.set_aside(catalog.read(tmp_path))
    for line, problem in zip(str(error.value).splitlines(), problems, strict=True):
        assert line.startswith(problem)


def test_the_least_a_class_may_have_is_enough(tmp_path):
    write_kaggle(tmp_path, counts={"train": 6}, classes="ab", size=2)
    aside = splits.set_aside(catalog.read(tmp_path))
    for split in ("train", "validation", "holdout"):
        assert sorted(names_by_id(aside, split).values()) == ["a", "b"]


def test_without_train_there_is_no_holdout(tmp_path):
    write_kaggle(tmp_path, counts={"validation": 10}, size=2)
    with pytest.raises(DataError, match="no training split"):
        splits.set_aside(catalog.read(tmp_path))


# Groups


def _grouped(folder, rows):
    """A catalog of a train split alone; rows of (label, group, how many images)."""
    rows = [(label, group) for label, group, count in rows for _ in range(count)]
    named = [(f"i{i}", *row) for i, row in enumerate(rows)]
    for image_id, *_ in named:
        save(IMAGE, folder / "train" / f"{image_id}.png")
    write_csv(folder / "train.csv", named, ("image_id", "label", "scene"))
    return catalog.read(folder, "scene")


CASES = {
    "scenes of all classes": [(c, f"s{g}", 1 + g % 3) for c in "abc" for g in range(30)],
    "videos of one class": [(c, f"{c}{g}", 5) for c in "ab" for g in range(20)],
    "one large": [("a", f"s{g}", 60 if g == 3 else 2) for g in range(20)]
    + [("b", "s0", 9)] * 2
    + [("b", f"s{g}", 1) for g in range(1, 20)],
    "all too large": [(c, f"{c}{g}", 40) for c in "ab" for g in range(3)],
    "a chain": [("a", g, 3) for g in "1235"] + [("b", g, 3) for g in "2346"],
}


@pytest.mark.parametrize("rows", CASES.values(), ids=CASES)
def test_a_group_lies_in_one_split_and_every_class_in_all(tmp_path, rows):
    data = _grouped(tmp_path, rows)
    aside = splits.set_aside(data).splits
    assert sum(map(len, aside.values())) == len(data.splits["train"])
    found = {name: set(split.groups) for name, split in aside.items()}
    assert sum(map(len, found.values())) == len(set.union(*found.values()))
    for split in aside.values():
        assert set(split.labels.tolist()) == set(range(len(data.class_names)))


def test_shares_are_as_near_to_a_tenth_as_groups_allow(tmp_path, logged):
    aside = splits.set_aside(_grouped(tmp_path, CASES["videos of one class"])).splits
    for name in ("validation", "holdout"):
        assert Counter(aside[name].labels.tolist()) == {0: 10, 1: 10}
    assert "Set aside as holdout: 4 of 36 groups, 20 images, 11% to 11% of a class" in logged.text


def test_groups_are_set_aside_by_their_own_hash(tmp_path):
    rows = CASES["scenes of all classes"]
    (tmp_path / "again").mkdir()
    first = splits.set_aside(_grouped(tmp_path / "again", [(c, g, 1) for c, g, _ in rows])).splits
    other = splits.set_aside(_grouped(tmp_path, [(c, g, 1) for c, g, _ in rows[::-1]])).splits
    digest = lambda name: hashlib.sha256(name.encode()).digest()  # noqa: E731
    expected = sorted({group for _, group, _ in rows}, key=digest)
    for split in (first, other):
        assert set(split["validation"].groups) == set(expected[:3])
        assert set(split["holdout"].groups) == set(expected[3:6])


def test_images_that_are_their_own_groups_are_set_aside_as_without(uneven):
    lines = (uneven / "train.csv").read_text().splitlines()
    plain = splits.set_aside(catalog.read(uneven))
    grouped = splits.set_aside(catalog.read(uneven, "^.*$"))
    for name in ("train", "validation", "holdout"):
        assert grouped.splits[name].ids == plain.splits[name].ids
    assert len(lines) == 56 and grouped.splits["holdout"].groups == plain.splits["holdout"].ids


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [("a", "1", 9), ("a", "2", 9), ("b", "3", 9)],
            "class 'a' lie in 2 groups, it needs at le",
        ),
        (
            [(c, g, 1) for c, gs in (("a", "123"), ("b", "234"), ("c", "341")) for g in gs],
            "lies in",
        ),
    ],
)
def test_groups_that_cannot_be_divided_are_refused(tmp_path, rows, problem):
    with pytest.raises(DataError, match=problem):
        splits.set_aside(_grouped(tmp_path, rows))


def test_groups_across_given_splits_are_counted(tmp_path, logged):
    write_kaggle(tmp_path, counts={"train": 40, "validation": 13}, size=2)
    data = catalog.read(tmp_path, r"(\d)$")
    assert splits.overlaps(data.splits) == [splits.Overlap(("train", "validation"), 10, 13, 13)]
    splits.set_aside(data)
    assert "both train and validation: 10, with 13 of the 13 images of validation" in logged.text
    assert not splits.overlaps(catalog.read(tmp_path, "^.*$").splits)
    assert not splits.overlaps(catalog.read(tmp_path).splits)


def test_limit_divides_no_group_among_splits(tmp_path):
    data = splits.limit(_grouped(tmp_path, CASES["scenes of all classes"]), 90)
    aside = splits.set_aside(data).splits
    assert sum(map(len, aside.values())) == 90
    assert not splits.overlaps(aside)


# A quick look


@pytest.mark.parametrize(
    ("images", "per_class"), [(1, [1, 1, 1]), (9, [3, 3, 3]), (30, [10, 10, 4]), (99, [31, 20, 4])]
)
def test_limit_takes_equal_shares_of_each_class(uneven, images, per_class):
    data = catalog.read(uneven)
    less = splits.limit(data, images)
    labels = less.splits["train"].labels
    assert np.bincount(labels).tolist() == per_class
    assert (np.diff(labels) >= 0).all()  # In the order of the source


def test_limit_takes_the_same_images_of_each_split_however_many(kaggle):
    data = catalog.read(kaggle)
    few, more = splits.limit(data, 5), splits.limit(data, 10)
    assert {name: len(split) for name, split in more.splits.items()} == {
        "train": 10,
        "validation": 10,
        "test": 7,
    }
    for split in COUNTS:
        assert names_by_id(few, split).items() < names_by_id(more, split).items()
