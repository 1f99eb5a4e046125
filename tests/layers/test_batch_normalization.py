"""It is Keras' BatchNormalization, in training and inference, only faster."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk import layers

RNG = np.random.default_rng(0)


def _train_step(layer: keras.layers.Layer, x: np.ndarray):
    """One training call: outputs, gradients of a fixed function of them, moving statistics."""
    layer.build(x.shape)
    for variable in layer.trainable_variables:  # Away from ones and zeros
        variable.assign(np.random.default_rng(1).normal(1.0, 0.3, variable.shape))
    inputs = tf.Variable(x)
    target = np.random.default_rng(2).normal(size=x.shape).astype("float32")
    with tf.GradientTape() as tape:
        outputs = layer(inputs, training=True)
        loss = tf.reduce_mean((outputs - target) ** 2)
    gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
    return [outputs, *gradients, *layer.non_trainable_variables]


@pytest.mark.parametrize("kwargs", [{}, {"scale": False}, {"center": False}, {"epsilon": 1e-2}])
def test_it_trains_like_keras(kwargs):
    x = RNG.normal(3.0, 2.0, (4, 5, 6, 7)).astype("float32")
    ours = _train_step(layers.BatchNormalization(**kwargs), x)
    keras_own = _train_step(keras.layers.BatchNormalization(**kwargs), x)
    for a, b in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_it_infers_like_keras_with_its_weights():
    x = RNG.normal(3.0, 2.0, (4, 5, 6, 7)).astype("float32")
    ours, keras_own = layers.BatchNormalization(), keras.layers.BatchNormalization()
    ours.build(x.shape)
    keras_own.build(x.shape)
    keras_own.set_weights([RNG.uniform(0.5, 2.0, 7) for _ in range(4)])
    assert [v.name for v in ours.variables] == [v.name for v in keras_own.variables]
    ours.set_weights(keras_own.get_weights())
    np.testing.assert_allclose(ours(x), keras_own(x), rtol=1e-5, atol=1e-5)


def test_a_frozen_one_moves_no_statistics():
    x = RNG.normal(3.0, 2.0, (4, 5, 6, 7)).astype("float32")
    layer = layers.BatchNormalization()
    layer.trainable = False
    np.testing.assert_allclose(layer(x, training=True), layer(x, training=False))
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(7))


def test_it_computes_in_bfloat16_and_keeps_statistics_in_float32():
    x = RNG.normal(3.0, 2.0, (8, 16, 16, 4)).astype("float32")
    layer = layers.BatchNormalization(dtype="mixed_bfloat16")
    outputs = layer(tf.cast(x, tf.bfloat16), training=True)
    assert outputs.dtype == tf.bfloat16
    assert layer.moving_mean.dtype == "float32"
    expected = keras.layers.BatchNormalization()(x, training=True)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.05)


@pytest.mark.parametrize(
    ("kwargs", "shape"),
    [({"axis": 1}, (4, 3, 6, 6)), ({"renorm": True}, (4, 6, 6, 3)), ({}, (4, 3)), ({}, (4, 6, 3))],
)
def test_it_falls_back_to_keras(kwargs, shape):
    x = RNG.normal(size=shape).astype("float32")
    ours = _train_step(layers.BatchNormalization(**kwargs), x)
    keras_own = _train_step(keras.layers.BatchNormalization(**kwargs), x)
    for a, b in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_it_heeds_a_mask():
    x = RNG.normal(size=(4, 6, 6, 3)).astype("float32")
    mask = RNG.random((4, 6, 6)) < 0.5
    ours = layers.BatchNormalization()(x, training=True, mask=mask)
    keras_own = keras.layers.BatchNormalization()(x, training=True, mask=mask)
    np.testing.assert_allclose(ours, keras_own, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_float16"])
def test_it_takes_every_float_policy(dtype):
    x = RNG.normal(3.0, 2.0, (8, 6, 6, 4)).astype("float32")
    ours, keras_own = (y.BatchNormalization(dtype=dtype) for y in (layers, keras.layers))
    for training in (True, False):
        outputs, expected = (y(x, training=training) for y in (ours, keras_own))
        assert outputs.dtype == expected.dtype
        np.testing.assert_allclose(
            tf.cast(outputs, tf.float32), tf.cast(expected, tf.float32), atol=0.03
        )
    for variable, expected in zip(ours.variables, keras_own.variables, strict=True):
        assert variable.dtype == expected.dtype
        np.testing.assert_allclose(
            np.float32(variable.numpy()), np.float32(expected.numpy()), rtol=0.01
        )


def test_it_casts_whole_numbers_as_keras_does():
    x = RNG.integers(0, 256, (4, 6, 6, 3), "uint8")
    for training in (True, False):
        ours, keras_own = (
            y.BatchNormalization()(x, training=training) for y in (layers, keras.layers)
        )
        np.testing.assert_allclose(ours, keras_own, rtol=1e-4, atol=1e-4)
