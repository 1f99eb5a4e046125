"""Each augmentation does what it says, for each image by itself, and repeats with its seed."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter

from dfk.data import augment
from dfk.data.augment import Step

SEED = tf.constant([3, 7], tf.int64)
OTHER = tf.constant([3, 8], tf.int64)
OPS = {**augment.AUGMENTATIONS, "crop": (augment.random_crop, 5)}
NOISE = np.random.default_rng(0).uniform(0, 255, (8, 9, 11, 3)).astype(np.float32)
SQUARE = NOISE[:, :, :9]
LUMA = np.array([0.299, 0.587, 0.114])

each_op = pytest.mark.parametrize(("op", "strength"), OPS.values(), ids=OPS)


# All of them


@each_op
def test_eagerly_and_in_tf_data_it_gives_the_same(op, strength):
    images = tf.data.Dataset.from_tensors(SQUARE).map(lambda batch: op(batch, strength, SEED))
    expected = op(SQUARE, strength, SEED)
    np.testing.assert_allclose(images.get_single_element(), expected, rtol=1e-5)  # Fused, or not


@each_op
def test_the_seed_decides(op, strength):
    first = op(SQUARE, strength, SEED).numpy()
    np.testing.assert_array_equal(first, op(SQUARE, strength, SEED))
    assert not np.array_equal(first, op(SQUARE, strength, OTHER))


@each_op
def test_each_image_of_a_batch_is_drawn_by_itself(op, strength):
    same = op(np.repeat(SQUARE[:1], 32, axis=0), strength, SEED).numpy()
    kinds = len(np.unique(same.reshape(32, -1), axis=0))
    expected = {augment.flip: 2, augment.vflip: 2, augment.turn: 4, augment.resize: 5}
    assert kinds == expected[op] if op in expected else kinds > 10  # Resized to 5..9 pixels


# One by one


def _same(images, others):
    """Which images of two batches are the same."""
    return (images == others).all(axis=(1, 2, 3))


def _turned(images, kept):
    """Which images of a batch changed."""
    return np.array([not np.array_equal(a, b) for a, b in zip(images, kept, strict=True)])


def test_flip_mirrors_about_half_of_the_images():
    images = np.tile(NOISE, (32, 1, 1, 1))
    flipped = augment.flip(images, 0.5, SEED).numpy()
    changed = _turned(flipped, images)
    np.testing.assert_array_equal(flipped[changed], images[changed][:, :, ::-1])
    assert 0.35 < changed.mean() < 0.65


@pytest.mark.parametrize(("probability", "expected"), [(1.0, NOISE[:, :, ::-1]), (1e-9, NOISE)])
def test_flip_by_its_probability(probability, expected):
    np.testing.assert_array_equal(augment.flip(NOISE, probability, SEED), expected)


def test_vflip_mirrors_top_and_bottom_of_about_half():
    images = np.tile(NOISE, (32, 1, 1, 1))
    flipped = augment.vflip(images, 0.5, SEED).numpy()
    changed = _turned(flipped, images)
    np.testing.assert_array_equal(flipped[changed], images[changed][:, ::-1])
    assert 0.35 < changed.mean() < 0.65


def test_turn_takes_each_quarter_as_often_and_changes_no_pixel():
    images = np.tile(SQUARE, (64, 1, 1, 1))
    turned = augment.turn(images, 0.75, SEED).numpy()
    each = [_same(turned, np.rot90(images, k, axes=(1, 2))) for k in range(4)]
    np.testing.assert_array_equal(np.sum(each, axis=0), 1)
    assert np.mean(each, axis=1).min() > 0.2 and np.mean(each, axis=1).max() < 0.3
    seldom = _same(augment.turn(images, 0.1, SEED).numpy(), images)
    assert 0.85 < seldom.mean() < 0.95


def test_turn_refuses_what_is_not_square():
    with pytest.raises(ValueError, match="needs square images, these are 11 x 9"):
        augment.turn(NOISE, 0.75, SEED)


def test_rotate_turns_about_the_centre_by_up_to_its_angle():
    y, x = np.mgrid[-16:17, -16:17]
    angle, radius = np.degrees(np.arctan2(y, x)), np.hypot(x, y)
    polar = np.stack([angle, radius, np.ones_like(radius)], -1).astype(np.float32)
    turned = augment.rotate(np.repeat(polar[None], 64, axis=0), 30.0, SEED).numpy()
    np.testing.assert_array_equal(turned[:, 16, 16], np.tile(polar[16, 16], (64, 1)))
    ring = (radius > 10) & (radius < 16)
    half_pixel = math.sqrt(0.5) + 1e-3
    assert np.abs(turned[..., 1] - radius)[:, ring].max() <= half_pixel
    by = (turned[..., 0] - angle + 180)[:, ring] % 360 - 180
    mean = by.mean(axis=1)
    assert np.abs(by - mean[:, None]).max() <= math.degrees(half_pixel / 10) + 1
    assert np.abs(mean).max() < 31
    assert mean.min() < -15 and mean.max() > 15


def test_rotate_moves_pixels_and_neither_blends_nor_invents_them():
    turned = augment.rotate(NOISE, 45.0, SEED).numpy()
    assert turned.shape == NOISE.shape
    for before, after in zip(NOISE, turned, strict=True):
        colours = {tuple(pixel) for pixel in before.reshape(-1, 3)}
        assert {tuple(pixel) for pixel in after.reshape(-1, 3)} <= colours
    np.testing.assert_array_equal(augment.rotate(NOISE, 1e-4, SEED), NOISE)


def test_jitter_changes_brightness_contrast_and_saturation_within_its_strength():
    images = np.tile(NOISE * 0.3 + 60, (8, 1, 1, 1))  # Far enough from 0 and 255
    changed = augment.jitter(images, 0.2, SEED).numpy()
    grey, new_grey = images @ LUMA, changed @ LUMA
    mean, new_mean = grey.mean(axis=(1, 2)), new_grey.mean(axis=(1, 2))
    brightness = new_mean / mean
    contrast = new_grey.std(axis=(1, 2)) / grey.std(axis=(1, 2)) / brightness
    chroma, new_chroma = images - grey[..., None], changed - new_grey[..., None]
    saturation = new_chroma.std(axis=(1, 2, 3)) / chroma.std(axis=(1, 2, 3)) / brightness / contrast
    for factor in (brightness, contrast, saturation):
        assert 0.8 - 1e-4 <= factor.min() < 0.85 and 1.15 < factor.max() <= 1.2 + 1e-4
    assert np.abs(np.corrcoef([brightness, contrast, saturation]) - np.eye(3)).max() < 0.4
    column = [f[:, None, None, None] for f in (brightness, contrast, saturation)]
    centre = mean[:, None, None, None]
    flat = centre + column[1] * (grey[..., None] + column[2] * chroma - centre)
    np.testing.assert_allclose(changed, column[0] * flat, atol=0.01)


def test_jitter_keeps_the_range_and_is_nothing_when_weak():
    strong = augment.jitter(NOISE, 5.0, SEED).numpy()
    assert strong.min() == 0 and strong.max() == 255
    np.testing.assert_allclose(augment.jitter(NOISE, 1e-6, SEED), NOISE, atol=0.01)


# What happens to images on their way


def _large(images=256):
    """A real spectrum's worth of pixels: smooth, with grain. Whole numbers [N, 32, 40, 3]."""
    rng = np.random.default_rng(5)
    smooth = rng.uniform(60, 200, (images, 4, 5, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.round(smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.float32)


def _pillow(image, function):
    return np.asarray(function(Image.fromarray(image.astype(np.uint8)))).astype(np.float32)


def test_gaussian_is_a_whole_gaussian_up_to_its_sigma():
    peaks = np.zeros((256, 31, 31, 3), np.float32)
    peaks[:, 15, 15] = 255
    columns = np.tile(peaks[:, 15:16], (1, 31, 1, 1))  # A bright column: one axis at a time
    blurred = augment.gaussian(columns, 2.0, SEED).numpy()[:, 15, :, 0]
    weight = blurred / blurred.sum(axis=1, keepdims=True)
    sigma = np.sqrt((weight * (np.arange(31) - 15) ** 2).sum(axis=1))
    assert sigma.max() < 2.1 and (sigma > 1.8).any() and (sigma < 0.3).any()
    assert np.abs(np.quantile(sigma, [0.25, 0.5, 0.75]) - [0.575, 1.05, 1.525]).max() < 0.2
    rows = augment.gaussian(columns.transpose(0, 2, 1, 3), 2.0, SEED).numpy()
    np.testing.assert_array_equal(rows[:, :, 15, 0], blurred)
    flat = np.full((4, 9, 7, 3), 77, np.float32)
    np.testing.assert_array_equal(augment.gaussian(flat, 2.0, SEED), flat)


def test_the_studys_blur_reaches_less_far_than_a_gaussian():
    grain = np.random.default_rng(5).integers(60, 200, (1, 32, 32, 3)).astype(np.float32)
    box = augment.blur(grain, 1e3, SEED).numpy()  # All that three pixels can do
    whole = _pillow(grain[0], lambda picture: picture.filter(ImageFilter.GaussianBlur(2)))
    assert whole.std() < 0.5 * box.std()


def test_resize_is_pillows_bicubic_there_and_back():
    images = _large(64)[:, :, :32]

    def there_and_back(image, side):
        small = Image.fromarray(image.astype(np.uint8)).resize((side, side), Image.BICUBIC)
        return np.asarray(small.resize((32, 32), Image.BICUBIC)).astype(np.float32)

    sides = []
    for image, found in zip(images, augment.resize(images, 0.5, SEED).numpy(), strict=True):
        away = [np.abs(there_and_back(image, side) - found).mean() for side in range(16, 33)]
        assert min(away) < 0.6  # Pillow rounds in between.
        sides.append(16 + int(np.argmin(away)))
    assert min(sides) < 18 and max(sides) > 30 and len(set(sides)) > 12
    np.testing.assert_array_equal(augment.resize(images, 1.0, SEED), images)


def test_jpeg_is_a_file_of_a_quality_from_its_strength_up():
    images = np.repeat(_large(1), 256, axis=0)
    result = augment.jpeg(images + 0.3, 40.0, SEED).numpy()
    files = {q: tf.io.encode_jpeg(images[0].astype(np.uint8), quality=q) for q in range(40, 101)}
    known = {tf.io.decode_jpeg(file).numpy().tobytes(): q for q, file in files.items()}
    drawn = np.array([known[image.astype(np.uint8).tobytes()] for image in result])
    assert drawn.min() < 44 and drawn.max() > 96
    assert np.abs(np.quantile(drawn, [0.25, 0.5, 0.75]) - [55, 70, 85]).max() < 5


@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_degrade_does_one_thing_to_some_images(probability):
    images = _large(600)
    result = augment.degrade(images, probability, SEED).numpy()
    kind = tf.random.stateless_uniform([600], SEED).numpy() * 3 / probability
    operations = [(augment.gaussian, 2.0), (augment.jpeg, 30.0), (augment.resize, 0.5)]
    chosen = [np.flatnonzero(np.floor(kind) == place) for place in range(3)]
    for place, (operation, worst) in enumerate(operations):
        key = tf.random.experimental.stateless_fold_in(SEED, place)
        # That one operation, of the image as it was: never one after another.
        expected = operation(images[chosen[place]], worst, key)
        np.testing.assert_array_equal(result[chosen[place]], expected)
        assert abs(len(chosen[place]) / 600 - probability / 3) < 0.05
    rest = np.setdiff1d(np.arange(600), np.concatenate(chosen))
    np.testing.assert_array_equal(result[rest], images[rest])
    assert abs(len(rest) / 600 - (1 - probability)) < 0.05


def test_random_crop_takes_windows_from_everywhere():
    height, width, size = 6, 7, 4
    place = np.arange(height * width, dtype=np.float32).reshape(height, width, 1)
    images = np.broadcast_to(place + np.array([0, 100, 200]), (400, height, width, 3))
    windows = augment.random_crop(images.astype(np.float32), size, SEED).numpy()
    assert windows.shape == (400, size, size, 3)
    corners = windows[:, 0, 0, 0].astype(int)
    for image, window, corner in zip(images, windows, corners, strict=True):
        top, left = divmod(corner, width)
        np.testing.assert_array_equal(window, image[top : top + size, left : left + size])
    places, counts = np.unique(corners, return_counts=True)
    assert places.tolist() == [7 * top + left for top in range(3) for left in range(4)]
    assert counts.min() > 15  # Of 33 expected


def test_a_crop_of_the_whole_image_is_the_image():
    square = NOISE[:, :, :9]
    np.testing.assert_array_equal(augment.random_crop(square, 9, SEED), square)


# Together


def test_steps_follow_each_other_with_draws_of_their_own():
    steps = [Step("flip", 0.5), Step("rotate", 20.0), Step("flip", 0.5)]
    expected = NOISE
    for position, (name, strength) in enumerate(steps):
        key = tf.random.experimental.stateless_fold_in(SEED, position)
        expected = OPS[name][0](expected, strength, key)
    np.testing.assert_array_equal(augment.augment(NOISE, steps, SEED), expected)
    twice = augment.augment(NOISE, [Step("flip", 0.5)] * 2, SEED)
    assert _turned(twice.numpy(), NOISE).any()  # Else the second undoes the first.
    assert augment.augment(NOISE, [], SEED) is NOISE


def test_the_static_shape_stays():
    steps = augment.parse(augment.AUGMENTATIONS)
    images = tf.data.Dataset.from_tensors(SQUARE).map(lambda x: augment.augment(x, steps, SEED))
    assert images.element_spec == tf.TensorSpec(SQUARE.shape, tf.float32)


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        ([], ()),
        (["flip"], (("flip", 0.5),)),
        (["rotate=15", " jitter=1e-2 "], (("rotate", 15.0), ("jitter", 0.01))),
        (["flip", "flip=1"], (("flip", 0.5), ("flip", 1.0))),
        (["none"], ()),
        (["light"], (("flip", 0.5), ("vflip", 0.5))),
        (["forensic"], (("flip", 0.5), ("turn", 0.75), ("degrade", 0.5))),
        (
            ["rotate", " light", "blur"],
            (("rotate", 10.0), ("flip", 0.5), ("vflip", 0.5), ("blur", 2.0)),
        ),
    ],
)
def test_parse(spec, steps):
    assert augment.parse(spec) == steps


@pytest.mark.parametrize("spec", ["", "flop", "Flip", "=3", "flip:1"])
def test_an_unknown_augmentation_is_named_with_those_there_are(spec):
    name = spec.partition("=")[0]
    with pytest.raises(ValueError, match=f"no augmentation '{name}'; .*rotate.* presets none, lig"):
        augment.parse(["flip", spec])


@pytest.mark.parametrize("strength", ["0", "-1", "x", "nan", "inf", "1=2"])
def test_a_strength_must_be_a_positive_number(strength):
    with pytest.raises(ValueError, match=f"'rotate={strength}': the strength must be a positive"):
        augment.parse([f"rotate={strength}"])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("jpeg=0.5", "the strength is the lowest quality, from 1 to 100"),
        ("jpeg=101", "the lowest quality"),
        ("degrade=1.5", "a probability, from 0 to 1"),
        ("turn=2", "a probability"),
        ("resize=1.28", "the smallest factor"),
        ("forensic=2", "a preset takes no strength"),
    ],
)
def test_a_strength_out_of_its_bounds_is_named(item, message):
    with pytest.raises(ValueError, match=f"'{item}': .*{message}"):
        augment.parse(["flip", item])
    augment.parse(["jpeg=100", "degrade=1", "resize=1", "turn=1", "vflip=1", "jpeg=1"])


def test_presets_grow_in_strength():
    presets = {name: dict(augment.parse([name])) for name in augment.PRESETS}
    assert list(presets) == ["none", "light", "forensic", "strong"]
    assert presets["forensic"].keys() < presets["strong"].keys()
    assert presets["forensic"]["degrade"] < presets["strong"]["degrade"]
    assert augment.expand(["forensic", "blur=1"])[-1] == "blur=1"
