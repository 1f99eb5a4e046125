"""Windows of images of any sizes, in memory or in files, and what lies outside of an image."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dfk.data import augment, catalog, images, pipeline, reading
from dfk.data.stored import Images, files_of
from tests.datasets import save, write_csv

SIZES = [(40, 50), (33, 64), (20, 20), (9, 30), (1, 3), (100, 18)]
RANDOM = {"augmentations": augment.parse(["forensic"]), "crop": 20}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Noise of many sizes in files, all of it in memory; half of it JPEG."""
    folder = tmp_path_factory.mktemp("sizes")
    rng = np.random.default_rng(0)
    names = []
    for i, size in enumerate(SIZES):
        suffix = ("png", "jpg")[i % 2]
        save(rng.integers(0, 256, (*size, 3), np.uint8), folder / "train" / f"{i}.{suffix}")
        names.append((str(i), "ab"[i % 2]))
    write_csv(folder / "train.csv", names)
    return images.load(catalog.read(folder)).splits["train"]


@pytest.fixture(params=["memory", "both", "files"])
def anywhere(split, request):
    """The same, not all of it in memory."""
    data = catalog.Catalog(("a", "b"), {"train": dataclasses.replace(split, images=None)})
    in_files = images.load(data, cache_gib=0).splits["train"].images
    held = {"memory": [], "both": [1, 4], "files": range(len(split))}[request.param]
    kept = [(in_files if i in held else split.images).kept[i] for i in range(len(split))]
    assert len(files_of(Images(kept))) == len(held)
    return dataclasses.replace(split, images=Images(kept))


def _padded(image, side):
    """With `side` pixels more at each side, by NumPy."""
    return np.pad(image, ((side, side), (side, side), (0, 0)), "reflect")


def test_a_window_is_what_is_there_and_its_reflection_outside(split, anywhere):
    places = [(0, 0), (5, 30), (-3, 2), (-8, -1), (-40, -70), (70, 10)]
    cut = reading.windows(anywhere, 24, from_files=False)
    seen = cut(tf.range(len(places), dtype=tf.int64), tf.constant(places, tf.int64))
    for image, (top, left), window in zip(split.images, places, seen, strict=True):
        expected = _padded(image, 100)[100 + top :, 100 + left :][:24, :24]
        np.testing.assert_array_equal(window, expected)


def test_places_lie_inside_on_a_grid_and_everywhere():
    sizes = tf.constant([[100, 57]] * 2000, tf.int64)
    places = reading.drawn_places(sizes, 25, 16, tf.constant([0, 1], tf.int64)).numpy()
    assert np.unique(places[:, 0]).tolist() == [0, 16, 32, 48, 64]
    assert np.unique(places[:, 1]).tolist() == [0, 16, 32]
    assert np.unique(places[:, 0], return_counts=True)[1].min() > 300
    small = tf.constant([[20, 26]], tf.int64)
    assert reading.drawn_places(small, 25, 1, tf.constant([0, 1], tf.int64))[0, 0] == -3
    spread = reading.spread_places(sizes[:1], 25, tf.constant([[0.25, 1.0]]))
    assert spread.numpy().tolist() == [[18, 32]]


def test_training_shows_crops_of_what_holds_them_and_pads_the_rest(split):
    batches = pipeline.make_dataset(
        split=split, classes=2, batch_size=6, training=True, crop=20, epochs=40
    ).as_numpy_iterator()
    places = set()
    for batch, labels in batches:
        for crop, label in zip(batch, labels, strict=True):
            found = [
                (i, *map(int, place))
                for i, image in enumerate(split.images)
                if label[i % 2] == 1
                for place in _places_of(crop, image, 0 if min(SIZES[i]) >= 20 else 100)
            ]
            assert found
            places |= set(found)
    assert {place[0] for place in places} == set(range(len(SIZES)))
    # (40, 50) and (20, 20): all of the grid of windows and of the crops in them
    assert len({place[1:] for place in places if place[0] == 0}) > 30
    assert {place[1:] for place in places if place[0] == 2} == {(0, 0)}


def _places_of(crop, image, padding):
    image = _padded(image, padding) if padding else image
    windows = np.lib.stride_tricks.sliding_window_view(image, crop.shape[:2], axis=(0, 1))
    corners = (windows[..., 0, 0] == crop[0, 0]).all(-1)
    return [p for p in np.argwhere(corners) if (np.moveaxis(windows[*p], 0, -1) == crop).all()]


def test_crops_repeat_wherever_they_come_from(split, anywhere):
    options = {"classes": 2, "batch_size": 3, "training": True, "epochs": 3, **RANDOM}
    whole = _batches(split, **options)
    np.testing.assert_array_equal(_batches(anywhere, **options), whole)
    np.testing.assert_array_equal(_batches(anywhere, first_epoch=2, **options), whole[4:])


def test_a_holdout_shows_four_crops_of_each_image(split):
    batches = _batches(split, classes=2, batch_size=4, crop=20)
    assert batches.shape == (len(SIZES), 4, 20, 20, 3)
    expected = [(5, 7), (5, 22), (15, 7), (15, 22)]
    for crop, (top, left) in zip(batches[0], expected, strict=True):
        np.testing.assert_array_equal(crop, split.images[0][top : top + 20, left : left + 20])


@pytest.mark.parametrize(
    ("sizes", "crop", "side"),
    [
        ([(256, 256)], 96, 0),  # Of one size, not large
        ([(257, 256)], 96, 112),
        ([(100, 100), (300, 300)], 96, 100),
        ([(90, 100), (300, 300)], 96, 112),
        ([(100, 100), (300, 300)], 0, 0),
    ],
)
def test_windows_are_larger_than_crops_as_far_as_images_allow(sizes, crop, side):
    pixels = [np.zeros((*size, 3), np.uint8) for size in sizes]
    names = [str(i) for i in range(len(sizes))]
    some = catalog.Split(names, names, np.zeros(len(sizes), np.int32), names, pixels)
    assert pipeline.window_side(some, 0, crop) == side


def _batches(split, **options):
    return np.stack([images for images, _ in pipeline.make_dataset(split=split, **options)])
