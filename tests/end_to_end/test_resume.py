"""A run killed at any moment ends as if it had never been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import dfk  # noqa: F401 -- its layers are in the saved models
from tests.datasets import write_kaggle

ROOT = Path(__file__).parents[2]
EPOCHS = 5

# A background job, as CI may be, inherits that Ctrl-C is ignored; a user's shell does not.
INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """A training command without its output folder; early stopping and plateau both act in it."""
    folder = write_kaggle(
        tmp_path_factory.mktemp("data"),
        counts={"train": 160, "validation": 20},
        classes=("0", "1"),
    )
    return [
        *(sys.executable, "run_experiments.py", f"--data_dir={folder}", "--image_size=16"),
        *(f"--epochs={EPOCHS}", "--batch_size=8", "--plateau_patience=1", "--learning_rate=0.1"),
    ]


@pytest.fixture(scope="module")
def uninterrupted(command, tmp_path_factory):
    """The folder of a run that nobody disturbed."""
    output_dir = tmp_path_factory.mktemp("uninterrupted")
    _run([*command, f"--output_dir={output_dir}"])
    return output_dir / "deepfakenet"


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [0, 2, EPOCHS - 1])
def test_a_killed_run_ends_with_the_same_weights(command, uninterrupted, tmp_path, killed_after):
    """Killed with SIGKILL in the middle of the epoch that follows `killed_after` complete ones."""
    resume = [*command, f"--output_dir={tmp_path}", "--resume"]
    run_dir = tmp_path / "deepfakenet"
    process = subprocess.Popen(resume, cwd=ROOT, stderr=subprocess.DEVNULL)
    _wait_for_epochs(run_dir, killed_after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run_dir / "metrics.json").exists()
    done = _run(resume)
    if killed_after:
        assert "Continuing after epoch" in done.stderr

    ours, theirs = (keras.models.load_model(d / "model.keras") for d in (run_dir, uninterrupted))
    for a, b in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    for name in ("history.csv", "predictions.csv"):
        assert (run_dir / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_ctrl_c_ends_cleanly_and_prints_the_command_that_resumes(command, tmp_path):
    python, *arguments = [*command, f"--output_dir={tmp_path}"]
    interruptible = [python, "-c", INTERRUPTIBLE, *arguments]
    process = subprocess.Popen(interruptible, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    _wait_for_epochs(tmp_path / "deepfakenet", 1)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in messages
    printed = messages.strip().splitlines()[-1].split()
    assert printed == ["python", *arguments, "--resume"]


def _run(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def _wait_for_epochs(run_dir, epochs):
    """Returns while the epoch after `epochs` complete ones is under way."""
    history, deadline = run_dir / "history.csv", time.monotonic() + 120
    started = run_dir / ("history.csv" if epochs else "tensorboard")
    while not started.exists() or (epochs and len(history.read_text().splitlines()) <= epochs):
        assert time.monotonic() < deadline, f"no epoch {epochs} in {os.listdir(run_dir.parent)}"
        time.sleep(0.005)
    time.sleep(0.05)
