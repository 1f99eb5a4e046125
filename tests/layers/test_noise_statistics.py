"""The layer of statistics, against what NumPy computes by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk.layers import NoiseStatistics, noise_statistics, tiles
from dfk.layers.noise_statistics import BINS
from tests.pictures import noise

STATISTICS = NoiseStatistics()
NOISE = 228  # Where spectra, moments and colours end, and noise by brightness begins
_TO_YCC = np.array(
    [[299_000, 587_000, 114_000], [-168_736, -331_264, 500_000], [500_000, -418_688, -81_312]]
)


def _measured(images):
    return keras.ops.convert_to_numpy(STATISTICS(images))


def _grey(values):
    """An image [H, W, 3] whose Y is `values`, [H, W], and whose Cb and Cr are 0."""
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def _spectrum(values):
    """The mean log power of Y in the rings."""
    return _measured(_grey(values)[None])[0, :BINS]


@pytest.mark.parametrize(("size", "period", "ring"), [(32, 2, 31), (40, 4, 15), (64, 8, 7)])
def test_a_checkerboard_shows_in_the_ring_of_its_frequency(size, period, ring):
    phase = 2 * np.pi * np.arange(size) / period
    profile = _spectrum(np.cos(phase)[:, None] * np.cos(phase) * 50 + 128)
    assert abs(int(profile.argmax()) - ring) <= 1


def _expected(y):
    """The mean log power in the rings, in float64; those that have no frequency are 0."""
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in y.shape))
    spectrum = np.fft.fft2((y - y.mean()) * window / np.linalg.norm(window))
    power = np.log1p(np.abs(spectrum) ** 2)
    radius = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, y.shape), indexing="ij"))
    ring = np.minimum((radius / np.sqrt(0.5) * BINS + 1e-4).astype(int), BINS - 1)
    return [power[ring == k].mean() if (ring == k).any() else 0 for k in range(BINS)]


@pytest.mark.parametrize(
    ("size", "empty"), [((16, 16), 7), ((33, 20), 0), ((21, 45), 1), ((301, 224), 0)]
)
def test_rings_are_the_means_of_the_log_power(size, empty):
    """Of the whole plane; those that a small image leaves empty are 0."""
    y = noise(*size)[..., 0]
    expected = _expected(y)
    np.testing.assert_allclose(_spectrum(y), expected, rtol=1e-5, atol=1e-4)
    assert expected.count(0) == empty


def test_of_a_large_image_windows_are_averaged(monkeypatch):
    """As few equal ones as cover it."""
    monkeypatch.setattr(noise_statistics, "WINDOW", 40)
    y = noise(75, 90)[..., 0]
    windows = [y[top : top + 38, left : left + 30] for top in (0, 37) for left in (0, 30, 60)]
    expected = np.mean([_expected(window) for window in windows], axis=0)
    np.testing.assert_allclose(_spectrum(y), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [(3, 41, 90), (5, 47, 33)])
def test_tiles_change_nothing(size, monkeypatch):
    images = np.stack([noise(*size[1:], seed) for seed in range(size[0])])
    whole = _measured(images)
    monkeypatch.setattr(tiles, "_SIDE", 20)
    monkeypatch.setattr(tiles, "_IMAGES", 2)
    np.testing.assert_allclose(_measured(images), whole, rtol=1e-6, atol=1e-6)


def test_noise_has_one_flat_spectrum_at_every_size():
    rng, levels = np.random.default_rng(0), []
    for size in (24, 100):
        profiles = [_spectrum(rng.normal(128, 20, (size, size))) for _ in range(20)]
        levels.append(np.mean([profile[2:][profile[2:] > 0].mean() for profile in profiles]))
    assert levels[0] == pytest.approx(levels[1], abs=0.1)
    assert levels[1] == pytest.approx(np.log(400) - np.euler_gamma, abs=0.1)


def test_moments_are_those_of_the_differences():
    y = noise(24, 37)[..., 0].astype(float)
    moments = np.expm1(_measured(_grey(y)[None])[0, 3 * BINS :][:12]).reshape(4, 3)
    differences = [np.diff(y, order, axis) for axis in (1, 0) for order in (1, 2)]
    for row, d in zip(moments, differences, strict=True):
        square = np.mean(d**2)
        expected = [np.abs(d).mean(), square**0.5, np.mean(d**4) / square**2]
        np.testing.assert_allclose(row, expected, rtol=1e-4)


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 3, 1)])
def test_colours_are_roots_of_the_shares_of_y_cb_cr(repeats):
    image = np.random.default_rng(0).integers(0, 256, (24, 37, 3), dtype=np.uint8)
    image[:, :5] = image[:, :5, :1]  # Greys, whose Cb and Cr are on the edge of a bin
    y, cb, cr = np.moveaxis(image.astype(np.int64) @ _TO_YCC.T, -1, 0)
    planes = (y, cb + 128_000_000, cr + 128_000_000)
    expected = np.concatenate(
        [np.bincount((p // 8_000_000).ravel(), minlength=BINS)[:BINS] / p.size for p in planes]
    )
    shares = _measured(np.tile(image, repeats)[None])[0, 3 * BINS + 36 : NOISE] ** 2
    np.testing.assert_allclose(shares, expected, atol=1e-6)


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
    shares = _measured(image[None])[0, NOISE:].reshape(16, 10) ** 2
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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "mixed_bfloat16", "float32"])
@pytest.mark.parametrize("given", ["uint8", "int32", "float32"])
def test_it_answers_in_the_dtype_that_it_declares(dtype, given):
    layer = NoiseStatistics(dtype=dtype)
    images = noise(24, 37)[None].astype(given)
    declared, answer = layer(keras.Input((None, None, 3), dtype=given)), layer(images)
    assert keras.backend.standardize_dtype(answer.dtype) == declared.dtype == layer.compute_dtype
    assert declared.shape == (None, *answer.shape[1:])
    # Measured in float32 whatever it is.
    expected = keras.ops.cast(STATISTICS(images), declared.dtype)
    np.testing.assert_array_equal(answer, expected)


def test_its_graph_has_no_complex_numbers_and_where_asked_no_histogram():
    def operations():
        images = tf.TensorSpec([None, None, None, 3])
        graph = tf.function(STATISTICS).get_concrete_function(images).graph.as_graph_def()
        nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
        return {node.op for node in nodes}

    def is_tensorflow_only(name):
        return "FFT" in name or "Complex" in name or "Bincount" in name

    assert {x for x in operations() if is_tensorflow_only(x)} == {"DenseBincount"}
    with tiles.portable():
        assert not {x for x in operations() if is_tensorflow_only(x)}
