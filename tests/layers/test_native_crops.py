"""Crops of a large image lie evenly over it, and what is not larger stays as it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk import layers
from dfk.layers import native_crops

RNG = np.random.default_rng(0)

# (height, width) of an image, and the rows and columns of its crops of 40 pixels
GRIDS = {
    (40, 40): (1, 1),
    (47, 33): (1, 1),  # Less than a block more is no second crop.
    (48, 30): (2, 1),
    (60, 500): (2, 4),
    (500, 60): (4, 2),
    (40, 900): (1, 9),
    (900, 20): (9, 1),
    (100, 100): (3, 3),
    (4000, 6000): (3, 3),
}


def _expected(images, side):
    """The crops of images [N, H, W, 3], cut out one by one."""
    windows = layers.NativeCrops(side).windows(*images.shape[1:3])
    return np.stack([image[window] for image in images for window in windows])


@pytest.mark.parametrize("size", GRIDS)
def test_there_are_as_many_as_cover_the_image_and_no_more_than_nine(size):
    rows, columns, high, wide = native_crops.grid(*size, 40)
    assert (rows, columns) == GRIDS[size]
    assert (high, wide) == (min(size[0], 40), min(size[1], 40))
    windows = layers.NativeCrops(40).windows(*size)
    assert len(windows) == rows * columns
    for pixels, count, side, places in zip(
        size, (rows, columns), (high, wide), zip(*windows, strict=True), strict=True
    ):
        assert {place.stop - place.start for place in places} == {side}
        starts = sorted({place.start for place in places})
        steps = np.diff(starts)
        assert (
            len(starts) == count and all(start % 8 == 0 for start in starts) and (steps > 0).all()
        )
        assert starts[0] == 0 and pixels - side - starts[-1] < 8
        assert count == 1 or steps.max() - steps.min() <= 8
    answered = native_crops.grid(*map(tf.constant, size), 40)
    assert [int(x) for x in answered] == [rows, columns, high, wide]


def test_large_crops_are_fewer():
    sides = (100, 341, 342, 512, 600, 1024, 7071)
    assert [native_crops.most_crops(side) for side in sides] == [9, 9, 8, 4, 2, 1, 1]
    middle = [(slice(1488, 2512), slice(2488, 3512))]
    assert layers.NativeCrops(1024).windows(4000, 6000) == middle


@pytest.mark.parametrize("size", GRIDS)
def test_each_image_is_cut_at_any_size_and_in_a_graph(size):
    size = np.minimum(size, 300)
    images = RNG.uniform(0, 255, (2, *size, 3)).astype("float32")
    layer = layers.NativeCrops(40)
    graph = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 3])])
    expected = _expected(images, 40)
    np.testing.assert_array_equal(layer(images), expected)
    np.testing.assert_array_equal(graph(images), expected)
    assert layer.compute_output_shape(images.shape) == expected.shape


def test_the_logits_of_an_image_are_those_of_its_crops_averaged():
    images = RNG.uniform(0, 255, (2, 100, 60, 3)).astype("float32")
    inputs = keras.Input((None, None, 3))
    logits = keras.layers.GlobalMaxPooling2D()(layers.NativeCrops(40)(inputs))
    model = keras.Model(inputs, layers.AverageCrops()([logits, inputs]))
    crops = _expected(images, 40)
    expected = crops.max(axis=(1, 2)).reshape(2, 6, 3).mean(axis=1)
    np.testing.assert_allclose(model(images), expected, rtol=1e-6)
    small = images[:, :40, :40]
    np.testing.assert_array_equal(model(small), small.max(axis=(1, 2)))


def test_gradients_reach_the_pixels():
    images = tf.constant(RNG.uniform(0, 255, (1, 60, 40, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(layers.NativeCrops(40)(images))
    gradient = tape.gradient(total, images)
    # The two crops begin at 0 and 16.
    expected = np.concatenate([np.ones(16), np.full(24, 2), np.ones(16), np.zeros(4)])
    np.testing.assert_array_equal(gradient[0, :, 0, 0], expected)


@pytest.mark.parametrize("side", [0, -1, 1.5])
def test_a_side_that_is_none_is_refused(side):
    with pytest.raises(ValueError, match="whole number"):
        layers.NativeCrops(side)
