"""Training with KERAS_BACKEND=jax, on several devices; what it saves is TensorFlow's too."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import dfk  # noqa: F401 -- its layers are in the saved models
from dfk.export import export
from tests.datasets import write_kaggle

pytest.importorskip("jax")
ROOT = Path(__file__).parents[2]
FLAGS = ("--precision=float32", "--cutmix_alpha=1", "--ema=0.9")

# Trains, and tells how the weights of the network lay on the devices while it did.
PROGRAM = """
import sys
import keras
from dfk import cli, config, training
from dfk.training import phases
from dfk.errors import DfkError

class Where(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print("devices", len(self.model.trainable_variables[0].value.devices()))

progress = phases.Progress
phases.Progress = lambda **options: keras.callbacks.CallbackList([Where(), progress(**options)])
sys.exit(cli.main(["train", *sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Splits that do not divide among two devices: 9 images of the holdout, 15 of validation."""
    folder = tmp_path_factory.mktemp("data")
    return write_kaggle(folder, counts={"train": 90, "validation": 15}, classes="012", size=16)


def _environment(devices=2):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}


def _command(data_dir, output_dir, *flags):
    return [
        *(sys.executable, "-c", PROGRAM, f"--data_dir={data_dir}", f"--output_dir={output_dir}"),
        *("--image_size=0", "--train_crop=8", "--epochs=3", "--batch_size=8", *flags),
    ]


def _run(*arguments, devices=2):
    done = subprocess.run(
        _command(*arguments), env=_environment(devices), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done


def _history(run_dir):
    with open(run_dir / "history.csv", newline="") as file:
        return [list(map(float, row.values())) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A run on two devices, and what it printed."""
    output_dir = tmp_path_factory.mktemp("runs")
    done = _run(data_dir, output_dir, *FLAGS)
    return output_dir / "deepfakenet", done.stdout


@pytest.mark.slow
def test_every_device_takes_part_and_the_run_is_whole(trained):
    run_dir, printed = trained
    assert printed.count("devices 2") == 3
    assert json.loads((run_dir / "metrics.json").read_text())["n"] == 15
    assert json.loads((run_dir / "environment.json").read_text())["backend"] == "jax"
    assert (run_dir / "report.html").is_file()


@pytest.mark.slow
def test_tensorflow_answers_the_same(trained, data_dir):
    run_dir, _ = trained
    model = keras.models.load_model(run_dir / "model.keras")
    names, images, expected = [], [], []
    with open(run_dir / "predictions.csv", newline="") as file:
        for row in csv.DictReader(file):
            names.append(row["image_id"])
            expected.append([float(row[label]) for label in "012"])
    for name in names:
        file = next((data_dir / "validation").glob(f"{name}.*"))
        images.append(tf.io.decode_image(file.read_bytes(), 3).numpy())
    # JAX adds up in another order; in which one TensorFlow does depends on the CPU.
    np.testing.assert_allclose(model.predict(np.stack(images)), expected, atol=1e-4)
    served = tf.saved_model.load(str(export(run_dir).folder)).signatures["serve_images"]
    answers = served(images=tf.constant(np.stack(images)))["probabilities"]
    np.testing.assert_allclose(answers, expected, atol=1e-4)


@pytest.mark.slow
def test_the_number_of_devices_changes_nothing_but_rounding(trained, data_dir, tmp_path):
    _run(data_dir, tmp_path, *FLAGS, devices=1)
    one, two = _history(tmp_path / "deepfakenet"), _history(trained[0])
    # The loss in training; of the holdout two devices leave an image out.
    np.testing.assert_allclose(np.array(one)[:, 1], np.array(two)[:, 1], rtol=1e-3)


@pytest.mark.slow
def test_statistics_are_refreshed_as_with_tensorflow():
    tests = [sys.executable, "-m", "pytest", "-n0", "tests/training/test_callbacks.py"]
    done = subprocess.run(tests, env=_environment(), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(trained, data_dir, tmp_path):
    run_dir = tmp_path / "deepfakenet"
    process = subprocess.Popen(
        _command(data_dir, tmp_path, *FLAGS),
        env=_environment(),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (run_dir / "history.csv").exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (run_dir / "metrics.json").exists()
    _run(data_dir, tmp_path, *FLAGS, "--resume")
    assert _history(run_dir) == _history(trained[0])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["deepfakenet", "residual", "rich", "vgg16"])
def test_in_bfloat16_every_network_trains_and_is_saved_in_float32(
    model, trained, data_dir, tmp_path
):
    own = ["--image_size=32", "--train_crop=32", "--epochs=1"]
    own += {
        "vgg16": ["--vgg16_weights=none"],
        "residual": [f"--teacher={trained[0]}", "--high_pass"],
        "rich": ["--feature_draws=1"],
    }.get(model, [])
    _run(data_dir, tmp_path, f"--model={model}", "--precision=mixed_bfloat16", *own)
    saved = keras.models.load_model(tmp_path / model / "model.keras")
    assert {layer.compute_dtype for layer in saved.get_layer("network").layers} == {"float32"}


# One process asks for all: its start takes longer than they do.
REFUSED = """
import sys
from dfk import cli
common = sys.argv[1:]
for flag in ("--batch_size=9", "--strategy=mirrored", "--export"):
    print("exit", cli.main(["train", *common, flag]))
"""


def test_what_cannot_be_is_said_at_once(data_dir, tmp_path):
    command = _command(data_dir, tmp_path)
    command[2] = REFUSED
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["exit 2"] * 3
    for message in (
        "--batch_size=9 does not divide among the 2 devices of JAX",
        "JAX uses all of its devices without it",
        "then `dfk export RUN` without KERAS_BACKEND=jax",
    ):
        assert done.stderr.count(message) == 1
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
