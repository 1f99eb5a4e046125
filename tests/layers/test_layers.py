"""The layers agree with Keras' own, survive saving, and repeat what they drew."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk import layers

RNG = np.random.default_rng(0)


def _train_step(layer: keras.layers.Layer, x: np.ndarray):
    """One training call: outputs, gradients of a fixed function of them, moving statistics."""
    layer.build(x.shape)
    for variable in layer.trainable_variables:  # Away from ones and zeros
        variable.assign(np.random.default_rng(1).normal(1.0, 0.3, variable.shape))
    inputs = tf.Variable(x)
    target = np.random.default_rng(2).normal(size=x.shape).astype("float32")
    with tf.GradientTape() as tape:
        outputs = layer(inputs, training=True)
        loss = tf.reduce_mean((outputs - target) ** 2)
    gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
    return [outputs, *gradients, *layer.non_trainable_variables]


@pytest.mark.parametrize("kwargs", [{}, {"scale": False}, {"center": False}, {"epsilon": 1e-2}])
def test_batch_normalization_trains_like_keras(kwargs):
    x = RNG.normal(3.0, 2.0, (4, 5, 6, 7)).astype("float32")
    ours = _train_step(layers.BatchNormalization(momentum=0.9, **kwargs), x)
    keras_own = _train_step(keras.layers.BatchNormalization(momentum=0.9, **kwargs), x)
    for a, b in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_batch_normalization_infers_like_keras_with_its_weights():
    x = RNG.normal(3.0, 2.0, (4, 5, 6, 7)).astype("float32")
    ours, keras_own = layers.BatchNormalization(), keras.layers.BatchNormalization()
    ours.build(x.shape)
    keras_own.build(x.shape)
    keras_own.set_weights([RNG.uniform(0.5, 2.0, 7) for _ in range(4)])
    assert [v.name for v in ours.variables] == [v.name for v in keras_own.variables]
    ours.set_weights(keras_own.get_weights())
    np.testing.assert_allclose(ours(x), keras_own(x), rtol=1e-5, atol=1e-5)


def test_frozen_batch_normalization_moves_no_statistics():
    x = RNG.normal(3.0, 2.0, (4, 5, 6, 7)).astype("float32")
    layer = layers.BatchNormalization()
    layer.trainable = False
    np.testing.assert_allclose(layer(x, training=True), layer(x, training=False))
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(7))


def test_batch_normalization_computes_in_bfloat16_and_keeps_statistics_in_float32():
    x = RNG.normal(3.0, 2.0, (8, 16, 16, 4)).astype("float32")
    layer = layers.BatchNormalization(dtype="mixed_bfloat16")
    outputs = layer(tf.cast(x, tf.bfloat16), training=True)
    assert outputs.dtype == tf.bfloat16
    assert layer.moving_mean.dtype == "float32"
    expected = keras.layers.BatchNormalization(momentum=0.9)(x, training=True)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), expected, atol=0.05)


@pytest.mark.parametrize(
    ("kwargs", "shape"),
    [({"axis": 1}, (4, 3, 6, 6)), ({"renorm": True}, (4, 6, 6, 3)), ({}, (4, 3)), ({}, (4, 6, 3))],
)
def test_batch_normalization_falls_back_to_keras(kwargs, shape):
    x = RNG.normal(size=shape).astype("float32")
    ours = _train_step(layers.BatchNormalization(**kwargs), x)
    keras_own = _train_step(keras.layers.BatchNormalization(momentum=0.9, **kwargs), x)
    for a, b in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_batch_normalization_heeds_a_mask():
    x = RNG.normal(size=(4, 6, 6, 3)).astype("float32")
    mask = RNG.random((4, 6, 6)) < 0.5
    ours = layers.BatchNormalization()(x, training=True, mask=mask)
    keras_own = keras.layers.BatchNormalization(momentum=0.9)(x, training=True, mask=mask)
    np.testing.assert_allclose(ours, keras_own, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rate", [0.25, 0.3, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_dropout_has_the_rate_and_the_scale(rate, dtype):
    x = tf.ones((50, 40, 40, 5), "bfloat16" if dtype != "float32" else "float32")
    outputs = layers.Dropout(rate, seed=1, dtype=dtype)(x, training=True)
    assert outputs.dtype == x.dtype
    outputs = tf.cast(outputs, tf.float32).numpy()
    n = outputs.size
    assert abs((outputs == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / n)
    kept = np.unique(outputs[outputs != 0])
    np.testing.assert_allclose(kept, 1 / (1 - rate), rtol=1e-6 if dtype == "float32" else 4e-3)


def test_dropout_masks_are_independent():
    """Between neighbours, images, channels and steps no correlation beyond chance."""
    layer = layers.Dropout(0.5, seed=1)
    first, second = (layer(tf.ones((64, 32, 32, 4)), training=True).numpy() for _ in range(2))
    pairs = [
        (first, second),
        (first[:-1], first[1:]),
        (first[:, :-1], first[:, 1:]),
        (first[:, :, :-1], first[:, :, 1:]),
        (first[..., :-1], first[..., 1:]),
    ]
    for a, b in pairs:
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(a.size)


def test_dropout_passes_the_gradient_of_what_it_kept():
    layer = layers.Dropout(0.3, seed=1)
    x = tf.Variable(tf.ones((3, 5, 5, 1)))  # An odd number of elements
    with tf.GradientTape() as tape:
        outputs = layer(x, training=True)
    np.testing.assert_allclose(tape.gradient(outputs, x), outputs)


def test_dropout_does_nothing_at_inference():
    x = RNG.normal(size=(2, 3, 3, 1)).astype("float32")
    np.testing.assert_array_equal(layers.Dropout(0.5)(x), x)


def test_dropout_draws_again_what_its_restored_state_drew():
    layer = layers.Dropout(0.5, seed=7)
    x = tf.ones((4, 8, 8, 2))
    layer(x, training=True)
    state = [variable.numpy() for variable in layer.variables]
    expected = layer(x, training=True)
    other = layers.Dropout(0.5, seed=8)
    for variable, value in zip(other.variables, state, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(other(x, training=True), expected)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_resizing_is_bilinear_and_the_same_in_a_tf_data_pipeline(dtype):
    images = RNG.integers(0, 256, (2, 9, 13, 3)).astype(dtype)
    layer = layers.Resizing(16, 16)
    expected = tf.image.resize(images, (16, 16), "bilinear")
    np.testing.assert_array_equal(layer(images), expected)
    dataset = tf.data.Dataset.from_tensors(images).map(layer)
    np.testing.assert_array_equal(next(iter(dataset)), expected)


def test_resizing_leaves_images_of_its_size_as_they_are():
    images = RNG.uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(layers.Resizing(16, 16)(images), images)


def test_resizing_does_not_switch_a_model_to_training():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Dropout(0.9)(layers.Resizing(4, 4)(inputs)))
    images = np.ones((2, 4, 4, 3), "float32")
    np.testing.assert_array_equal(model(images), images)


def test_calibrated_softmax_divides_by_its_temperature():
    logits = RNG.normal(size=(6, 3)).astype("float32")
    outputs = layers.CalibratedSoftmax("abc", temperature=2.5)(logits)
    expected = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    assert layers.CalibratedSoftmax("abc")(tf.cast(logits, tf.bfloat16)).dtype == tf.float32


def test_calibrated_softmax_refuses_a_temperature_of_zero():
    with pytest.raises(ValueError, match="positive"):
        layers.CalibratedSoftmax("ab", temperature=0.0)


def test_layers_keep_their_config_when_a_model_is_saved(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(momentum=0.8)(inputs)
    x = layers.Dropout(0.2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = layers.CalibratedSoftmax("xyz", temperature=1.7, thresholds={"unknown": 0.4})(x)
    model = keras.Model(inputs, x)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    head = loaded.layers[-1]
    assert type(loaded.layers[1]) is layers.BatchNormalization
    assert loaded.layers[1].momentum == 0.8
    assert (head.class_names, head.temperature) == (("x", "y", "z"), 1.7)
    assert head.thresholds == {"unknown": 0.4}
    images = RNG.normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(images), model(images))
