"""What happens to images is what Pillow does to them, drawn as it is said to be."""

import io
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter

from dfk.config.augmentation import STRENGTHS
from dfk.data import augment, degradations
from dfk.evaluation import degrade

RNG = np.random.default_rng(0)
SEED = tf.constant([3, 7], tf.int64)


def _large(images=256):
    """A real spectrum's worth of pixels: smooth, with grain. Whole numbers [N, 32, 40, 3]."""
    smooth = RNG.uniform(60, 200, (images, 4, 5, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.round(smooth + RNG.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.float32)


def _pillow(image, function):
    return np.asarray(function(Image.fromarray(image.astype(np.uint8)))).astype(np.float32)


def _nearest(candidates, image):
    """The candidate that is most like an image, and how far away it is on average."""
    away = {name: np.abs(other - image).mean() for name, other in candidates.items()}
    name = min(away, key=away.get)
    return name, away[name]


def test_gaussian_is_a_whole_gaussian_up_to_its_sigma():
    peaks = np.zeros((256, 31, 31, 3), np.float32)
    peaks[:, 15, 15] = 255
    columns = np.tile(peaks[:, 15:16], (1, 31, 1, 1))  # A bright column: one axis at a time
    blurred = degradations.gaussian(columns, 2.0, SEED).numpy()[:, 15, :, 0]
    weight = blurred / blurred.sum(axis=1, keepdims=True)
    sigma = np.sqrt((weight * (np.arange(31) - 15) ** 2).sum(axis=1))
    assert sigma.max() < 2.1 and (sigma > 1.8).any() and (sigma < 0.3).any()
    assert np.abs(np.quantile(sigma, [0.25, 0.5, 0.75]) - [0.575, 1.05, 1.525]).max() < 0.2
    rows = degradations.gaussian(columns.transpose(0, 2, 1, 3), 2.0, SEED).numpy()
    np.testing.assert_array_equal(rows[:, :, 15, 0], blurred)
    flat = np.full((4, 9, 7, 3), 77, np.float32)
    np.testing.assert_array_equal(degradations.gaussian(flat, 2.0, SEED), flat)


def test_the_studys_blur_reaches_less_far_than_a_gaussian():
    grain = RNG.integers(60, 200, (1, 32, 32, 3)).astype(np.float32)
    box = augment.blur(grain, 1e3, SEED).numpy()  # All that three pixels can do
    whole = _pillow(grain[0], lambda picture: picture.filter(ImageFilter.GaussianBlur(2)))
    assert whole.std() < 0.5 * box.std()


def test_resize_is_one_of_three_of_pillows_there_and_back():
    images = np.repeat(_large(1)[:, :, :32], 300, axis=0)
    kernels = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS

    def there_and_back(side, kernel):
        small = Image.fromarray(images[0].astype(np.uint8)).resize((side, side), kernel)
        return np.asarray(small.resize((32, 32), kernel)).astype(np.float32)

    there = {(side, k): there_and_back(side, k) for side in range(16, 43) for k in kernels}
    found = [_nearest(there, image) for image in degradations.resize(images, 0.5, SEED).numpy()]
    assert max(away for _, away in found) < 0.6  # Pillow rounds in between.
    sides, kinds = zip(*(name for name, _ in found), strict=True)
    assert min(sides) == 16 and max(sides) > 40 and len(set(sides)) > 22
    assert min(Counter(kinds).values()) > 70


@pytest.mark.parametrize("lowest", [40.0, 98.0, 100.0])
def test_jpeg_is_a_file_of_a_quality_from_its_strength_up(lowest):
    images = np.repeat(_large(1), 256, axis=0)

    def saved(quality, subsampling):
        file = io.BytesIO()
        picture = Image.fromarray(images[0].astype(np.uint8))
        picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
        return np.asarray(Image.open(file)).astype(np.float32)

    files = {(q, s): saved(q, s) for q in range(int(lowest), 101) for s in (0, 2)}
    found = [_nearest(files, i) for i in degradations.jpeg(images + 0.3, lowest, SEED).numpy()]
    assert {away for _, away in found} == {0}
    halved = [quality for (quality, subsampling), _ in found if subsampling]
    whole = [quality for (quality, subsampling), _ in found if not subsampling]
    assert 0.55 < len(halved) / 256 < 0.75
    assert set(whole) <= {lowest, *range(5, 101, 5)}
    if lowest == 40:
        assert min(halved) < 45 and max(halved) > 96 and len(set(whole)) > 9
        assert np.abs(np.quantile(halved, [0.25, 0.5, 0.75]) - [55, 70, 85]).max() < 6


def test_images_of_a_size_that_no_graph_knows_may_be_none_of_jpeg():
    """Few images of a batch of any size: none of them may be drawn for an operation."""
    spec = tf.TensorSpec([None, None, None, 3])
    degrading = tf.function(
        lambda images: degradations.degrade(images, 1.0, SEED), input_signature=[spec]
    )
    for shape in ((1, 16, 24, 3), (2, 17, 16, 3)):
        assert degrading(np.full(shape, 128, np.float32)).shape == shape


def test_noise_is_of_a_sigma_up_to_its_strength():
    images = np.full((300, 20, 20, 3), 128, np.float32)
    sigma = (degradations.noise(images, 11.0, SEED).numpy() - images).std(axis=(1, 2, 3))
    assert 0.9 < sigma.min() < 1.3 and 10.5 < sigma.max() < 11.7
    assert abs(np.median(sigma) - 6) < 0.7


def test_tone_changes_brightness_contrast_or_gamma():
    images = np.repeat(_large(1) * 0.5 + 40, 300, axis=0)
    factors = np.arange(0.65, 1.36, 0.01)[:, None, None, None]
    mean = images[0].mean()
    twins = {
        "brightness": images[0] * factors,
        "contrast": (images[0] - mean) * factors + mean,
        "gamma": 255 * (images[0] / 255) ** factors,
    }
    twins = {(k, i): x for k, each in twins.items() for i, x in enumerate(each)}
    found = [_nearest(twins, image) for image in degradations.tone(images, 0.35, SEED).numpy()]
    assert max(away for _, away in found) < 1.2
    for kind, count in Counter(kind for (kind, _), _ in found).items():
        drawn = [i for (k, i), _ in found if k == kind]
        assert count > 70 and min(drawn) < 6 and max(drawn) > 65, kind


def test_cut_moves_a_window_to_the_corner_and_reflects_the_rest():
    place = np.arange(12 * 16, dtype=np.float32).reshape(12, 16, 1)
    images = np.tile(place, (200, 1, 1, 3))
    kept = []
    for image in degradations.cut(images, 0.25, SEED).numpy()[..., 0].astype(int):
        top, left = divmod(image[0, 0], 16)
        rows, columns = image[:, 0] // 16 - top, image[0] % 16 - left
        np.testing.assert_array_equal(image, 16 * (rows[:, None] + top) + columns + left)
        height, width = rows.max() + 1, columns.max() + 1
        np.testing.assert_array_equal(rows, np.pad(np.arange(height), (0, 12 - height), "reflect"))
        np.testing.assert_array_equal(columns, np.pad(range(width), (0, 16 - width), "reflect"))
        kept.append((height, width, top, left))
    heights, widths, tops, lefts = zip(*kept, strict=True)
    assert set(heights) == set(range(9, 13)) and set(widths) == set(range(12, 17))
    assert set(tops) == set(range(4)) and set(lefts) == set(range(5))


@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_degrade_leaves_a_share_of_the_images_as_they_are(probability):
    images = _large(400)
    degraded = degradations.degrade(images, probability, SEED).numpy()
    changed = (degraded != images).any(axis=(1, 2, 3))
    assert abs(changed.mean() - probability) < 0.07
    assert degraded.dtype == np.float32 and degraded.min() >= 0 and degraded.max() <= 255
    np.testing.assert_array_equal(degraded, degraded.round())


def _names_of(monkeypatch, degrading):
    """Which operations each of 400 images goes through, in their order."""
    numbers = {name: place + 1 for place, name in enumerate(degradations.NAMES)}
    marks = {
        name: lambda images, strength, seed, n=n: 10 * images + n for name, n in numbers.items()
    }
    monkeypatch.setattr(degradations, "DEGRADATIONS", marks)
    through = degrading(np.zeros((400, 2, 2, 3), np.float32), 1.0, SEED).numpy()[:, 0, 0, 0]
    return [[degradations.NAMES[int(n) - 1] for n in str(int(x))] for x in through]


def test_a_chain_is_of_one_to_three_operations_each_as_likely(monkeypatch):
    chains = _names_of(monkeypatch, degradations.degrade)
    assert all(100 < count < 170 for count in Counter(map(len, chains)).values())
    assert set(map(len, chains)) == {1, 2, 3}
    drawn = Counter(name for chain in chains for name in chain)
    assert set(drawn) == set(degradations.NAMES)
    assert max(drawn.values()) < 1.5 * min(drawn.values())


@pytest.mark.parametrize("name", degradations.NAMES)
def test_one_operation_may_be_left_out(monkeypatch, name):
    chains = _names_of(monkeypatch, degradations.CHAINS[f"degrade_without_{name}"])
    drawn = {name for chain in chains for name in chain}
    assert drawn == set(degradations.NAMES) - {name}


def test_each_operation_of_a_test_but_webp_has_one_in_training():
    tested = {"blur": "gaussian", "brightness": "tone", "crop": "cut", "shared": "jpeg"}
    for name in degrade.OPERATIONS.keys() - {"webp"}:
        assert tested.get(name, name) in degradations.NAMES
    assert STRENGTHS["jpeg"].default <= min(degrade.OPERATIONS["jpeg"].severities)
    assert STRENGTHS["gaussian"].default >= max(degrade.OPERATIONS["blur"].severities)
    assert STRENGTHS["noise"].default >= max(degrade.OPERATIONS["noise"].severities)
    assert STRENGTHS["resize"].default <= min(degrade.OPERATIONS["resize"].severities)
