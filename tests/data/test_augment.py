"""Each augmentation does what it says, for each image by itself, and repeats with its seed."""

import math

import numpy as np
import pytest
import tensorflow as tf

from dfk.data import augment
from dfk.data.augment import Step

SEED = tf.constant([3, 7], tf.int64)
OTHER = tf.constant([3, 8], tf.int64)
OPS = {**augment.AUGMENTATIONS, "crop": (augment.random_crop, 5)}
# All but what is `degrade` again.
OPS = {name: op for name, op in OPS.items() if not name.startswith("degrade_without_")}
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
    expected = {augment.flip: 2, augment.vflip: 2, augment.turn: 4}
    assert kinds == expected[op] if op in expected else kinds > 8


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


def test_a_pair_is_moved_alike_and_degraded_in_one_view():
    steps = augment.parse(["flip", "degrade=1", "turn", "noise=5"])
    views = augment.pairs(SQUARE, steps, SEED).numpy()
    np.testing.assert_array_equal(views[..., :3], augment.augment(SQUARE, steps, SEED))
    moved = SQUARE
    for position in (0, 2):
        key = tf.random.experimental.stateless_fold_in(SEED, position)
        moved = OPS[steps[position].name][0](moved, steps[position].strength, key)
    np.testing.assert_array_equal(views[..., 3:], moved)
    assert augment.degrades(steps) and not augment.degrades([steps[0], steps[2]])


def test_the_static_shape_stays():
    steps = augment.parse([name for name in OPS if name != "crop"])
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
        ("degrade_without_jpeg=2", "a probability"),
        ("tone=1", "the largest change of a factor, from 0 to 0.95"),
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
