"""The layer that counts what neighbours do together, against counting by hand."""

import itertools
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk.layers import RichFeatures
from dfk.layers.rich_features import COOCCURRENCES, KERNELS, PATTERNS, Cooccurrence
from tests.pictures import noise

IMAGES = np.stack([noise(13, 17, seed) // 4 + 90 for seed in range(3)])
ALL = RichFeatures()


def _features(layer, images):
    return keras.ops.convert_to_numpy(layer(images))


def _planes(image):
    red, green, blue = np.moveaxis(image.astype(int) - 128, -1, 0)
    return [red, green, blue, red - green, blue - green]


def _counted(image, kernel, which):
    """How often each combination of levels occurs, pixel by pixel."""
    planes, kernel, outermost = _planes(image), np.array(kernel), which.levels // 2
    height, width = (np.array(planes[0].shape) - kernel.shape + 1).tolist()

    def level(y, x, plane):
        window = planes[plane][y : y + kernel.shape[0], x : x + kernel.shape[1]]
        rounded = (_residual(window, kernel, which.kernel) + which.step // 2) // which.step
        return min(max(rounded, -outermost), outermost)

    pattern = PATTERNS[which.pattern]
    down, right = (max(place[axis] for place in pattern) for axis in (0, 1))
    places = itertools.product(range(height - down), range(width - right))
    counts = Counter(
        tuple(level(y + dy, x + dx, plane) for dy, dx, plane in pattern) for y, x in places
    )
    return {levels: count / counts.total() for levels, count in counts.items()}


def _residual(window, kernel, name):
    if name in ("least", "most"):
        extreme = min if name == "least" else max
        return extreme(window[kernel == 1]) - window[1, 1]
    return (window * kernel).sum()


@pytest.mark.parametrize("which", COOCCURRENCES, ids=lambda w: f"{w.kernel} {w.pattern} {w.step}")
def test_it_counts_what_is_there(which):
    """Horizontally, with mirrored images sharing their counts, which come in any order."""
    mirrored = [IMAGES[0][::y, ::x] for y in (1, -1) for x in (1, -1)]
    counts = [_counted(image, KERNELS[which.kernel], which) for image in mirrored]
    means = Counter()
    for one in counts:
        for levels, share in one.items():
            means[levels] += share / 4
    # Combinations that mirroring exchanges have one feature, so each mean once.
    layer = RichFeatures([which])
    found = _features(layer, IMAGES[:1])[0] ** 2
    horizontal = found[: len(found) // len(list(layer._ways()))]
    expected = _distinct(list(means.values()))
    assert _distinct(horizontal[horizontal > 0]) == expected
    assert len(expected) > 1


def _distinct(shares):
    return set(np.round(np.float64(shares), 5).tolist())


@pytest.mark.parametrize("axis", [1, 2])
def test_mirroring_changes_nothing(axis):
    features = _features(ALL, IMAGES)
    np.testing.assert_allclose(_features(ALL, np.flip(IMAGES, axis)), features, atol=1e-6)
    assert np.abs(features[0] - features[1]).max() > 0.01


@pytest.mark.parametrize(
    ("kernel", "pattern", "features"),
    [("first", "row", 175), ("first", "colours", 172), ("second", "row", 196)],
)
def test_it_tells_how_many_combinations_a_feature_is_for(kernel, pattern, features):
    layer = RichFeatures([(kernel, 3, pattern)])
    assert layer.features == 2 * features
    # In either direction, every one of 7 x 7 x 7 belongs to one feature.
    assert layer.combinations.sum() == 2 * 7**3
    assert set(layer.combinations) == {1, 2}
    assert set(ALL.combinations) <= {1, 2, 3, 4}


def test_turning_exchanges_horizontal_and_vertical():
    layer = RichFeatures([Cooccurrence("second", 3, "row")])
    features, turned = (_features(layer, x) for x in (IMAGES, np.rot90(IMAGES, axes=(1, 2))))
    half = features.shape[1] // 2
    np.testing.assert_allclose(np.roll(turned, half, axis=1), features, atol=1e-6)
    assert np.abs(turned - features).max() > 0.01


@pytest.mark.parametrize("size", [(8, 8), (8, 50), (31, 9)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_of_any_size_have_as_many_features(size, value):
    features = _features(ALL, np.full((2, *size, 3), value, np.uint8))
    assert features.shape == (2, ALL.features) and features.dtype == np.float32
    assert np.isfinite(features).all() and features.min() >= 0 and features.max() <= 1
    # All pixels alike: each histogram has one combination.
    assert np.count_nonzero(features) == 2 * len(list(ALL._ways()))


def test_a_batch_equals_its_images_in_any_dtype_and_in_a_graph():
    single = np.concatenate([_features(ALL, image[None]) for image in IMAGES])
    np.testing.assert_array_equal(_features(ALL, IMAGES), single)
    np.testing.assert_array_equal(_features(ALL, IMAGES.astype("float32") + 0.2), single)
    function = tf.function(ALL, input_signature=[tf.TensorSpec([None, None, None, 3])])
    np.testing.assert_allclose(function(IMAGES.astype("float32")), single, atol=1e-6)


def test_its_histograms_are_saved_with_it():
    layer = RichFeatures([("first", 3, "row", 5)], name="few")
    again = RichFeatures.from_config(layer.get_config())
    np.testing.assert_array_equal(_features(again, IMAGES), _features(layer, IMAGES))
    assert again.name == "few" and not layer.weights


@pytest.mark.parametrize("which", [("fifth", 1, "row"), ("first", 1, "column")])
def test_what_it_does_not_know_is_refused(which):
    with pytest.raises(ValueError, match="no such kernel or pattern"):
        RichFeatures([which])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16", "float32"])
@pytest.mark.parametrize("given", ["uint8", "int32", "float32"])
def test_it_answers_in_the_dtype_that_it_declares(dtype, given):
    few = [("first", 3, "row", 5)]
    layer, images = RichFeatures(few, dtype=dtype), IMAGES.astype(given)
    declared, answer = layer(keras.Input((None, None, 3), dtype=given)), layer(images)
    assert keras.backend.standardize_dtype(answer.dtype) == declared.dtype == layer.compute_dtype
    assert declared.shape == (None, *answer.shape[1:])
    # Counted in float32 whatever it is.
    expected = keras.ops.cast(RichFeatures(few)(images), declared.dtype)
    np.testing.assert_array_equal(answer, expected)
