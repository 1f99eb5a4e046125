"""CutMix and MixUp: what is drawn repeats, and labels tell the pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk.data import mixing

COUNT, SIZE = 24, 20
LABELS = np.eye(COUNT, dtype="float32")  # Every image is a class of its own: labels name sources.
# Image i has the value i + 1 everywhere.
IMAGES = np.broadcast_to(
    np.arange(1, COUNT + 1, dtype="float32")[:, None, None, None], (COUNT, SIZE, SIZE, 3)
)


def _mix(layer, seed=(1, 2), images=IMAGES, labels=LABELS):
    seed = tf.constant(seed, tf.int64)
    mixed = layer({"images": tf.constant(images), "labels": tf.constant(labels), "seed": seed})
    return mixed["images"].numpy(), mixed["labels"].numpy()


def test_cutmix_labels_by_the_share_of_pixels_really_pasted():
    """Also where the box was cut off at the border, which keras-cv's own labels ignore."""
    images, labels = _mix(mixing.CutMix(1.0))
    pixels = images[..., 0].astype(int) - 1
    for i in range(COUNT):
        shares = np.bincount(pixels[i].ravel(), minlength=COUNT) / SIZE**2
        np.testing.assert_allclose(labels[i], shares, atol=1e-6)
    assert (labels.max(axis=1) < 1).mean() > 0.2


def test_mixup_blends_pixels_and_labels_alike():
    images, labels = _mix(mixing.MixUp(1.0))
    expected = labels @ np.arange(1, COUNT + 1)
    np.testing.assert_allclose(images[:, 0, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(images.std(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("layer", [mixing.CutMix, mixing.MixUp])
def test_draws_repeat_with_the_seed_and_differ_without(layer):
    first, again, other = (_mix(layer(1.0), seed) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("layer", [mixing.CutMix, mixing.MixUp])
def test_labels_that_are_not_one_hot_are_refused(layer):
    with pytest.raises(ValueError, match="one-hot"):
        _mix(layer(1.0), labels=np.zeros(COUNT, "float32"))


def test_a_small_alpha_gives_no_nan():
    _, labels = _mix(mixing.MixUp(1e-3))
    assert np.isfinite(labels).all()


@pytest.mark.parametrize("layer", [mixing.CutMix, mixing.MixUp])
def test_images_stay_float32_whatever_the_policy(layer):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        images, labels = _mix(layer(1.0))
    finally:
        keras.config.set_dtype_policy(before)
    assert (images.dtype, labels.dtype) == (np.float32, np.float32)


def test_the_switch_chooses_between_the_two_per_batch():
    mixer = mixing.make_mixer(1.0, 1.0, switch_prob=0.3)
    dataset = tf.data.Dataset.range(200).map(
        lambda step: mixer(tf.constant(IMAGES), tf.constant(LABELS), tf.stack([step, step]))
    )
    # MixUp leaves every image of one value, CutMix leaves whole numbers.
    is_cutmix = [np.array_equal(images, np.round(images)) for images, _ in dataset]
    assert 0.2 < np.mean(is_cutmix) < 0.4


def test_one_alpha_uses_one_and_none_mixes_nothing():
    assert mixing.make_mixer(0.0, 0.0, 0.5) is None
    seed = tf.constant([1, 2], tf.int64)
    images, _ = mixing.make_mixer(0.0, 1.0, 0.0)(tf.constant(IMAGES), tf.constant(LABELS), seed)
    np.testing.assert_array_equal(images, np.round(images))
