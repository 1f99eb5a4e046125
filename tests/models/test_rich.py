"""The rich model: a small network on features that mirroring does not change."""

import keras
import numpy as np
import pytest

from dfk.models import RichNet, network_of
from tests.pictures import noise

IMAGES = np.stack([noise(24, 37, seed) for seed in range(6)])


@pytest.fixture(scope="module")
def model():
    return RichNet(classes=3, seed=1)


def test_the_default_has_2_4_million_parameters(model):
    assert RichNet().count_params() == pytest.approx(2.4e6, rel=0.05)
    assert sum(not layer.trainable for layer in network_of(model).layers) == 2  # What measures


@pytest.mark.parametrize("axis", [1, 2])
def test_a_mirrored_image_gets_the_same_answer(model, axis):
    probabilities = model.predict_on_batch(IMAGES)
    mirrored = model.predict_on_batch(np.flip(IMAGES, axis))
    np.testing.assert_allclose(mirrored, probabilities, atol=1e-4)
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-3


def test_rare_combinations_count_as_much_as_common_ones(model):
    network = network_of(model)
    standardise = network.get_layer("standardise")
    features = keras.Model(network.input, standardise.input)(IMAGES)
    scaled = keras.ops.convert_to_numpy(standardise(features, training=True))
    deviations = scaled.std(axis=0)
    varying = keras.ops.convert_to_numpy(features).std(axis=0) > 0.01
    assert varying.sum() > 100
    np.testing.assert_allclose(deviations[varying], 1, atol=0.01)


def test_features_are_dropped_less_often_than_what_is_learned():
    dropouts = [
        layer.rate
        for layer in network_of(RichNet(units=(4, 4), dropout=0.25)).layers
        if isinstance(layer, keras.layers.Dropout)
    ]
    np.testing.assert_allclose(dropouts, [0.1, 0.25, 0.25])
