"""How many answers change when images are saved again, and what is said of it."""

import hashlib

import numpy as np
import pytest

import dfk
from dfk.data.catalog import Split
from dfk.evaluation import degrade
from dfk.reports import resaving
from tests.networks import network
from tests.pictures import noise
from tests.reports.rendered import arguments, render

NAMES = ("png", "jpeg", "other")


def _split(count, side=24):
    """Images of two sizes, all of class 0."""
    ids = [f"i{i}" for i in range(count)]
    images = [noise(side, side + 8 * (i % 2), i) for i in range(count)]
    return Split(ids, ids, np.zeros(count, np.int32), ids, images)


def _looks_for(split, quality):
    """A model of class 1 wherever pixels are what a JPEG of this quality made of them."""
    jpegs = {degrade.jpeg(image, quality).tobytes() for image in split.images}
    return lambda part: np.eye(3, dtype=np.float32)[
        [int(image.tobytes() in jpegs) for image in part.images]
    ]


@pytest.mark.parametrize("held", [1, 2**28])
def test_answers_that_change_are_counted_by_where_they_go(held, monkeypatch):
    monkeypatch.setattr(resaving, "_HELD_BYTES", held)  # One image at a time, or all at once
    split = _split(10)
    before = np.eye(3, dtype=np.float32)[[0] * 9 + [1]]  # One is called so anyway
    rows = resaving.measure(_looks_for(split, 95), split, before, NAMES)
    assert rows == [
        {"format": "JPEG 95", "n": 10, "changed": 9, "to": {"jpeg": 9}, "accuracy": 0.0},
        {"format": "JPEG 75", "n": 10, "changed": 1, "to": {"png": 1}, "accuracy": 1.0},
    ]
    assert resaving.lines(rows)[0] == (
        "saved again as JPEG 95, 9 of 10 images get another answer (9 to jpeg)"
    )
    assert "--augment=jpeg or --augment=forensic" in resaving.warning(rows)
    assert resaving.warning(rows[1:]) == resaving.warning([]) == ""  # A tenth is not above it


def test_of_many_images_some_are_looked_at_the_same_ones_whatever_their_order(monkeypatch):
    monkeypatch.setattr(resaving, "MOST_IMAGES", 4)
    split, seen = _split(9), []

    def answer(part):
        seen.append(part.ids)
        return np.eye(3, dtype=np.float32)[[2] * len(part)]

    before = np.eye(3, dtype=np.float32)[[0] * 9]
    for order in (range(9), range(8, -1, -1)):
        rows = resaving.measure(answer, split.take(order), before, NAMES)
        assert [row["n"] for row in rows] == [4, 4] and rows[0]["to"] == {"other": 4}
    first = sorted(split.ids, key=lambda i: hashlib.sha256(i.encode()).digest())[:4]
    assert [sorted(ids) for ids in seen] == [sorted(first)] * 4


def test_what_has_no_answer_is_not_counted():
    split = _split(3)
    rows = resaving.measure(
        lambda part: np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32),
        split,
        np.eye(3, dtype=np.float32)[[2, 0, 0]],
        NAMES,
    )
    assert (rows[0]["n"], rows[0]["changed"]) == (2, 1)


def test_a_loaded_model_is_asked_for_images_of_any_size(tmp_path):
    network(16).save(tmp_path / "model.keras")
    classifier, split = dfk.load(tmp_path / "model.keras"), _split(5)
    before = np.stack([x.probabilities for x in classifier.predict(split.images)])
    rows = resaving.measure(resaving.answer_of(classifier), split, before, classifier.class_names)
    saved = classifier.predict([degrade.jpeg(image, 95) for image in split.images])
    after = np.stack([x.probabilities for x in saved]).argmax(axis=1)
    assert rows[0]["changed"] == (after != before.argmax(axis=1)).sum()
    assert rows[0]["accuracy"] == (after == 0).mean()


def test_the_report_begins_with_the_warning(tmp_path):
    given = arguments()
    row = {"format": "JPEG 95", "n": 60, "changed": 7, "to": {"3": 6, "1": 1}, "accuracy": 0.5}
    given["metrics"]["resaved"] = [row, row | {"format": "JPEG 75", "changed": 0, "to": {}}]
    words = render(tmp_path, given).words
    warned = "Warning : saved again as JPEG 95, 7 of 60 images get another answer (6 to 3, 1 to 1)"
    assert warned in words and words.index(warned) < words.index("Accuracy")
    assert "JPEG 95 7 of 60 50.00 % 3 (6), 1 (1)" in words and "JPEG 75 0 of 60" in words
    row["changed"] = 6
    words = render(tmp_path, given).words
    assert "Warning" not in words and "Saved again" in words
