"""The layer of statistics, against what the SVM's features are computed by."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk.layers import NoiseStatistics
from dfk.models import forensic
from tests.pictures import noise

STATISTICS = NoiseStatistics()
OF_THE_SVM = 228  # Spectrum, moments, colours


def _measured(images):
    return keras.ops.convert_to_numpy(STATISTICS(images))


@pytest.mark.parametrize("size", [(100, 100), (75, 131)])
def test_they_are_those_of_the_svm(size):
    images = np.stack([noise(*size, seed) for seed in range(3)])
    found, expected = _measured(images), forensic.features(images)
    # A frequency on the edge between two rings counts there for either.
    np.testing.assert_allclose(found[:, :96], expected[:, :96], atol=0.02)
    np.testing.assert_allclose(found[:, 96:228], expected[:, 96:228], atol=1e-3)


@pytest.mark.parametrize("axis", [1, 2])
def test_mirroring_changes_nothing(axis):
    images = np.stack([noise(40, 53, seed) for seed in range(3)])
    found = _measured(images)
    np.testing.assert_allclose(_measured(np.flip(images, axis)), found, atol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_noise_is_counted_where_it_is():
    """A dark half without noise, a bright half with a strong one."""
    image = np.full((66, 100, 3), 20, np.uint8)
    image[:, 50:] = 230
    image[::2, 51::2] -= 100
    shares = _measured(image[None])[0, OF_THE_SVM:].reshape(16, 10) ** 2
    assert shares.sum() == pytest.approx(1)
    assert shares[1, 0] == pytest.approx(48 / 98, abs=0.03)  # Of brightness 16 to 31, no noise
    assert shares[5:, 5:].sum() > 0.4


@pytest.mark.parametrize("size", [(8, 8), (8, 50), (31, 9)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_of_any_size_have_as_many(size, value):
    found = _measured(np.full((2, *size, 3), value, np.uint8))
    assert found.shape == (2, STATISTICS.FEATURES) and found.dtype == np.float32
    assert np.isfinite(found).all()


def test_a_batch_equals_its_images_in_any_dtype_and_in_a_graph():
    images = np.stack([noise(24, 37, seed) for seed in range(3)])
    single = np.concatenate([_measured(image[None]) for image in images])
    np.testing.assert_allclose(_measured(images.astype("float32") + 0.2), single, atol=1e-4)
    function = tf.function(STATISTICS, input_signature=[tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_allclose(function(images.astype("float32")), single, atol=1e-4)
