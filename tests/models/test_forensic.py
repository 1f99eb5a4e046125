"""Forensic features: finite, the same for mirrored images, and found where they should be."""

import collections
import itertools

import numpy as np
import pytest

from dfk.models import forensic
from dfk.models.forensic import BINS, FEATURES, features

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 24, 37, 3), dtype=np.uint8)
SMOOTH = (IMAGES // 32 + 100).astype(np.uint8)  # Residuals that are not all cut


def planes(image):
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def spectrum(image):
    """The ring means of the first plane."""
    return forensic.radial_spectrum(planes(image).astype(np.float32))[0, :BINS]


@pytest.mark.parametrize("size", [(8, 8), (8, 100), (9, 13), (100, 100), (131, 64)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_images_have_finite_features(size, value):
    result = features([np.full((*size, 3), value, np.uint8)])
    assert result.shape == (1, FEATURES) and result.dtype == np.float32
    assert np.isfinite(result).all()


def test_a_batch_equals_its_images_whatever_their_sizes(monkeypatch):
    sizes = [(8, 8), (24, 37), (37, 24), (24, 37), (8, 8), (24, 37), (50, 9)]
    images = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    single = np.concatenate([features([image]) for image in images])
    np.testing.assert_allclose(features(images), single, atol=1e-5)
    monkeypatch.setattr(forensic, "_BATCH_VALUES", 6000)  # Two images of 24 x 37
    np.testing.assert_allclose(features(images), single, atol=1e-5)
    assert np.abs(single[1] - single[3]).max() > 0.01


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="image of 30 x 7 pixels is too small"):
        features([np.zeros((7, 30, 3), np.uint8)])


@pytest.mark.parametrize("images", [IMAGES, SMOOTH], ids=["noise", "smooth"])
@pytest.mark.parametrize("axis", [1, 2])
def test_mirroring_changes_nothing(images, axis):
    np.testing.assert_allclose(features(np.flip(images, axis)), features(images), atol=1e-3)


def test_brightness_changes_colours_only():
    dark, bright = SMOOTH, SMOOTH + 20
    colours = slice(3 * BINS + 36, 6 * BINS + 36)
    a, b = features(dark), features(bright)
    assert np.abs(a - b)[:, colours].max() > 0.1
    np.testing.assert_allclose(
        np.delete(a, np.r_[colours], 1), np.delete(b, np.r_[colours], 1), atol=2e-3
    )


def test_transposing_exchanges_directions_only():
    a, b = (planes(image).astype(np.float32) for image in (IMAGES[0], IMAGES[0].swapaxes(0, 1)))
    np.testing.assert_allclose(forensic.radial_spectrum(a), forensic.radial_spectrum(b), atol=1e-4)
    for which in forensic._COOCCURRENCES:
        a, b = (
            forensic.cooccurrence(planes(i), *which)[0]
            for i in (SMOOTH[0], SMOOTH[0].swapaxes(0, 1))
        )
        np.testing.assert_allclose(a, np.roll(b, len(b) // 2), atol=1e-6)


@pytest.mark.parametrize(("size", "period", "ring"), [(32, 2, 31), (40, 4, 15), (64, 8, 7)])
def test_a_checkerboard_shows_in_the_ring_of_its_frequency(size, period, ring):
    phase = 2 * np.pi * np.arange(size) / period
    board = np.cos(phase)[:, None] * np.cos(phase) * 50
    profile = spectrum(np.repeat(board[..., None] + 128, 3, axis=2))
    assert abs(int(profile.argmax()) - ring) <= 1


@pytest.mark.parametrize("size", [(16, 16), (33, 20), (21, 45)])
def test_rings_are_the_means_of_the_whole_plane(size):
    power = RNG.random(size)
    power = power + np.roll(power[::-1, ::-1], 1, (0, 1))  # As the spectrum of a real image
    radius = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
    ring = np.minimum((radius / np.sqrt(0.5) * BINS).astype(int), BINS - 1)
    profile = forensic._ring_means(power[None, :, : size[1] // 2 + 1], size[1])[0]
    for k in np.unique(ring):
        assert profile[k] == pytest.approx(power[ring == k].mean(), rel=1e-5)
    # Empty rings, too; float32 rounds.
    assert power.min() <= profile.min() + 1e-6 and profile.max() - 1e-6 <= power.max()


def test_noise_has_one_flat_spectrum_at_every_size():
    levels = []
    for size in (24, 100):
        noise = [RNG.normal(128, 20, (size, size, 3)) for _ in range(20)]
        levels.append(np.mean([spectrum(image)[2:].mean() for image in noise]))
    assert levels[0] == pytest.approx(levels[1], abs=0.1)
    assert levels[1] == pytest.approx(np.log(400) - np.euler_gamma, abs=0.1)


def test_repeating_an_image_keeps_its_histograms():
    small, large = (
        forensic.colour_histogram(
            planes(i).astype(np.float32) - np.array([0, 128, 128], np.float32)[:, None, None]
        )
        for i in (IMAGES[0], np.tile(IMAGES[0], (2, 3, 1)))
    )
    np.testing.assert_allclose(small, large, atol=1e-6)
    expected = [np.histogram(IMAGES[0][..., c], BINS, (0, 256))[0] / (24 * 37) for c in range(3)]
    np.testing.assert_allclose(small[0] ** 2, np.concatenate(expected), atol=1e-6)


def test_moments_are_those_of_the_differences():
    plane = IMAGES[0].transpose(2, 0, 1)[:1].astype(np.float32)
    moments = np.expm1(forensic.residual_moments(plane[None])[0]).reshape(4, 3)
    differences = [np.diff(plane[0], n, axis) for axis in (1, 0) for n in (1, 2)]
    for row, d in zip(moments, differences, strict=True):
        square = np.mean(d.astype(float) ** 2)
        kurtosis = np.mean(d.astype(float) ** 4) / square**2
        np.testing.assert_allclose(row, [np.abs(d).mean(), square**0.5, kurtosis], rtol=1e-4)


@pytest.mark.parametrize("which", forensic._COOCCURRENCES, ids=str)
def test_cooccurrences_are_counts_of_triples(which):
    order, step, where = which
    image = SMOOTH[0].astype(int)
    d = np.diff(image, order, axis=1)
    d = np.clip(np.sign(d) * ((np.abs(d) + step // 2) // step), -3, 3)
    counts = collections.Counter()
    for row in d:
        if where == "row":
            triples = zip(row[:-2, 1], row[1:-1, 1], row[2:, 1], strict=True)
        else:
            triples = map(tuple, row)
        for triple in triples:
            mirrored = tuple(-v for v in triple) if order == 1 else triple
            mirrored = mirrored[::-1] if where == "row" else mirrored
            counts[min(tuple(triple), tuple(mirrored))] += 1
    horizontal = np.split(forensic.cooccurrence(planes(SMOOTH[0]), *which)[0], 2)[0] ** 2
    expected = sorted(count / counts.total() for count in counts.values())
    np.testing.assert_allclose(np.sort(horizontal)[-len(expected) :], expected, rtol=1e-5)
    assert horizontal.sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("order", "where", "features"),
    [(1, "row", 175), (1, "colours", 172), (2, "row", 196), (2, "colours", 343)],
)
def test_mirrored_triples_share_a_number(order, where, features):
    numbers = forensic._numbers(order, where)
    assert set(numbers) == set(range(features))
    triples = list(itertools.product(range(-3, 4), repeat=3))
    number = dict(zip(triples, numbers, strict=True))
    sign = -1 if order == 1 else 1
    for triple in triples:
        mirrored = tuple(sign * v for v in triple)
        assert number[triple] == number[mirrored[::-1] if where == "row" else mirrored]
