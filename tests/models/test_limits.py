"""What a model says that it can take is what it can take."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk import models
from tests.networks import ensemble, network

NATIVE = (None, None, 3)
# A model, and the least pixels a side that it answers.
CASES = {
    "deepfakenet": (lambda: models.DeepFakeNet(input_shape=NATIVE), 8),
    "vgg16": (lambda: models.VGG16(input_shape=NATIVE, weights=None), 32),
    "residual": (lambda: models.ResidualNet(filters=(4, 4, 4, 4)), 8),
    "residual of six blocks": (lambda: models.ResidualNet(filters=(4,) * 6), 32),
    "residual of one block": (lambda: models.ResidualNet(filters=(4,)), 1),
    "high pass": (lambda: models.ResidualNet(filters=(4,), high_pass=True), 3),
    "ensemble": (
        lambda: models.Ensemble(
            [models.ResidualNet(filters=(4,) * n, classes=5) for n in (3, 5)]
            + [models.DeepFakeNet(input_shape=(16, 16, 3))]
        ),
        16,
    ),
}


def _strided():
    """A network of somebody's own, whose convolutions fit only where there are pixels enough."""
    images = x = keras.Input(NATIVE)
    for _ in range(2):
        x = keras.layers.Conv2D(4, 5, strides=2)(x)
        x = keras.layers.AveragePooling2D(1)(x)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    network = keras.Model(images, x, name="network")
    return models.image_classifier(network, input_shape=NATIVE, class_names="abc", name="own")


def _answers(model, height, width):
    images = np.random.default_rng(0).uniform(0, 255, (1, height, width, 3)).astype("float32")
    try:
        return bool(np.isfinite(model(images)).all())
    except (ValueError, tf.errors.OpError):
        return False


@pytest.mark.parametrize("case", CASES)
def test_the_least_image_is_the_least_that_is_answered(case):
    make, least = CASES[case]
    model = make()
    assert models.smallest_image(model) == least
    assert _answers(model, least, least) and _answers(model, least, least + 9)
    assert not _answers(model, least - 1, least + 9)
    assert not _answers(model, least + 9, least - 1)


def test_strides_of_convolutions_count():
    # Of smaller images TensorFlow gives numbers, too: of nothing.
    assert models.smallest_image(_strided()) == 13


def test_a_rich_model_needs_8_pixels_and_one_that_resizes_none():
    assert models.smallest_image(models.RichNet()) == 8
    assert models.smallest_image(models.ResidualNet(input_shape=(16, 16, 3))) == 1


def test_the_sizes_that_images_are_resized_to_are_each_told_once():
    inner = ensemble(16, 24)
    outer = models.Ensemble([inner, network(16, seed=3), network(None)])
    assert (models.input_size(inner), models.input_size(network(24))) == (None, (24, 24))
    assert models.image_sizes(outer) == [(16, 16), (24, 24)]
    assert models.image_sizes(network(None)) == []


def test_the_memory_of_a_large_image_is_that_of_its_crops():
    plain = models.ResidualNet(filters=(4,) * 4)
    cropping = models.with_test_crop(plain, 64)
    whole, cropped = models.memory(plain), models.memory(cropping)
    ((cost, side),) = cropped.crops
    assert (side, cropped.bytes_per_pixel) == (64, 24)
    assert whole.bytes_per_pixel == pytest.approx(24 + cost) and not whole.crops
    assert cropped.of(64, 64) == pytest.approx(whole.of(64, 64))
    assert cropped.of(4000, 6000) == pytest.approx(24 * 24e6 + cropped.crops_at_most)
    assert cropped.crops_at_most == 9 * 64**2 * cost
    assert models.smallest_image(cropping) == models.smallest_image(plain)
    both = models.memory(models.Ensemble([cropping, models.with_test_crop(plain, 32)]))
    assert [side for _, side in both.crops] == [64, 32]
    # What the members are given lies there as a whole.
    assert 24 <= both.bytes_per_pixel < 60
