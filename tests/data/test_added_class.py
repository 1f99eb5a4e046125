"""The images of classes that a model gets more: where they lie, and in which splits."""

import shutil
from collections import Counter

import numpy as np
import pytest

from dfk.data import added_class, catalog, images, splits
from dfk.data.problems import DataError
from dfk.errors import UsageError
from tests.datasets import save
from tests.pictures import noise


@pytest.fixture
def known(kaggle):
    return catalog.read(kaggle)


@pytest.fixture
def folder(tmp_path):
    """Ten images of a new class."""
    for i in range(10):
        save(noise(16, 16, seed=i), tmp_path / "new" / f"{i}.png")
    return tmp_path / "new"


def _joined(known, *classes):
    added = images.load(added_class.read(classes, known))
    return added_class.join(splits.set_aside(images.load(known)), added)


def test_a_fifth_validates_and_the_others_join_the_holdout(known, folder, logged):
    data = _joined(known, ("new", folder))
    assert data.class_names == ("0", "1", "2", "3", "4", "new")
    counts = {name: Counter(x.labels.tolist())[5] for name, x in data.splits.items()}
    assert counts == {"train": 0, "validation": 2, "test": 0, "holdout": 8}
    assert "Of new, 8 images are learned from in folds, 2 validate." in logged.text
    assert "These are few: of 20 images or more" in logged.text
    holdout = data.splits["holdout"]
    last = noise(16, 16, seed=int(holdout.paths[-1].stem))
    np.testing.assert_array_equal(holdout.images[len(holdout) - 1], last)
    again = _joined(known, ("new", folder))
    assert again.fingerprint == data.fingerprint != images.load(known).fingerprint


def test_several_classes_count_on(known, folder, tmp_path):
    for i in range(5):
        save(noise(20, 24, seed=50 + i), tmp_path / "other" / f"{i}.png")
    data = _joined(known, ("new", folder), ("a", tmp_path / "other"))
    assert data.class_names[-2:] == ("new", "a")
    assert Counter(data.splits["holdout"].labels.tolist())[6] == 4
    assert (24, 20) not in data.splits["holdout"].shapes and (20, 24) in data.splits[
        "holdout"
    ].shapes


def test_a_file_that_is_there_twice_is_named(known, folder, kaggle):
    shutil.copy(folder / "3.png", folder / "again.png")
    trained = next((kaggle / "train").iterdir())
    shutil.copy(trained, folder / "trained.png")
    added = added_class.read([("new", folder)], known)
    assert len(added.splits["added"]) == 10
    with pytest.raises(
        DataError, match=f"again.png: is the same file as .*3.png(.|\n)*{trained.name}"
    ):
        images.load(added)
    assert len(images.load(added, on_bad_image="skip").splits["added"]) == 10


def test_a_broken_image_is_named(known, folder):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"new/2.png"):
        images.load(added_class.read([("new", folder)], known))


def test_what_is_skipped_may_not_leave_too_few(known, folder):
    for i in range(6):
        (folder / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    added = images.load(added_class.read([("new", folder)], known), on_bad_image="skip")
    with pytest.raises(UsageError, match="4 images are left"):
        added_class.join(splits.set_aside(images.load(known)), added)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("3", "there is such a class already; the model and its images have 0, 1, 2, 3, 4"),
        ("unknown", "its name is an answer of dfk's"),
        (" x", "begins or ends with a blank"),
    ],
)
def test_a_name_that_no_class_can_have_is_refused(known, folder, name, message):
    with pytest.raises(UsageError, match=message):
        added_class.read([(name, folder)], known)


def test_a_folder_must_be_there_and_hold_enough(known, folder, tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        added_class.read([("new", tmp_path / "none")], known)
    for i in range(6):
        (folder / f"{i}.png").unlink()
    with pytest.raises(UsageError, match=r"4 images are right inside .*; 5 are the least"):
        added_class.read([("new", folder)], known)
    with pytest.raises(UsageError, match="there is such a class already"):
        added_class.read([("new", folder), ("new", folder)], known)
