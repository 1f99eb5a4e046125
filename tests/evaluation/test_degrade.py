"""Each degradation does what its name says, by the call that the matrix makes, and repeats."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from dfk.evaluation.degrade import OPERATIONS, to_jpeg, to_webp
from tests.pictures import encode, noise

PICTURE = noise(60, 52)
CASES = [(name, severity) for name, op in OPERATIONS.items() for severity in op.severities]


def _degraded(name, severity, image=PICTURE):
    return OPERATIONS[name].apply(image, severity)


def _each(name, image=PICTURE):
    """Severity -> what becomes of the image, from mild to severe."""
    return {s: _degraded(name, s, image) for s in OPERATIONS[name].severities}


def _away(image, other=PICTURE):
    return np.abs(image.astype(float) - other).mean()


def _fine(image):
    """The energy of differences between neighbours."""
    return sum((np.diff(image.astype(float), axis=axis) ** 2).mean() for axis in (0, 1))


def _decoded(data):
    with _opened(data) as image:
        return np.asarray(image)


def _opened(data):
    return Image.open(io.BytesIO(data))


# All of them


@pytest.mark.parametrize(("name", "severity"), CASES)
def test_it_repeats_bit_for_bit_and_leaves_the_image_alone(name, severity):
    before = PICTURE.copy()
    first = _degraded(name, severity)
    np.testing.assert_array_equal(first, _degraded(name, severity, before.copy()))
    np.testing.assert_array_equal(PICTURE, before)
    assert first.dtype == np.uint8 and first.shape[2] == 3
    assert name == "crop" or (first.shape == PICTURE.shape and _away(first) > 0.1)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "crop"])
def test_severities_go_from_mild_to_severe(name):
    away = [_away(image) for image in _each(name).values()]
    assert away == sorted(away) and len(set(away)) == len(away)


@pytest.mark.parametrize(("name", "severity"), CASES)
def test_an_image_of_one_pixel_will_do(name, severity):
    assert _degraded(name, severity, PICTURE[:1, :1]).shape == (1, 1, 3)


# One by one


@pytest.mark.parametrize(
    ("name", "kind", "write"), [("jpeg", "JPEG", to_jpeg), ("webp", "WEBP", to_webp)]
)
def test_files_are_of_the_quality_asked_for(name, kind, write):
    images = _each(name)
    for quality, image in images.items():
        expected = _decoded(encode(PICTURE, kind, quality=quality))  # By Pillow's own keyword
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(image, _decoded(write(PICTURE, quality)))
    sizes = [len(write(PICTURE, quality)) for quality in images]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.75 * sizes[0]


def test_resize_keeps_the_size_and_loses_detail():
    for factor, image in _each("resize").items():
        small = Image.fromarray(PICTURE).resize(
            (round(52 * factor), round(60 * factor)), Image.Resampling.BICUBIC
        )
        np.testing.assert_array_equal(image, small.resize((52, 60), Image.Resampling.BICUBIC))
    detail = [_fine(PICTURE), *map(_fine, _each("resize").values())]
    assert detail == sorted(detail, reverse=True) and detail[-1] < 0.3 * detail[0]


def test_blur_has_the_sigma_asked_for():
    line = np.zeros((41, 41, 3), np.uint8)
    line[:, 20] = 255
    for sigma, image in _each("blur", line).items():
        weight = image[20, :, 0] / image[20, :, 0].sum()
        assert np.sqrt((weight * (np.arange(41) - 20) ** 2).sum()) == pytest.approx(sigma, rel=0.1)
    grain = np.random.default_rng(0).integers(0, 256, (60, 52, 3), dtype=np.uint8)
    detail = [_fine(grain), *map(_fine, _each("blur", grain).values())]
    assert all(more > 1.5 * less for more, less in itertools.pairwise(detail))


def test_noise_has_the_sigma_asked_for_and_is_the_images_own():
    grey = np.full((100, 100, 3), 128, np.uint8)
    found = {sigma: image.astype(float) - 128 for sigma, image in _each("noise", grey).items()}
    for sigma, added in found.items():
        assert added.std() == pytest.approx(np.hypot(sigma, 12**-0.5), rel=0.02)
        assert abs(added.mean()) < 0.05 * sigma
        assert np.abs(np.corrcoef(added.reshape(-1, 3).T) - np.eye(3)).max() < 0.05
    np.testing.assert_allclose(found[10] / 5, found[2], atol=0.61)  # Scaled, and rounded twice
    other = _degraded("noise", 10, grey + np.uint8(1)).astype(float) - 129
    assert abs(np.corrcoef(other.ravel(), found[10].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(("share", "height", "width"), [(0.9, 54, 47), (0.75, 45, 39)])
def test_crop_keeps_the_middle(share, height, width):
    assert share in OPERATIONS["crop"].severities
    top, left = (60 - height) // 2, (52 - width) // 2
    expected = PICTURE[top : top + height, left : left + width]
    np.testing.assert_array_equal(_degraded("crop", share), expected)


def test_brightness_multiplies_the_mean():
    dark = PICTURE // 2  # Nothing reaches 255.
    for factor, image in _each("brightness", dark).items():
        # Pillow cuts fractions off.
        assert -0.6 < image.mean() - factor * dark.mean() < 0.1


def test_shared_is_resized_and_saved_twice_and_worse_than_its_parts():
    small = Image.fromarray(PICTURE).resize((42, 48), Image.Resampling.BICUBIC)
    first = _opened(encode(small, "JPEG", quality=75))
    large = first.resize((52, 60), Image.Resampling.BICUBIC)
    once = _decoded(encode(large, "JPEG", quality=75))
    np.testing.assert_array_equal(_degraded("shared", 1), once)
    np.testing.assert_array_equal(_degraded("shared", 2), _degraded("shared", 1, once))
    assert 0.8 in OPERATIONS["resize"].severities and 75 in OPERATIONS["jpeg"].severities
    parts = _degraded("resize", 0.8), _degraded("jpeg", 75)
    assert _away(once) > max(map(_away, parts))
