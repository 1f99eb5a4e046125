"""Forensic features: finite, the same for mirrored images, and those of saved machines."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfk.models import forensic
from dfk.models.forensic import FEATURES, features
from dfk.models.svm import SVM

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 24, 37, 3), dtype=np.uint8)
SMOOTH = (IMAGES // 32 + 100).astype(np.uint8)  # Residuals that are not all cut
SPECTRA, COLOURS = slice(0, 96), slice(132, 228)
# Of each kind of co-occurrences the features in one direction; the other direction's follow.
COOCCURRENCES = {"first row": 175, "first colours": 172, "second row": 196, "second colours": 343}


def histograms(found):
    """The features of one image that are co-occurrences, a histogram in one direction each."""
    ends = np.cumsum(np.repeat(list(COOCCURRENCES.values()), 2))
    assert ends[-1] == FEATURES - COLOURS.stop
    return np.split(found[COLOURS.stop :], ends[:-1])


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
    a, b = features(SMOOTH), features(SMOOTH + 20)
    assert np.abs(a - b)[:, COLOURS].max() > 0.1
    np.testing.assert_allclose(*(np.delete(x, np.r_[COLOURS], 1) for x in (a, b)), atol=2e-3)


def test_transposing_exchanges_directions_only():
    image, turned = features(SMOOTH[:1])[0], features(SMOOTH[:1].swapaxes(1, 2))[0]
    np.testing.assert_allclose(image[SPECTRA], turned[SPECTRA], atol=1e-4)
    a, b = histograms(image), histograms(turned)
    for i, histogram in enumerate(a):
        np.testing.assert_allclose(histogram, b[i ^ 1], atol=1e-6)
    assert np.abs(a[0] - a[1]).max() > 0.01


@pytest.mark.parametrize("images", [IMAGES, SMOOTH], ids=["noise", "smooth"])
def test_cooccurrences_are_roots_of_shares(images):
    """Of all triples: those that mirroring exchanges count together."""
    for histogram in histograms(features(images[:1])[0]):
        assert (histogram**2).sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (21, 45)])
def test_rings_that_a_small_image_leaves_empty_are_between_their_neighbours(size):
    images = RNG.integers(0, 256, (3, *size, 3), dtype=np.uint8)
    profiles = features(images)[:, SPECTRA].reshape(-1, 32)
    # That of no frequency is the first; noise leaves none of the others without power.
    assert profiles[:, 1:].min() > 0
    measured = np.unique(forensic.rings(*size))
    assert len(measured) < 32
    expected = [np.interp(np.arange(32), measured, profile[measured]) for profile in profiles]
    np.testing.assert_allclose(profiles, expected, rtol=1e-5)


def test_larger_images_leave_no_ring_empty():
    least = forensic._NO_RING_EMPTY
    sizes = [(y, x) for y in range(least, least + 12) for x in (*range(y, least + 12), 101, 640)]
    for size in sizes:
        assert len(np.unique(forensic.rings(*size))) == 32, size
    assert len(np.unique(forensic.rings(least - 1, least - 1))) < 32


def drawn(count, seed):
    rng = np.random.default_rng(seed)
    sizes = [(12, 12), (20, 33), (50, 41)]
    return [
        rng.integers(0, 16, (*sizes[i % 3], 3), dtype=np.uint8) * (i % 2 + 3) for i in range(count)
    ]


def test_a_machine_of_before_these_layers_answers_what_it_did():
    """It was fitted to `drawn(12, 0)` when NumPy computed the features; so were these answers."""
    machine = SVM.load(Path(__file__).with_name("svm_forensic.skops"))
    assert (machine.temperature, machine.thresholds) == (0.5, {"unknown": 0.6})
    expected = [0.148054212, 0.943397999, 0.054736849, 0.76568991, 0.083676226, 0.970590949]
    np.testing.assert_allclose(machine.predict(drawn(6, 1))[:, 1], expected, atol=1e-6)
    # All images are support vectors, class by class.
    fitted_to = [*drawn(12, 0)[::2], *drawn(12, 0)[1::2]]
    np.testing.assert_allclose(machine.machine.vectors, features(fitted_to), atol=1e-3)


_JAX = """
import sys
import dfk, keras, numpy as np
from dfk.models.forensic import features
assert keras.backend.backend() == "jax"
np.save(sys.argv[2], features(np.load(sys.argv[1])))
"""


@pytest.mark.slow  # JAX compiles for ten seconds.
def test_they_are_the_same_on_jax(tmp_path):
    pytest.importorskip("jax")
    np.save(tmp_path / "images.npy", IMAGES)
    subprocess.run(
        [sys.executable, "-c", _JAX, tmp_path / "images.npy", tmp_path / "jax.npy"],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        check=True,
    )
    np.testing.assert_allclose(np.load(tmp_path / "jax.npy"), features(IMAGES), atol=1e-3)
