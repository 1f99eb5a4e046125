"""The gate of an ensemble: it looks at statistics, and weighs and scales by them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk import layers

DRAW = np.random.default_rng(0)
MEMBERS = list(DRAW.dirichlet(np.ones(4), (3, 7)).astype("float32"))
STATISTICS = DRAW.normal(5, 2, (7, 6)).astype("float32")


def _gate(members: int = 3) -> layers.GatedAverage:
    """One that looks at 6 statistics, by weights as if learned."""
    layer = layers.GatedAverage()
    layer.build([(None, 4)] * members + [(None, 6)])
    draw = np.random.default_rng(1)
    for weights in layer.trainable_weights:
        weights.assign(draw.normal(0, 1, weights.shape))
    layer.adapt(STATISTICS[::2], STATISTICS[1::2])
    return layer


def test_as_built_it_is_the_mean_of_the_logarithms():
    expected = np.log(MEMBERS).mean(axis=0)
    np.testing.assert_allclose(layers.GatedAverage()([*MEMBERS, STATISTICS]), expected, rtol=1e-5)


def test_weights_and_scale_are_of_the_statistics_alone():
    layer = _gate()
    weights = np.array(layer.weights_for([*MEMBERS, STATISTICS]))
    others = [x[::-1] for x in MEMBERS]
    np.testing.assert_array_equal(layer.weights_for([*others, STATISTICS]), weights)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert weights.std(axis=0).min() > 0.001
    blend = np.einsum("nm,mnc->nc", weights, np.log(MEMBERS))
    scale = np.array(layer([*MEMBERS, STATISTICS])) / blend
    np.testing.assert_allclose(scale, scale[:, :1].repeat(4, axis=1), rtol=1e-4)
    assert scale.min() > 0 and np.ptp(scale[:, 0]) > 0.001


def test_it_tells_degraded_images_from_clean_ones_and_weighs_between_the_two():
    layer, far = _gate(), STATISTICS + np.eye(6)[0] * 20
    layer.adapt(STATISTICS.repeat(50, 0), far.repeat(100, 0))
    clean, degraded = (np.array(layer.degradedness(x))[:, 0] for x in (STATISTICS, far))
    assert clean.max() < 0.2 and degraded.min() > 0.8
    halfway = float(layer.degradedness((STATISTICS + far).mean(axis=0)[None] / 2)[0, 0])
    assert 0.3 < halfway < 0.7  # Though there are twice as many degraded ones
    weights = np.array(layer.weights_for([*MEMBERS, far]))
    between = np.array(layer.log_weights)
    between = (1 - degraded)[:, None] * between[0] + degraded[:, None] * between[1]
    expected = np.exp(between) / np.exp(between).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
    sides = np.exp(np.array(layer.log_weights[0]))
    np.testing.assert_allclose(layer.member_weights, sides / sides.sum(), rtol=1e-5)


def test_what_is_the_same_in_all_images_divides_by_no_zero_and_what_is_far_is_bounded():
    layer = _gate()
    same = np.ones_like(STATISTICS)
    layer.adapt(same, same)
    edge, beyond = (np.array(layer([*MEMBERS, same + far])) for far in (1.0, 1e9))
    assert np.isfinite(beyond).all()
    np.testing.assert_array_equal(beyond, edge)


def test_a_probability_of_zero_gives_a_finite_gradient():
    layer, sure = _gate(2), tf.one_hot([0] * 7, 4)
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(layer([sure, MEMBERS[0], STATISTICS])[:, 1])
    for gradient in tape.gradient(score, layer.trainable_variables):
        assert np.isfinite(gradient).all()


def test_what_tells_degraded_images_is_not_trained_with_the_weights():
    names = {x.name for x in _gate().trainable_variables}
    assert names == {"log_weights", "log_scales"}


def test_it_is_saved_with_what_it_was_made_with(tmp_path):
    inputs = [*[keras.Input((4,)) for _ in range(3)], keras.Input((6,))]
    made = layers.GatedAverage(name="gate")
    model = keras.Model(inputs, made(inputs))
    made.set_weights(_gate().get_weights())
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    (layer,) = (x for x in loaded.layers if isinstance(x, layers.GatedAverage))
    assert layer.get_config() == made.get_config()
    data = [*MEMBERS, STATISTICS]
    np.testing.assert_allclose(loaded(data), model(data), rtol=1e-6)


def test_it_stays_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = layers.GatedAverage()
    finally:
        keras.config.set_dtype_policy("float32")
    assert layer([tf.cast(x, tf.bfloat16) for x in [*MEMBERS, STATISTICS]]).dtype == tf.float32


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 4)],
        [(2, 4), (2, 3), (2, 6)],
        [(2, 4), (2, 4), (6,)],
        [(2, 4), (2, 4, 1), (2, 6)],
    ],
)
def test_what_is_none_of_its_kind_is_refused(shapes):
    with pytest.raises(ValueError, match="got the shapes"):
        layers.GatedAverage()([np.ones(shape, "float32") for shape in shapes])


def test_other_members_or_statistics_than_before_are_refused():
    layer = _gate()
    with pytest.raises(ValueError, match="list of 3 tensors"):
        layer([*MEMBERS[:2], STATISTICS])
    with pytest.raises(ValueError, match="takes 6 statistics"):
        layer([*MEMBERS, STATISTICS[:, :5]])
