"""The one resize is the same wherever it runs, and changes nothing but sizes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk import layers

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_it_is_bilinear_and_the_same_in_a_tf_data_pipeline(dtype):
    images = RNG.integers(0, 256, (2, 9, 13, 3)).astype(dtype)
    layer = layers.Resizing(16, 16)
    expected = tf.image.resize(images, (16, 16), "bilinear")
    np.testing.assert_array_equal(layer(images), expected)
    dataset = tf.data.Dataset.from_tensors(images).map(layer)
    np.testing.assert_array_equal(next(iter(dataset)), expected)


def test_it_leaves_images_of_its_size_as_they_are():
    images = RNG.uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(layers.Resizing(16, 16)(images), images)


def test_it_does_not_switch_a_model_to_training():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Dropout(0.9)(layers.Resizing(4, 4)(inputs)))
    images = np.ones((2, 4, 4, 3), "float32")
    np.testing.assert_array_equal(model(images), images)
