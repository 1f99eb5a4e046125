"""The layers that an ensemble is made of."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk import layers

HALF_SURE = np.float32([[0.5, 0.5, 0.0, 0.0]])  # Entropy log 2 of log 4: certainty 0.5
SURE = np.float32([[1.0, 0.0, 0.0, 0.0]])  # Certainty 1
UNIFORM = np.full((1, 4), 0.25, "float32")  # Certainty 0


def _average(*log_weights: float) -> layers.ConfidenceWeightedAverage:
    layer = layers.ConfidenceWeightedAverage()
    layer.build([(None, 4)] * len(log_weights))
    layer.log_weights.assign(log_weights)
    return layer


def test_members_weigh_by_their_certainty():
    layer = _average(0.0, 0.0)
    np.testing.assert_allclose(layer.weights_for([HALF_SURE, SURE]), [[1 / 3, 2 / 3]], rtol=1e-6)
    np.testing.assert_allclose(layer([HALF_SURE, SURE]), [[5 / 6, 1 / 6, 0, 0]], rtol=1e-6)


def test_members_weigh_by_what_was_learned():
    layer = _average(np.log(3.0), 0.0)
    np.testing.assert_allclose(layer.member_weights, [0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(layer.weights_for([HALF_SURE, SURE]), [[0.6, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(layer([HALF_SURE, SURE]), [[0.7, 0.3, 0, 0]], rtol=1e-6)


def test_each_image_has_weights_of_its_own():
    first, second = np.vstack([HALF_SURE, SURE]), np.vstack([SURE, SURE])
    weights = _average(0.0, 0.0).weights_for([first, second])
    np.testing.assert_allclose(weights, [[1 / 3, 2 / 3], [0.5, 0.5]], rtol=1e-6)


def test_the_order_of_the_members_does_not_matter():
    members = list(np.random.default_rng(0).dirichlet(np.ones(4), (3, 7)).astype("float32"))
    layer, turned = _average(0.1, 0.5, -1.0), _average(-1.0, 0.1, 0.5)
    weights = np.array(layer.weights_for(members))
    members_turned = [members[2], members[0], members[1]]
    np.testing.assert_allclose(turned.weights_for(members_turned), weights[:, [2, 0, 1]], rtol=1e-5)
    np.testing.assert_allclose(turned(members_turned), layer(members), rtol=1e-5)


def test_a_uniform_member_has_next_to_no_say():
    weights = np.array(_average(0.0, 0.0).weights_for([UNIFORM, SURE]))
    assert weights[0, 0] < 1e-5
    np.testing.assert_allclose(_average(0.0, 0.0)([UNIFORM, SURE]), SURE, atol=1e-5)


@pytest.mark.parametrize("log_weights", [(0.0, 1.0), (0.0, 1.0, -1.0)])
def test_where_all_are_uniform_the_learned_weights_decide(log_weights):
    layer = _average(*log_weights)
    members = [UNIFORM] * len(log_weights)
    np.testing.assert_allclose(layer.weights_for(members), [layer.member_weights], rtol=1e-5)
    np.testing.assert_allclose(layer(members), UNIFORM, rtol=1e-5)


@pytest.mark.parametrize("members", [[SURE, SURE], [UNIFORM, UNIFORM], [SURE, UNIFORM, HALF_SURE]])
def test_probabilities_of_zero_and_uniform_ones_have_finite_gradients(members):
    layer, members = _average(*[0.0] * len(members)), [tf.Variable(m) for m in members]
    with tf.GradientTape() as tape:
        score = layer(members)[0, 0]
    for gradient in tape.gradient(score, [*members, layer.log_weights.value]):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("layer", [layers.ConfidenceWeightedAverage, layers.Scale])
def test_they_stay_in_float32(layer):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = layer()
    finally:
        keras.config.set_dtype_policy("float32")
    inputs = tf.cast(SURE, tf.bfloat16)
    outputs = layer(inputs) if isinstance(layer, layers.Scale) else layer([inputs, inputs])
    assert outputs.dtype == tf.float32


def test_scale_multiplies_by_a_positive_number():
    layer = layers.Scale()
    np.testing.assert_array_equal(layer(SURE), SURE)
    layer.log_scale.assign(np.log(2.5))
    np.testing.assert_allclose(layer(SURE), 2.5 * SURE, rtol=1e-6)


def _frozen(tmp_path) -> layers.Frozen:
    """A frozen model, saved and loaded, inside a model whose head is trained."""
    inputs = keras.Input((8,))
    x = layers.BatchNormalization()(keras.layers.Dropout(0.9)(inputs))
    inner = keras.Model(inputs, keras.layers.Dropout(0.9)(x), name="inner")
    frozen = layers.Frozen.from_config(
        {**keras.Model(inputs, inner(inputs)).get_config(), "name": "f"}
    )
    outputs = keras.layers.Dense(3)(frozen(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    return keras.models.load_model(tmp_path / "m.keras")


def test_a_frozen_model_infers_whatever_training_says(tmp_path):
    model, x = _frozen(tmp_path), np.random.default_rng(0).normal(3, 2, (16, 8)).astype("float32")
    frozen = model.get_layer("f")
    assert type(frozen) is layers.Frozen
    before = frozen.get_weights()
    np.testing.assert_array_equal(frozen(x, training=True), frozen(x))
    np.testing.assert_array_equal(model(x, training=True), model(x))
    assert all(map(np.array_equal, before, frozen.get_weights()))


def test_a_frozen_model_has_nothing_to_train(tmp_path):
    model = _frozen(tmp_path)
    assert model.get_layer("f").trainable_variables == []
    assert model.trainable_variables == model.layers[-1].variables != []
