"""Class weights and balanced sampling, in what the pipeline yields and what Keras makes of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk.data import mixing
from dfk.data.catalog import Split
from dfk.data.pipeline import make_dataset

COUNTS = (35, 10, 5)


@pytest.fixture(scope="module")
def split():
    """50 images of three classes, far from balanced; image i has the value i everywhere."""
    n = sum(COUNTS)
    return Split(
        ids=[str(i) for i in range(n)],
        paths=[None] * n,
        labels=np.repeat(np.arange(3), COUNTS).astype(np.int32),
        origins=[""] * n,
        images=[np.full((8, 8, 3), i, np.uint8) for i in range(n)],
    )


def _train(split, **kwargs):
    return make_dataset(split=split, classes=3, batch_size=10, training=True, **kwargs)


def _drawn(dataset):
    """The indices of the images drawn, [steps, batch]."""
    return np.stack([images[:, 0, 0, 0].numpy().astype(int) for images, *_ in dataset])


def test_hard_labels_weigh_as_keras_class_weight_does(split):
    weights = {0: 1.0, 1: 2.5, 2: 4.0}
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    start = [0.01 * w for w in network.get_weights()]

    def trained(dataset, **kwargs):
        network.set_weights(start)
        network.compile(keras.optimizers.SGD(1e-6), loss)
        history = network.fit(dataset, shuffle=False, verbose=0, **kwargs)
        return history.history["loss"][0], network.get_weights()

    ours, our_weights = trained(_train(split, class_weight=list(weights.values())))
    keras_own, keras_weights = trained(_train(split), class_weight=weights)
    assert ours == pytest.approx(keras_own, rel=1e-6)
    for a, b in zip(our_weights, keras_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)


def test_a_mixed_image_weighs_the_sum_of_its_shares(split):
    mixer = mixing.make_mixer(1.0, 1.0, 0.5)
    for _, labels, weights in _train(split, mixer=mixer, class_weight=[1.0, 2.5, 4.0]):
        np.testing.assert_allclose(weights, labels.numpy() @ [1.0, 2.5, 4.0], rtol=1e-6)


def test_balanced_sampling_draws_classes_equally_often(split):
    dataset = _train(split, balanced=True, epochs=40)
    assert dataset.cardinality() == 40 * 5
    labels = split.labels[_drawn(dataset)].ravel()
    np.testing.assert_allclose(np.bincount(labels) / len(labels), 1 / 3, atol=0.04)


def test_balanced_sampling_uses_every_image_of_a_class_before_any_again(split):
    drawn = _drawn(_train(split, balanced=True)).ravel()
    for label in range(3):
        members = drawn[split.labels[drawn] == label]
        rounds = np.array_split(members, range(COUNTS[label], len(members), COUNTS[label]))
        assert all(len(set(r)) == len(r) for r in rounds)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_later_start_draws_what_an_uninterrupted_run_does(split, balanced):
    whole = _drawn(_train(split, balanced=balanced, epochs=3))
    rest = _drawn(_train(split, balanced=balanced, epochs=3, first_epoch=1))
    np.testing.assert_array_equal(whole[5:], rest)
    assert not np.array_equal(whole[:5], whole[5:10])


def test_the_number_of_threads_changes_nothing(split):
    mixer = mixing.make_mixer(1.0, 1.0, 0.5)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    dataset = _train(split, mixer=mixer, balanced=True, epochs=2)
    for a, b in zip(dataset, dataset.with_options(options), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
