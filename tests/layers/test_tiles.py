"""What is counted in tiles is what is counted in the whole."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk.layers import NoiseStatistics, RichFeatures, tiles
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


@pytest.mark.parametrize("portable", [False, True])
def test_numbers_beyond_are_not_counted(portable):
    with tiles.portable() if portable else contextlib.nullcontext():
        counts = tiles.counted(tf.constant([[0, 2, 2], [9, 1, 3]]), 3)
    assert keras.ops.convert_to_numpy(counts).tolist() == [1, 1, 2]


_JAX = """
import sys
import keras, numpy as np
from dfk.layers import NoiseStatistics, RichFeatures
assert keras.backend.backend() == "jax"
images = np.load(sys.argv[1])
for kind in (NoiseStatistics, RichFeatures):
    for dtype in ("float32", "bfloat16", "float16", "mixed_bfloat16"):
        layer = kind(dtype=dtype)
        declared, answer = layer(keras.Input((None, None, 3), dtype="uint8")), layer(images)
        assert str(answer.dtype) == declared.dtype == layer.compute_dtype
        assert answer.shape[1:] == declared.shape[1:]
        np.save(f"{sys.argv[2]}/{kind.__name__}-{dtype}.npy", np.float32(answer))
"""


@pytest.mark.slow  # JAX compiles for half a minute.
def test_layers_that_count_answer_the_same_on_jax(tmp_path):
    pytest.importorskip("jax")
    images = np.stack([noise(30, 41, seed) for seed in range(2)])
    np.save(tmp_path / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", _JAX, tmp_path / "images.npy", tmp_path],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    for kind in (NoiseStatistics, RichFeatures):
        expected = keras.ops.convert_to_numpy(kind()(images))
        for dtype, rtol in (("float32", 1e-5), ("mixed_bfloat16", 0.01), ("float16", 0.001)):
            found = np.load(tmp_path / f"{kind.__name__}-{dtype}.npy")
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-5)
