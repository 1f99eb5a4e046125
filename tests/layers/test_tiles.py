"""What is counted in tiles is what is counted in the whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk.layers import RichFeatures, tiles
from tests.pictures import noise

# Of kernels, patterns and margins of every kind.
LAYER = RichFeatures(
    [
        ("none", 32, "colours", 5),
        ("second", 3, "next-but-one"),
        ("square", 4, "row"),
        ("least", 1, "row"),
    ]
)
SIZES = [(1, 8, 8), (3, 41, 90), (2, 9, 83), (5, 47, 33)]


def _features(images):
    return keras.ops.convert_to_numpy(LAYER(images))


def _images(count, height, width):
    return np.stack([noise(height, width, seed) // 4 + 90 for seed in range(count)])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("graph", [False, True])
def test_tiles_change_nothing(size, graph, monkeypatch):
    images = _images(*size)
    whole = _features(images)
    monkeypatch.setattr(tiles, "_SIDE", 20)
    monkeypatch.setattr(tiles, "_IMAGES", 2)
    of_tiles = LAYER
    if graph:
        of_tiles = tf.function(LAYER, input_signature=[tf.TensorSpec([None] * 3 + [3], tf.uint8)])
    np.testing.assert_array_equal(of_tiles(images), whole)


@pytest.mark.parametrize("margins", [(0, 0), (6, 0), (2, 5)])
@pytest.mark.parametrize("size", SIZES)
def test_each_place_is_the_own_of_one_tile(size, margins, monkeypatch):
    monkeypatch.setattr(tiles, "_SIDE", 16)
    monkeypatch.setattr(tiles, "_IMAGES", 2)

    def places(tile):
        own = [keras.ops.cast(x, "int32") for x in tile.own(margins, tile.images.shape[2])]
        product = own[0][:, None, None] * own[1][:, None] * own[2]
        return keras.ops.sum(product, axis=(1, 2))[:, None]

    count, height, width = size
    found = tiles.summed(tf.zeros((*size, 3)), places, 1, overlap=6)
    expected = (height - margins[0]) * (width - margins[1])
    assert keras.ops.convert_to_numpy(found).ravel().tolist() == [expected] * count


def test_an_empty_batch_has_no_counts():
    assert _features(np.zeros((0, 30, 30, 3), np.uint8)).shape == (0, LAYER.features)
    function = tf.function(LAYER, input_signature=[tf.TensorSpec([None] * 3 + [3], tf.uint8)])
    assert function(np.zeros((0, 30, 30, 3), np.uint8)).shape == (0, LAYER.features)


def test_numbers_beyond_are_not_counted():
    counts = tiles.counted(tf.constant([[0, 2, 2], [9, 1, 3]]), 3)
    assert keras.ops.convert_to_numpy(counts).tolist() == [1, 1, 2]
