"""What BatchNormalization infers with is what it sees without dropout."""

import keras
import numpy as np
import pytest

from dfk import layers
from dfk.training.callbacks import RefreshStatistics

BATCHES = [
    (np.random.default_rng(i).normal(2, 3, (8, 5, 5, 4)).astype("float32"), np.zeros(8))
    for i in range(3)
]


def _model(*, dropout_first: bool = True, trainable: bool = True) -> keras.Model:
    """A dropout before or after a BatchNormalization."""
    dropout = layers.Dropout(0.5, seed=1)
    norm = layers.BatchNormalization(momentum=0.9, name="norm", trainable=trainable)
    images = x = keras.Input((None, None, 4))
    for layer in (dropout, norm) if dropout_first else (norm, dropout):
        x = layer(x)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))


def _refresh(model: keras.Model) -> keras.layers.Layer:
    callback = RefreshStatistics(BATCHES)
    callback.set_model(model)
    callback.on_test_begin()
    return model.get_layer("norm")


def test_statistics_are_those_of_images_without_dropout():
    model = _model()
    for images, _ in BATCHES:  # So that there is something to replace
        model(images, training=True)
    norm = _refresh(model)
    mean = np.mean([images.mean(axis=(0, 1, 2)) for images, _ in BATCHES], axis=0)
    variance = np.mean([images.var(axis=(0, 1, 2)) for images, _ in BATCHES], axis=0)
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-5)


def test_nothing_else_is_changed():
    model = _model()
    dropout = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
    before = np.array(dropout.seed_generator.state)
    norm = _refresh(model)
    assert (dropout.rate, norm.momentum) == (0.5, 0.9)
    np.testing.assert_array_equal(dropout.seed_generator.state, before)
    np.testing.assert_array_equal(norm.gamma, 1)


@pytest.mark.parametrize("kwargs", [{"dropout_first": False}, {"trainable": False}])
def test_where_no_dropout_comes_before_or_frozen_the_statistics_stay(kwargs):
    norm = _refresh(_model(**kwargs))
    np.testing.assert_array_equal(norm.moving_mean, 0)
    np.testing.assert_array_equal(norm.moving_variance, 1)
