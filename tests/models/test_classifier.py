"""What is set about a model after it was built holds for its answers and in its file."""

import keras
import numpy as np
import pytest
from scipy.special import softmax

from dfk import models
from tests.networks import CLASSES, network
from tests.pictures import noise

IMAGES = np.stack([noise(16, 16, seed) for seed in range(4)]).astype("float32")


def test_another_temperature_holds_for_a_model_that_has_answered(tmp_path):
    model = network()
    logits = models.logits_of(model).predict(IMAGES, verbose=0)
    before = model.predict(IMAGES, verbose=0)  # Traced with the temperature that it was built with
    models.set_temperature(model, 3.0)
    expected = softmax(logits / 3.0, axis=1)
    assert np.abs(before - expected).max() > 0.05
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), expected, rtol=1e-4)
    model.save(tmp_path / "model.keras")
    saved = keras.models.load_model(tmp_path / "model.keras")
    assert saved.layers[-1].temperature == 3.0
    np.testing.assert_allclose(saved.predict(IMAGES, verbose=0), expected, rtol=1e-4)


def test_a_compiled_model_is_scored_by_its_new_temperature():
    model = network()
    model.compile(loss=keras.losses.CategoricalCrossentropy())
    labels = np.eye(len(CLASSES))[[0, 1, 2, 0]]
    before = model.evaluate(IMAGES, labels, verbose=0)
    models.set_temperature(model, 3.0)
    loss = keras.losses.CategoricalCrossentropy()(labels, model(IMAGES))
    assert model.evaluate(IMAGES, labels, verbose=0) == pytest.approx(float(loss), rel=1e-4)
    assert before != pytest.approx(float(loss), rel=1e-2)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused_and_changes_nothing(temperature):
    model = network()
    with pytest.raises(ValueError, match="positive"):
        models.set_temperature(model, temperature)
    assert model.layers[-1].temperature == 1.5


def test_crops_of_large_images_are_averaged_and_smaller_ones_answered_as_before(tmp_path):
    plain = network(None)
    model = models.with_test_crop(plain, 12)
    small = IMAGES[:, :12, :10]
    np.testing.assert_array_equal(model.predict(small, verbose=0), plain.predict(small, verbose=0))
    large = np.pad(IMAGES, [(0, 0), (0, 4), (0, 4), (0, 0)], "reflect")
    corners = [large[:, y : y + 12, x : x + 12] for y in (0, 8) for x in (0, 8)]
    logits = np.mean([models.logits_of(plain)(corner) for corner in corners], axis=0)
    expected = softmax(logits / plain.layers[-1].temperature, axis=1)
    np.testing.assert_allclose(model.predict(large, verbose=0), expected, rtol=1e-4)
    assert models.class_names_of(model) == CLASSES and model.name == plain.name
    ensemble = models.Ensemble([model, network(None, seed=2)])
    ensemble.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    first, second = map(models.crops_of, models.members_of(loaded))
    assert first.side == 12 and second is None
    np.testing.assert_array_equal(loaded(large), ensemble(large))
