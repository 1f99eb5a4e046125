"""What dfk is measured against computes the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dfk import models
from dfk.benchmarks import machine, stock
from tests.networks import network
from tests.pictures import noise

IMAGES = np.stack([noise(32, 32, seed) for seed in range(4)])


def native(name, **options):
    make = models.BUILDERS[name]
    options = {"filters": (32, 64, 128), **options} if name == "deepfakenet" else options
    return network(None, make=make, **options)


@pytest.mark.parametrize("name", ["deepfakenet", "vgg16"])
def test_the_stock_networks_answer_and_learn_as_dfks(name, monkeypatch):
    monkeypatch.setattr(stock, "CLASSES", 3)
    ours = models.network_of(native(name))
    theirs = getattr(stock, name)("float32")
    theirs.set_weights(ours.get_weights())
    labels = tf.one_hot([0, 1, 2, 0], 3)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    logits, gradients = [], []
    for model in (ours, theirs):
        with tf.GradientTape() as tape:
            logits.append(model(IMAGES.astype(np.float32), training=False))
            value = loss(labels, logits[-1])
        gradients.append(tape.gradient(value, model.trainable_variables))
    np.testing.assert_allclose(*logits, atol=1e-3)
    for own, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-3 * float(tf.reduce_max(tf.abs(own))))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deepfakenet", {}),
        ("vgg16", {}),
        ("residual", {}),
        ("residual", {"filters": (8, 16), "high_pass": True}),
    ],
)
def test_the_torch_networks_have_the_same_weights(name, options, monkeypatch):
    torch = pytest.importorskip("torch", reason="comes with the extra bench")
    from dfk.benchmarks import torch_networks

    monkeypatch.setattr(torch_networks, "CLASSES", 3)
    ours = models.network_of(native(name, **options))
    theirs = getattr(torch_networks, name)(**options)
    assert theirs(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert count == sum(np.prod(variable.shape) for variable in ours.trainable_variables)


def test_flops_are_counted_by_hand():
    # 3x3 convolutions of 32x32, 16x16 and 8x8 pixels, and the dense layer of 5 classes
    pairs = [(1024, 3, 32), (1024, 32, 32), (256, 32, 64), (256, 64, 64), (64, 64, 128)]
    products = [9 * pixels * a * b for pixels, a, b in [*pairs, (64, 128, 128)]] + [128 * 5]
    model = models.network_of(models.DeepFakeNet(input_shape=(None, None, 3)))
    assert machine.inference_flops(model, 32) == 2 * sum(products)
    # Backward costs as much again for the weights and for the inputs; images need no gradient.
    assert machine.training_flops("deepfakenet", 32) == 6 * sum(products) - 2 * products[0]
