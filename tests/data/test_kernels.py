"""Kernels, each beside its plain twin in TensorFlow's operations."""

import numpy as np
import pytest
import tensorflow as tf

from dfk.data import augment, kernels
from dfk.data.augment import Step

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3)).astype(np.float32)


def draws(*shape, low=0.0, high=1.0):
    return np.random.default_rng(1).uniform(low, high, (6, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        (kernels.mirror, (draws() < 0.5, 1)),
        (kernels.mirror, (draws() < 0.5, 2)),
        (kernels.turn, (np.arange(6) % 4,)),
        (kernels.rotate, (draws(low=-0.2, high=0.2),)),
        (kernels.recolour, (draws(3, 3), draws(3, low=-20, high=20))),
        (kernels.blend, (draws(), np.arange(6)[::-1].copy())),
    ],
)
def test_what_xla_makes_of_a_kernel_is_what_tensorflow_does(kernel, arguments):
    compiled = kernel(IMAGES, *arguments).numpy()
    plain = kernel.python_function(tf.constant(IMAGES), *arguments).numpy()
    np.testing.assert_allclose(compiled, plain, atol=1e-4)
    assert np.abs(compiled - IMAGES).max() > 1


def test_rotate_is_tensorflows_projective_transform():
    angles = draws(low=-1, high=1)
    cos, sin, zero, middle = np.cos(angles), np.sin(angles), np.zeros(6), 19 / 2
    transforms = np.stack(
        [
            *(cos, -sin, middle - middle * cos + middle * sin),
            *(sin, cos, middle - middle * sin - middle * cos),
            *(zero, zero),
        ],
        axis=1,
    )
    expected = tf.raw_ops.ImageProjectiveTransformV3(
        images=IMAGES,
        transforms=transforms.astype(np.float32),
        output_shape=[20, 20],
        interpolation="NEAREST",
        fill_mode="REFLECT",
        fill_value=0.0,
    )
    rotated = kernels.rotate(IMAGES, angles).numpy()
    # Where a place lies half-way between two pixels, rounding may take either.
    assert np.mean(np.any(rotated != expected.numpy(), axis=-1)) < 0.01


@pytest.mark.parametrize("weight", [0.0, 0.2, 1 / 3])
def test_blur_is_a_convolution_with_reflected_edges(weight):
    kernel = np.outer(*[[weight, 1 - 2 * weight, weight]] * 2)
    padded = np.pad(IMAGES, [(0, 0), (1, 1), (1, 1), (0, 0)], "reflect")
    expected = sum(
        kernel[y, x] * padded[:, y : y + 20, x : x + 20] for y in range(3) for x in range(3)
    )
    np.testing.assert_allclose(
        kernels.blur(IMAGES, np.full(6, weight, np.float32)), expected, atol=1e-3
    )


@pytest.mark.parametrize("name", augment.MOVES)
def test_what_only_moves_pixels_does_the_same_to_integers(name):
    step, seed = [Step(name, augment.AUGMENTATIONS[name][1])], tf.constant([3, 4], tf.int64)
    moved = augment.augment(tf.constant(IMAGES, tf.uint8), step, seed)
    assert moved.dtype == tf.uint8
    np.testing.assert_array_equal(moved, augment.augment(tf.constant(IMAGES), step, seed))


def test_a_step_that_changes_values_is_given_floats():
    steps = [Step("flip", 0.5), Step("jitter", 0.1), Step("vflip", 0.5)]
    seed = tf.constant([3, 4], tf.int64)
    images = augment.augment(tf.constant(IMAGES, tf.uint8), steps, seed)
    assert images.dtype == tf.float32
    np.testing.assert_array_equal(images, augment.augment(tf.constant(IMAGES), steps, seed))
