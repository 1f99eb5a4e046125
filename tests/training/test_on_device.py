"""Training with the images on the device, on JAX: in a process of its own, on two CPU devices."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from dfk import models, runs, training
from dfk.data import resident
from dfk.errors import UsageError
from dfk.system import backend
from dfk.training import callbacks, jax_devices, on_device, phases
from dfk.training.callbacks import DivergenceError
from tests.experiments import history, interrupt, short

ROOT = Path(__file__).parents[2]
on_jax = pytest.mark.skipif(not backend.on_jax(), reason="the test below runs it on JAX")
slow = pytest.mark.slow
NETWORK = ("--model=residual", "--filters=4,8", "--batch_size=8", "--image_size=0")
DRAWN = ("--augment=flip", "--train_crop=12", "--cutmix_alpha=1", "--ema=0.9")


@pytest.mark.skipif(backend.on_jax(), reason="it has started this")
@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=slow)])
def test_these_pass_on_jax(which):
    pytest.importorskip("jax")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-m", which, __file__]
    done = subprocess.run(
        command, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.skipif(backend.on_jax(), reason="of TensorFlow")
def test_tensorflow_cannot_and_says_what_can(data_dir, tmp_path):
    settings = short(data_dir, tmp_path, "--images_on=device")
    with pytest.raises(UsageError, match=r"--images_on=device: it needs JAX"):
        training.check([settings])
    assert on_device.place(settings.with_(images_on="auto"), training.load_data(settings)) == "host"


def _fit(settings, devices=1):
    """Trains as a run does, on one device or on all; returns the network."""
    distribution = keras.distribution.distribution()
    if devices > 1:
        jax_devices.use_all()
    try:
        data = training.load_data(settings)
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(settings.run.seed)
        model = models.build(settings, data.class_names, precision=settings.fit.precision)
        phases.fit_phases(settings, data, model)
        return model
    finally:
        keras.distribution.set_distribution(distribution)


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A training on the device in blocks of 3, 3 and 3 steps, and its network."""
    folder = tmp_path_factory.mktemp("runs")
    settings = short(data_dir, folder, *NETWORK, *DRAWN, "--epochs=3", "--images_on=device")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resident, "AT_ONCE", 3)
        return settings, _fit(settings)


@on_jax
def test_it_learns_what_it_learns_from_the_hosts_batches(trained, tmp_path):
    settings, model = trained
    host = settings.with_(images_on="host", output_dir=str(tmp_path))
    other = _fit(host)
    columns = ("loss", "accuracy", "holdout_loss")
    rows, others = (
        [[row[name] for name in columns] for row in history(x.run_dir)] for x in (settings, host)
    )
    np.testing.assert_allclose(rows, others, rtol=2e-3)
    for own, its in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(own, its, rtol=0.02, atol=5e-3)


@slow
@on_jax
def test_what_was_interrupted_goes_on_bit_for_bit(trained, tmp_path, monkeypatch):
    settings, model = trained
    monkeypatch.setattr(resident, "AT_ONCE", 3)
    again = settings.with_(output_dir=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Progress, "on_epoch_begin", interrupt(2))
        with pytest.raises(KeyboardInterrupt):
            _fit(again)
    resumed = _fit(again)
    assert history(again.run_dir) == history(settings.run_dir)
    for own, its in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(own, its)


@slow
@on_jax
def test_two_devices_share_each_batch(trained, tmp_path, monkeypatch):
    settings, _ = trained
    shared = settings.with_(output_dir=str(tmp_path))
    seen = []

    def look(self, batch, logs=None):
        seen.append(len(self.model._jax_state["trainable_variables"][0].devices()))

    monkeypatch.setattr(callbacks.Progress, "on_train_batch_end", look)
    _fit(shared, devices=2)
    assert set(seen) == {2} and len(seen) == 3
    losses = [[row["loss"] for row in history(x.run_dir)] for x in (settings, shared)]
    np.testing.assert_allclose(*losses, rtol=1e-2)


@on_jax
def test_each_device_makes_its_share_of_a_batch(data_dir, tmp_path):
    import jax

    settings = short(data_dir, tmp_path, *NETWORK, *DRAWN, "--images_on=device")
    distribution = keras.distribution.distribution()
    jax_devices.use_all()
    try:
        layout = jax.jit(on_device._divided)(np.zeros((8, 12, 12, 3), np.float32)).sharding
        data = training.load_data(settings)
        held = on_device._hold(data.splits["train"], on_device._recipe(settings, data))
    finally:
        keras.distribution.set_distribution(distribution)
    assert {shard.data.shape for shard in held.images.addressable_shards} == {(71, 16, 16, 3)}
    assert held.images.dtype == np.uint8 and len(held.images.addressable_shards) == 2
    assert layout.shard_shape((8, 12, 12, 3)) == (4, 12, 12, 3)


@slow
@on_jax
@pytest.mark.parametrize("lag", [0, 1, 16])
def test_nan_ends_the_training_within_its_epoch(data_dir, tmp_path, lag, monkeypatch):
    monkeypatch.setattr(phases.Pace, "of", lambda *args, ahead: phases.Pace(*args, lag))
    flags = (*NETWORK, "--epochs=3", "--learning_rate=1e38", "--images_on=device")
    settings = short(data_dir, tmp_path, *flags)
    with pytest.raises(DivergenceError, match="epoch 1, step 8"):
        _fit(settings)
    assert not (settings.run_dir / runs.HISTORY).exists()


@slow
@on_jax
def test_in_bfloat16_with_weights_and_balanced_classes(data_dir, tmp_path):
    more = (
        "--high_pass",
        "--precision=mixed_bfloat16",
        "--class_weight=1:2",
        "--sampling=balanced",
    )
    flags = (*NETWORK, *more, "--mixup_alpha=0.2", "--cutmix_alpha=1", "--images_on=device")
    settings = short(data_dir, tmp_path, *flags)
    _fit(settings)
    assert np.isfinite(history(settings.run_dir)[0]["loss"])


@on_jax
@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--augment=forensic", "--augment=degrade is done by the host"),
        ("--data_service=grpc://127.0.0.1:1", "--data_service makes the batches elsewhere"),
        ("--teacher=unibuc-small", "a --teacher sees the batches of the host"),
    ],
)
def test_what_only_the_host_can_do_is_refused_and_left_to_it(data_dir, tmp_path, flag, reason):
    settings = short(data_dir, tmp_path, *NETWORK, flag, "--images_on=device")
    with pytest.raises(UsageError, match=f"--images_on=device: {reason}"):
        on_device.check(settings)


@on_jax
def test_images_of_several_sizes_or_too_many_bytes_are_the_hosts(data_dir, tmp_path, monkeypatch):
    settings = short(data_dir, tmp_path, *NETWORK, "--train_crop=12", "--images_on=device")
    data = training.load_data(settings)
    assert on_device.place(settings, data) == "device"
    assert on_device.place(settings.with_(images_on="auto"), data) == "host"  # On a CPU
    monkeypatch.setattr(on_device, "_available_bytes", lambda: 1000.0)
    with pytest.raises(UsageError, match=r"the training images take 0.0 GiB, more than 25%"):
        phases.check(settings, data)
    data.splits["train"].images.kept[3] = np.zeros((20, 16, 3), np.uint8)
    with pytest.raises(UsageError, match="the training images have several sizes"):
        phases.check(settings, data)
