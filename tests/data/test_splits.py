"""Which images train, choose and accept: the holdout, the carved validation split, `--limit`."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from dfk.data import catalog
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
    aside = catalog.set_aside(data)
    names, holdout = names_by_id(data), names_by_id(aside, "holdout")
    assert Counter(holdout.values()) == {"0": 3, "1": 2, "2": 1}
    assert set(holdout) == _smallest(names, 0.1)
    assert holdout | names_by_id(aside) == names
    assert len(aside.splits["train"]) == 55 - 6
    assert list(names_by_id(aside)) == [id for id in names if id not in holdout]  # In their order
    assert aside.splits["validation"] is data.splits["validation"]


def test_the_holdout_does_not_depend_on_the_order_of_the_csv(uneven):
    before = catalog.set_aside(catalog.read(uneven))
    header, *lines = (uneven / "train.csv").read_text().splitlines()
    (uneven / "train.csv").write_text("\n".join([header, *lines[::-1]]))
    after = catalog.set_aside(catalog.read(uneven))
    for split in ("train", "validation", "holdout"):
        assert names_by_id(before, split) == names_by_id(after, split)
        assert list(names_by_id(before, split)) == list(names_by_id(after, split))[::-1]


def test_without_validation_one_is_carved_first_and_it_is_said(uneven, logged):
    data = catalog.read(uneven)
    aside = catalog.set_aside(data)
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
        catalog.set_aside(catalog.read(tmp_path))
    for line, problem in zip(str(error.value).splitlines(), problems, strict=True):
        assert line.startswith(problem)


def test_the_least_a_class_may_have_is_enough(tmp_path):
    write_kaggle(tmp_path, counts={"train": 6}, classes="ab", size=2)
    aside = catalog.set_aside(catalog.read(tmp_path))
    for split in ("train", "validation", "holdout"):
        assert sorted(names_by_id(aside, split).values()) == ["a", "b"]


def test_without_train_there_is_no_holdout(tmp_path):
    write_kaggle(tmp_path, counts={"validation": 10}, size=2)
    with pytest.raises(DataError, match="no training split"):
        catalog.set_aside(catalog.read(tmp_path))


# A quick look


@pytest.mark.parametrize(
    ("images", "per_class"), [(1, [1, 1, 1]), (9, [3, 3, 3]), (30, [10, 10, 4]), (99, [31, 20, 4])]
)
def test_limit_takes_equal_shares_of_each_class(uneven, images, per_class):
    data = catalog.read(uneven)
    less = catalog.limit(data, images)
    labels = less.splits["train"].labels
    assert np.bincount(labels).tolist() == per_class
    assert (np.diff(labels) >= 0).all()  # In the order of the source


def test_limit_takes_the_same_images_of_each_split_however_many(kaggle):
    data = catalog.read(kaggle)
    few, more = catalog.limit(data, 5), catalog.limit(data, 10)
    assert {name: len(split) for name, split in more.splits.items()} == {
        "train": 10,
        "validation": 10,
        "test": 7,
    }
    for split in COUNTS:
        assert names_by_id(few, split).items() < names_by_id(more, split).items()
