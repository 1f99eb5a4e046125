"""Several devices of one machine, and what is refused of several."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfk.config import DEFAULTS
from dfk.errors import UsageError
from dfk.training import jax_devices, strategy
from tests.datasets import write_kaggle

ROOT = Path(__file__).parents[2]

# Trains on two logical devices, and tells the loss after each step.
PROGRAM = """
import sys
import keras
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from dfk import cli
from dfk.training import phases

class Tell(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("loss", logs["loss"])

    def on_train_end(self, logs=None):
        weights = self.model.trainable_variables[0].value
        print("replicas", len(getattr(weights, "values", [weights])))

phases.Progress = lambda **options: Tell()
sys.exit(cli.main(["train", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_kaggle(folder, counts={"train": 90, "validation": 15}, classes="012", size=16)


def _run(data_dir, output_dir, *flags):
    return subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, f"--data_dir={data_dir}"),
            *(f"--output_dir={output_dir}", "--image_size=0", "--train_crop=8", "--epochs=2"),
            *("--precision=float32", "--dropout=0,0,0", "--class_weight=1:2", *flags),
        ],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_two_devices_train_as_one_does(data_dir, tmp_path):
    losses, accuracies = {}, {}
    for name in ("none", "mirrored"):
        done = _run(data_dir, tmp_path / name, "--batch_size=10", f"--strategy={name}")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        losses[name] = [float(x.split()[1]) for x in lines if x.startswith("loss")]
        assert f"replicas {1 + (name == 'mirrored')}" in lines
        with open(tmp_path / name / "deepfakenet" / "history.csv", newline="") as file:
            accuracies[name] = [float(row["holdout_accuracy"]) for row in csv.DictReader(file)]
    assert len(losses["none"]) == 16
    np.testing.assert_allclose(losses["mirrored"][:8], losses["none"][:8], rtol=1e-3)
    np.testing.assert_allclose(accuracies["mirrored"], accuracies["none"], atol=0.12)


def test_a_batch_that_does_not_divide_is_refused_at_once(data_dir, tmp_path):
    done = _run(data_dir, tmp_path, "--batch_size=9", "--strategy=mirrored")
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.stderr.endswith("dfk: --batch_size=9 does not divide among 2 devices\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"cluster": {"worker": ["127.0.0.1:1"]}}',
        '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_cluster_that_is_none_is_explained(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match="--strategy=multi_worker needs TF_CONFIG"):
        strategy.prepare(DEFAULTS.with_(strategy="multi_worker"))


def test_without_a_tpu_a_line_says_so():
    with pytest.raises(UsageError, match=r"sees no TPU .*KERAS_BACKEND=jax"):
        strategy.prepare(DEFAULTS.with_(strategy="tpu"))


def test_batches_that_devices_cannot_share_come_apart(monkeypatch):
    batches = [[0, 1, 2, 3], [4, 5, 6], [7]]
    assert jax_devices.laid_out_alike(batches) == [batches]
    monkeypatch.setattr(jax_devices, "_devices", lambda: 2)
    assert jax_devices.laid_out_alike(batches) == [[[0, 1, 2, 3], [4, 5]], [[6], [7]]]
    assert jax_devices.laid_out_alike(batches[:1]) == [batches[:1]]
