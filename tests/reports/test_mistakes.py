"""The mistakes that a report shows: the surest of each class, and where the model looked."""

import dataclasses

import numpy as np
import pytest

import dfk
from dfk.data.catalog import Split
from dfk.errors import ImageError
from dfk.inference.explain import Explainer
from dfk.reports.mistakes import worst_mistakes
from tests.networks import CLASSES, network
from tests.pictures import noise


@pytest.fixture(scope="module")
def split():
    """Five images of each of two classes."""
    names = [f"i{i}" for i in range(10)]
    labels = np.array([0] * 5 + [1] * 5, np.int32)
    return Split(names, names, labels, names, [noise(16, 16, i) for i in range(10)])


@pytest.fixture
def wrong():
    """Answers to them, the later the surer; all are wrong but the last."""
    confidence = np.linspace(0.5, 0.95, 10)
    wrong = np.stack([1 - confidence, confidence], axis=1)
    wrong[5:] = wrong[5:, ::-1]
    wrong[9] = [0.01, 0.99]
    return wrong


def test_of_each_class_the_surest_mistakes_are_shown_with_their_heat(split, wrong, tmp_path):
    network(16).save(tmp_path / "model.keras")
    explainer = Explainer(dfk.load(tmp_path / "model.keras"))
    mistakes = worst_mistakes(split, wrong, CLASSES[:2], explainer)
    assert [m.image_id for m in mistakes] == ["i4", "i3", "i2", "i8", "i7", "i6"]
    assert {(m.truth, m.predicted) for m in mistakes[:3]} == {("cat", "dog")}
    for mistake in mistakes:
        expected = explainer.explain(mistake.image).overlay()
        np.testing.assert_array_equal(mistake.overlay, expected)


def test_a_model_that_cannot_tell_where_it_looked_has_no_overlay(split, wrong):
    class Full:
        def explain(self, image):
            raise ImageError("there is not enough memory")

    for explainer in (None, Full()):
        assert worst_mistakes(split, wrong, CLASSES[:2], explainer)[0].overlay is None


def test_large_images_are_kept_small(split, wrong):
    class Whole:
        def explain(self, image):
            return self

        def overlay(self):
            return noise(600, 300, 1)

    images = [noise(700, 1400, i) if i == 4 else image for i, image in enumerate(split.images)]
    mistakes = worst_mistakes(
        dataclasses.replace(split, images=images), wrong, CLASSES[:2], Whole()
    )
    assert mistakes[0].image.shape == (256, 512, 3)
    assert mistakes[0].overlay.shape == (512, 256, 3)
    np.testing.assert_array_equal(mistakes[1].image, split.images[3])
