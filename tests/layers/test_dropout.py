"""Dropout has Keras' rate and scale, and repeats what it drew."""

import numpy as np
import pytest
import tensorflow as tf

from dfk import layers

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("rate", [0.25, 0.3, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_it_has_the_rate_and_the_scale(rate, dtype):
    x = tf.ones((50, 40, 40, 5), "bfloat16" if dtype != "float32" else "float32")
    outputs = layers.Dropout(rate, seed=1, dtype=dtype)(x, training=True)
    assert outputs.dtype == x.dtype
    outputs = tf.cast(outputs, tf.float32).numpy()
    n = outputs.size
    assert abs((outputs == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / n)
    kept = np.unique(outputs[outputs != 0])
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=1e-6 if dtype == "float32" else 4e-3)


def test_masks_are_independent():
    """Between neighbours, images, channels and steps no correlation beyond chance."""
    layer = layers.Dropout(0.5, seed=1)
    first, second = (layer(tf.ones((64, 32, 32, 4)), training=True).numpy() for _ in range(2))
    pairs = [
        (first, second),
        (first[:-1], first[1:]),
        (first[:, :-1], first[:, 1:]),
        (first[:, :, :-1], first[:, :, 1:]),
        (first[..., :-1], first[..., 1:]),
    ]
    for a, b in pairs:
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(a.size)


def test_it_passes_the_gradient_of_what_it_kept():
    layer = layers.Dropout(0.3, seed=1)
    x = tf.Variable(tf.ones((3, 5, 5, 1)))  # An odd number of elements
    with tf.GradientTape() as tape:
        outputs = layer(x, training=True)
    np.testing.assert_allclose(tape.gradient(outputs, x), outputs)


def test_it_does_nothing_at_inference():
    x = RNG.normal(size=(2, 3, 3, 1)).astype("float32")
    np.testing.assert_array_equal(layers.Dropout(0.5)(x), x)


def test_it_draws_again_what_its_restored_state_drew():
    layer = layers.Dropout(0.5, seed=7)
    x = tf.ones((4, 8, 8, 2))
    layer(x, training=True)
    state = [variable.numpy() for variable in layer.variables]
    expected = layer(x, training=True)
    other = layers.Dropout(0.5, seed=8)
    for variable, value in zip(other.variables, state, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(other(x, training=True), expected)
