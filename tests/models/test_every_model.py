"""What holds for every Keras model that dfk builds."""

import keras
import numpy as np
import pytest

from dfk import config
from dfk.models import BUILDERS, Ensemble, class_names_of, network_of
from dfk.models.svm import PENALTY

IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 40, 36, 3)).astype("float32")
LABELS = np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]
MODELS = [*BUILDERS, "ensemble"]


def _build(name: str, dtype: str) -> keras.Model:
    common = {"classes": 3, "class_names": ("a", "b", "c"), "seed": 1, "dtype": dtype}
    if name == "ensemble":
        members = [
            BUILDERS["deepfakenet"](input_shape=(side, side, 3), **common) for side in (16, 24)
        ]
        return Ensemble(members)
    return BUILDERS[name](input_shape=(32, 32, 3), **common)


def test_the_flag_names_every_model():
    assert set(config.OPTIONS) == {*MODELS, "fisher", "added", *PENALTY}


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_it_trains_a_batch_saves_and_loads(name, dtype, tmp_path):
    model = _build(name, dtype)
    network = network_of(model)
    network.compile(
        keras.optimizers.SGD(0.01), keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    before = network.get_weights()
    assert np.isfinite(network.train_on_batch(IMAGES[:, :32, :32], LABELS))
    assert not all(map(np.array_equal, before, network.get_weights()))

    probabilities = model.predict(IMAGES, verbose=0)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert class_names_of(loaded) == ("a", "b", "c")
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), probabilities, atol=1e-6)


@pytest.mark.parametrize("name", BUILDERS)
def test_its_arguments_are_those_of_keras_applications(name, tmp_path):
    model = BUILDERS[name](weights=None, input_shape=(32, 32, 3), classes=7, name="mine")
    assert (model.name, model.output_shape) == ("mine", (None, 7))
    model.save_weights(tmp_path / "all.weights.h5")
    again = BUILDERS[name](weights=tmp_path / "all.weights.h5", input_shape=(32, 32, 3), classes=7)
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


@pytest.mark.parametrize("name", BUILDERS)
def test_its_statistics_move_as_those_of_the_models_that_were_measured(name):
    norms = [
        layer
        for layer in network_of(BUILDERS[name](weights=None)).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert norms and {layer.momentum for layer in norms} == {0.9}
