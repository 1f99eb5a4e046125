"""A class that is left out: where its images go, and what is refused."""

import numpy as np
import pytest

from dfk.data import catalog, excluded_class, splits
from dfk.errors import UsageError
from tests.datasets import write_folders, write_kaggle


def _ids(catalog_, split, label=None):
    found = catalog_.splits[split]
    names = [catalog_.class_names[k] if k >= 0 else "" for k in found.labels]
    return {i for i, name in zip(found.ids, names, strict=True) if label in (None, name)}


def test_its_images_leave_train_and_holdout_and_are_unknown_in_validation(kaggle):
    whole = splits.set_aside(catalog.read(kaggle))
    rest = excluded_class.leave_out(whole, "2")
    assert rest.class_names == ("0", "1", "3", "4")
    for split in ("train", "holdout", "validation"):
        for name in rest.class_names:  # The same images, the holdout's too, under their own names
            assert _ids(rest, split, name) == _ids(whole, split, name) != set()
        assert len(rest.splits[split]) == len(whole.splits[split]) - len(_ids(whole, split, "2"))
    assert _ids(rest, "unknown") == _ids(whole, "validation", "2") != set()
    assert set(rest.splits["unknown"].labels) == {catalog.UNLABELLED}
    assert rest.splits["train"].labels.dtype == np.int32


def test_a_test_split_keeps_every_image(tmp_path):
    counts = {"train": 20, "validation": 5, "test": 5}
    folder = write_folders(tmp_path, counts=counts, classes=("a", "b", "c"), test_labels=True)
    rest = excluded_class.leave_out(splits.set_aside(catalog.read(folder)), "b")
    labels = dict(zip(rest.splits["test"].ids, rest.splits["test"].labels, strict=True))
    assert {i.split("/")[0]: k for i, k in labels.items()} == {"a": 0, "b": -1, "c": 1}
    assert len(labels) == 5


@pytest.mark.parametrize(
    ("classes", "name", "message"),
    [
        ("012", "3", "--exclude_class=3: no such class; the data has 0, 1, 2"),
        ("01", "1", "--exclude_class=1 leaves 1; a classifier needs at least two classes"),
        ("012", "2", "--exclude_class=2: validation has no image of it"),
    ],
)
def test_what_cannot_be_left_out_is_refused(tmp_path, classes, name, message):
    folder = write_kaggle(tmp_path, counts={"train": 20, "validation": 2}, classes=classes)
    with pytest.raises(UsageError) as error:
        excluded_class.check(catalog.read(folder), name)
    assert str(error.value).startswith(message)
