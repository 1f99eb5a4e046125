"""Images in a report: of each class, augmented ones, those of confusions; plots by class."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from dfk.data.catalog import Split
from dfk.reports import class_plots, samples
from tests.pictures import noise
from tests.reports.rendered import arguments, render

NAMES = ("gan", "real", "vae")


def _split(labels, side=24):
    images = [noise(side, side + 8, i) for i in range(len(labels))]
    return Split(
        [f"i{i}" for i in range(len(labels))],
        [f"{i}.png" for i in range(len(labels))],
        np.array(labels),
        ["x"] * len(labels),
        images,
    )


def _answers(answers, confidence):
    rows = np.full((len(answers), 3), 0.0)
    rows += ((1 - np.array(confidence)) / 2)[:, None]
    rows[np.arange(len(answers)), answers] = confidence
    return rows


def _pixels(shown):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.uri.partition(",")[2]))))


def test_cells_hold_wrong_answers_the_most_frequent_and_the_surest_first():
    split = _split([0, 0, 0, 1, 1, 2])
    probabilities = _answers([1, 1, 0, 1, 2, 2], [0.5, 0.9, 0.9, 0.9, 0.6, 0.9])
    found = samples.of_run(split, probabilities, NAMES, {})
    assert [*found.cells] == [(0, 1), (1, 2)]
    for shown, i in zip(found.cells[0, 1], (1, 0), strict=True):
        np.testing.assert_array_equal(_pixels(shown), split.images[i])
    assert [*found.classes] == [*NAMES] and [len(x) for x in found.classes.values()] == [3, 2, 1]
    assert found.augmented == {}


def test_a_class_without_images_and_many_images_take_no_room():
    split = _split([0] * 9 + [2])
    found = samples.of_run(split, _answers([2] * 9 + [2], [0.9] * 10), NAMES, {})
    assert {name: len(few) for name, few in found.classes.items()} == {"gan": 4, "vae": 1}
    assert len(found.cells[0, 2]) == samples.OF_CELL


def test_augmented_images_are_draws_of_the_first_and_cropped_as_in_training():
    split = _split([0, 1, 2])
    flags = {"augment": "vflip=1", "train_crop": "0"}
    found = samples.of_run(split, _answers([0, 1, 2], [0.9] * 3), NAMES, flags)
    plain, *draws = map(_pixels, found.augmented["real"])
    np.testing.assert_array_equal(plain, split.images[1])
    for draw in draws:
        np.testing.assert_array_equal(draw, plain[::-1])
    flags = {"augment": "turn,degrade", "train_crop": "16"}
    found = samples.of_run(split, _answers([0, 1, 2], [0.9] * 3), NAMES, flags)
    assert [_pixels(x).shape for x in found.augmented["gan"]] == [(24, 24, 3)] + [(16, 16, 3)] * 3


def test_areas_are_those_of_scikit_learn_and_a_class_alone_has_none():
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = _answers([0, 0, 1, 1, 1, 0], [0.9, 0.6, 0.7, 0.8, 0.5, 0.6])
    drawn = class_plots.of_classes(probabilities, labels, NAMES)
    assert drawn.names == ["gan", "real"]  # No image is of the third.
    assert drawn.scores[0][1] == pytest.approx(roc_auc_score(labels == 0, probabilities[:, 0]))
    assert all("var(--series-1)" in svg for svg in drawn.plots.values())
    assert class_plots.of_classes(probabilities, np.zeros(6, int), NAMES) is None


def test_of_many_classes_the_worst_are_drawn():
    labels = np.arange(40) % 10
    probabilities = np.full((40, 10), 0.01)
    probabilities[np.arange(40), labels] = 0.9
    probabilities[labels == 7, 7] = 0.0
    drawn = class_plots.of_classes(probabilities, labels, [str(k) for k in range(10)])
    assert len(drawn.names) == 8 and "7" in drawn.names


def test_the_page_links_confusions_to_their_images_and_says_what_the_data_are(tmp_path):
    given = arguments()
    labels, probabilities = given["labels"], given["probabilities"]
    images = [np.full((8, 8, 3), i, np.uint8) for i in range(len(labels))]
    split = Split([], [], labels, [], images)
    names = [row["class"] for row in given["metrics"]["per_class"]]
    shown = samples.of_run(split, probabilities, names, {"augment": "flip"})
    metrics = given["metrics"] | {"data_dir": "demo"}
    page = render(tmp_path, given, metrics=metrics, samples=shown, written="2026-11-30")
    targets = {
        tag[1]["id"] for tag in page.tags if tag[1].get("id", "").startswith("confusion-cell")
    }
    links = [a.get("href") or a["xlink:href"] for a in page.named("a")]
    assert targets and {link.removeprefix("#") for link in links} == targets
    assert len(links) > len(targets)  # From the table, and from the matrix
    assert "of demo; 2026-11-30" in page.words and "Simulation : these images" in page.words
    assert "What training sees of them" in page.words
    elsewhere = render(tmp_path, given, metrics=metrics | {"data_dir": "data/mine"})
    assert "Simulation" not in elsewhere.words and "of data/mine" in elsewhere.words
