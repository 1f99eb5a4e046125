"""The last layer of every model divides logits by its temperature."""

import numpy as np
import pytest
import tensorflow as tf

from dfk import layers

RNG = np.random.default_rng(0)


def test_it_divides_by_its_temperature():
    logits = RNG.normal(size=(6, 3)).astype("float32")
    outputs = layers.CalibratedSoftmax("abc", temperature=2.5)(logits)
    expected = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    assert layers.CalibratedSoftmax("abc")(tf.cast(logits, tf.bfloat16)).dtype == tf.float32


def test_it_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match="positive"):
        layers.CalibratedSoftmax("ab", temperature=0.0)
