"""Optimizers: which weights decay, and how their average begins."""

import keras
import numpy as np
import pytest

from dfk import models
from dfk.training import optimizers
from tests.experiments import short


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weight_decay_spares_what_normalises(data_dir, tmp_path, monkeypatch, optimizer):
    settings = short(data_dir, tmp_path, f"--optimizer={optimizer}", "--weight_decay=0.1")
    optimizer = optimizers.make(settings, 0.1)
    network = models.network_of(models.ResidualNet(classes=3, filters=(4, 8), seed=0))
    optimizer.build(network.trainable_variables)
    before = {v.path: np.array(v) for v in network.trainable_variables}
    optimizer.apply([0 * v for v in network.trainable_variables])
    changed = {v.path for v in network.trainable_variables if not np.array_equal(v, before[v.path])}
    kernels = {path for path in before if path.endswith("kernel")}
    assert changed == kernels


@pytest.mark.parametrize(("momentum", "steps"), [(0.998, 132), (0.8, 60)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_average_of_few_steps_is_not_of_its_start(optimizer, momentum, steps, tmp_path):
    """The weight is 1 at first, and 0 from the second step on: what is left of 1 is the start's."""
    settings = short("x", tmp_path, f"--optimizer={optimizer}", f"--ema={momentum}")
    made = optimizers.make(settings, 0.0)
    weight = keras.Variable([1.0])
    made.build([weight])
    shares = []
    for _ in range(steps):
        made.apply([keras.ops.zeros(1)])
        shares.append(float(made._model_variables_moving_average[0][0]))
        weight.assign([0.0])
    before = np.arange(1, steps)
    expected = np.cumprod(np.minimum(momentum, before / (before + 9)))
    np.testing.assert_allclose(shares, [1, *expected], rtol=1e-4, atol=1e-12)
    assert shares[20] < 1e-4 and made.get_config()["ema_momentum"] == momentum
