"""What holds for every layer: names, defaults, saving."""

import inspect

import keras
import numpy as np
import pytest

from dfk import layers

RNG = np.random.default_rng(0)


# Layers that stand in for one of Keras', and what they are made with here.
DERIVED = {
    layers.BatchNormalization: {},
    layers.Dropout: {"rate": 0.3},
    layers.Resizing: {"height": 8, "width": 9},
}


def _keras_own(layer: type) -> type:
    """The layer of Keras that one of ours derives from."""
    return next(base for base in layer.__mro__ if base.__module__.startswith("keras."))


def test_every_layer_is_registered_under_its_name():
    names = layers.__all__
    assert len(names) == 13
    for name in names:
        assert keras.saving.get_registered_object(f"dfk>{name}") is getattr(layers, name)


def test_all_that_derive_from_one_of_keras_own_are_compared_with_it():
    own = (getattr(layers, name) for name in layers.__all__)
    own = (layer for layer in own if not issubclass(layer, keras.Model))
    assert {layer for layer in own if _keras_own(layer) is not keras.layers.Layer} == set(DERIVED)


@pytest.mark.parametrize("layer", DERIVED)
def test_its_defaults_are_those_of_keras(layer):
    ours, keras_own = (inspect.signature(x).parameters for x in (layer, _keras_own(layer)))
    for name, parameter in ours.items():
        if name != "kwargs":
            assert parameter.default == keras_own[name].default, name
    ours, keras_own = (x(name="x", **DERIVED[layer]) for x in (layer, _keras_own(layer)))
    assert ours.get_config() == keras_own.get_config()


def test_layers_keep_their_config_when_a_model_is_saved(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(momentum=0.8)(inputs)
    x = layers.Dropout(0.2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = layers.CalibratedSoftmax("xyz", temperature=1.7, thresholds={"unknown": 0.4})(x)
    model = keras.Model(inputs, x)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    head = loaded.layers[-1]
    assert type(loaded.layers[1]) is layers.BatchNormalization
    assert loaded.layers[1].momentum == 0.8
    assert (head.class_names, head.temperature) == (("x", "y", "z"), 1.7)
    assert head.thresholds == {"unknown": 0.4}
    images = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(images), model(images))
