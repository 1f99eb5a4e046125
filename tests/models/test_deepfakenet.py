"""DeepFakeNet behaves like a model of keras.applications, on every precision and backend."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from dfk.models import DeepFakeNet, class_names_of, network_of

ROOT = Path(__file__).parents[2]
IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 24, 20, 3)).astype("float32")


def test_it_has_the_layers_of_the_study():
    network = network_of(DeepFakeNet(input_shape=(None, None, 3)))
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [32, 32, 64, 64, 128, 128]
    rates = [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.25, 0.3, 0.4]
    assert network.layers[-1].units == 5


def test_pooling_before_relu_equals_the_order_of_the_study():
    x = keras.ops.convert_to_tensor(IMAGES - 128)
    pool, relu = keras.layers.MaxPooling2D(2), keras.layers.ReLU()
    np.testing.assert_array_equal(relu(pool(x)), pool(relu(x)))


def test_images_of_another_size_are_resized_inside():
    model = DeepFakeNet(input_shape=(16, 16, 3), seed=1)
    resized = keras.ops.image.resize(IMAGES, (16, 16), interpolation="bilinear")
    np.testing.assert_allclose(model(IMAGES), model(resized), atol=1e-6)


def test_a_native_model_takes_any_size():
    model = DeepFakeNet(input_shape=(None, None, 3), seed=1)
    assert model(IMAGES).shape == (6, 5)
    assert not np.allclose(model(IMAGES), model(IMAGES[:, :16, :16]))


def test_the_seed_decides_the_weights():
    first, second, other = (DeepFakeNet(seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, second))
    assert not all(map(np.array_equal, first, other))
    kernels = [w for w in first if w.shape == (3, 3, 32, 32)]
    assert len(kernels) == 1


def test_weights_that_learned_on_another_range_are_converted(tmp_path, logged):
    """What it answers stays, but where the zeros around an image are seen."""
    images = np.random.default_rng(1).uniform(0, 255, (2, 80, 80, 3)).astype("float32")
    native = {"input_shape": (None, None, 3), "dtype": "float32"}
    model = DeepFakeNet(**native, input_range=(0.0, 1.0), seed=0)
    norm = network_of(model).get_layer("block1_conv1_bn")
    norm.moving_mean.assign(np.linspace(-1, 1, 32))
    norm.moving_variance.assign(np.linspace(0.5, 2, 32))
    model.save(tmp_path / "model.keras")

    def features(**options):
        built = DeepFakeNet(
            **native, include_top=False, weights=tmp_path / "model.keras", **options
        )
        return built.predict(images, verbose=0)

    as_it_was = features()
    assert "now takes" not in logged.text
    converted = features(input_range=(-1.0, 2.0))
    assert "learned on inputs from 0 to 1, now takes -1 to 2" in logged.text
    middle = np.s_[:, 4:6, 4:6]
    np.testing.assert_allclose(converted[middle], as_it_was[middle], rtol=1e-3, atol=1e-4)
    assert np.ptp(as_it_was[middle]) > 0.1
    assert not np.allclose(converted[:, 0], as_it_was[:, 0], rtol=1e-3, atol=1e-4)


def test_class_names_must_fit():
    assert class_names_of(DeepFakeNet(classes=2, class_names=("a", "b"))) == ("a", "b")
    assert class_names_of(DeepFakeNet(classes=3)) == ("0", "1", "2")
    with pytest.raises(ValueError, match="5 classes, but 2 class names"):
        DeepFakeNet(class_names=("a", "b"))


_JAX = """
import sys
import keras, numpy as np
import dfk
from dfk.models import DeepFakeNet, network_of
assert keras.backend.backend() == "jax"
images, path = np.load(sys.argv[1]), sys.argv[2]
loaded = keras.models.load_model(path + "/tensorflow.keras")
np.save(path + "/jax.npy", loaded.predict(images, verbose=0))
network = network_of(DeepFakeNet(input_shape=(16, 16, 3), classes=3, seed=1, dtype=sys.argv[3]))
network.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
before = network.get_weights()
network.fit(images, np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]], verbose=0)
assert not all(map(np.array_equal, before, network.get_weights()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_it_loads_and_trains_on_jax(dtype, tmp_path):
    pytest.importorskip("jax")
    model = DeepFakeNet(input_shape=(16, 16, 3), classes=3, seed=1)
    model.save(tmp_path / "tensorflow.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    subprocess.run(
        [sys.executable, "-c", _JAX, tmp_path / "images.npy", tmp_path, dtype],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        check=True,
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "jax.npy"), model.predict(IMAGES, verbose=0), atol=1e-5
    )
