"""The map of features: where images lie, of which models, and how many of them."""

import numpy as np
import pytest

import dfk
from dfk.data.catalog import Split
from dfk.reports import feature_map
from tests.networks import save_tiny
from tests.pictures import noise
from tests.reports.rendered import render

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_tiny(path, NAMES, seed=1)
    return dfk.load(path)


def _split(n):
    images = [noise(16, 16, i) for i in range(n)]
    return Split([str(i) for i in range(n)], [], np.arange(n) % 3, [], images)


def test_places_tell_groups_apart_whatever_the_scale_of_a_feature():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 50)
    features = rng.normal(size=(100, 6)).astype(np.float32)
    features[:, :4] += 6 * group[:, None]
    features[:, 5] *= 1e6
    places, share = feature_map.project(features)
    assert places.shape == (100, 2) and 0.5 < share < 1
    apart = places[group == 1, 0].mean() - places[group == 0, 0].mean()
    assert abs(apart) > 5 * places[group == 0, 0].std()


def test_a_report_has_the_map_of_a_network(classifier, tmp_path):
    split = _split(120)
    probabilities = np.eye(3)[(split.labels + (np.arange(120) < 7)) % 3]
    found = feature_map.of(classifier, split, probabilities, NAMES)
    assert (found.images, found.names) == (120, [*NAMES])
    assert found.svg.count("<use") >= 120
    page = render(tmp_path, feature_map=found)
    assert "Map of features" in page.words and "in 120 of the images" in page.words
    assert "Map of features" not in render(tmp_path).words


def test_few_images_and_many_classes_have_none(classifier):
    split = _split(99)
    assert feature_map.of(classifier, split, np.eye(3)[split.labels], NAMES) is None
    split = _split(120)
    many = [str(i) for i in range(9)]
    assert feature_map.of(classifier, split, np.eye(9)[split.labels], many) is None


def test_of_many_images_some_are_taken(classifier):
    split = _split(310)
    found = feature_map.of(classifier, split, np.eye(3)[split.labels], NAMES)
    assert found.images == feature_map.MOST
