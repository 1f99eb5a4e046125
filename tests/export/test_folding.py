"""Leaner networks that answer as before."""

import keras
import numpy as np
import pytest

from dfk import layers, models
from dfk.export.folding import lean
from tests.networks import network

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")


def _kinds(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def _probabilities(logits):
    return keras.ops.convert_to_numpy(keras.ops.softmax(logits))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (models.DeepFakeNet, {}),
        (models.VGG16, {"batch_norm": True}),
        (models.VGG16, {"batch_norm": False}),
        (models.ResidualNet, {}),
    ],
    ids=["deepfakenet", "vgg16", "vgg16 without BatchNorm", "residual"],
)
def test_normalisation_goes_into_the_convolutions(narrow, make, options):
    original = models.network_of(network(32, make=make, **options))
    before = original.get_weights()
    folded = lean(original)
    assert not _kinds(folded, (keras.layers.BatchNormalization, keras.layers.Dropout))
    answers = original(IMAGES, training=False).numpy()
    scale = np.abs(answers).max()
    np.testing.assert_allclose(folded(IMAGES), answers, rtol=0, atol=1e-5 * scale)
    assert np.ptp(answers, axis=0).max() > 1e-3 * scale  # They depend on the image
    for was, now in zip(before, original.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_unfolded_only_dropout_goes():
    original = models.network_of(network(32))
    copy = lean(original, fold=False)
    assert len(_kinds(copy, keras.layers.BatchNormalization)) == 6
    np.testing.assert_array_equal(copy(IMAGES), original(IMAGES, training=False))


@pytest.mark.parametrize("fold", [True, False])
def test_a_bfloat16_interior_is_smaller_and_answers_in_float32(fold):
    original = models.network_of(network(32))
    copy = lean(original, precision="mixed_bfloat16", fold=fold)
    assert {x.kernel.dtype for x in _kinds(copy, keras.layers.Conv2D)} == {"bfloat16"}
    assert {x.compute_dtype for x in _kinds(copy, keras.layers.MaxPooling2D)} == {"bfloat16"}
    assert {x.compute_dtype for x in _kinds(copy, keras.layers.Dense)} == {"float32"}
    logits = copy(IMAGES)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    difference = np.abs(
        _probabilities(logits) - _probabilities(original(IMAGES, training=False))
    ).max()
    assert 1e-5 < difference < 0.05


def _tiny(connect, **options):
    images = keras.Input((None, None, 3))
    convolution = keras.layers.Conv2D(4, 3, name="convolution", **options)
    x = connect(convolution(images), layers.BatchNormalization(name="norm"))
    return keras.Model(images, x, name="network")


@pytest.mark.parametrize(
    ("connect", "options", "folds"),
    [
        (lambda x, norm: norm(x), {}, True),
        (lambda x, norm: norm(x), {"use_bias": False}, True),
        (lambda x, norm: norm(x), {"activation": "relu"}, False),
        (lambda x, norm: norm(keras.ops.relu(x)), {}, False),
        (lambda x, norm: norm(x) + x, {}, False),
        (lambda x, norm: [norm(x), x], {}, False),
    ],
    ids=["bias", "no bias", "activation", "between", "read twice", "an output"],
)
def test_only_what_is_right_behind_a_convolution_is_folded(connect, options, folds):
    model = _tiny(connect, **options)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.uniform(0.5, 2, variable.shape))
    copy = lean(model)
    assert bool(_kinds(copy, keras.layers.BatchNormalization)) is not folds
    outputs = keras.tree.flatten(model(IMAGES, training=False))
    for was, now in zip(outputs, keras.tree.flatten(copy(IMAGES)), strict=True):
        np.testing.assert_allclose(now, was, rtol=1e-4, atol=1e-2)
