"""Two processes on loopback that train together, and what becomes of one when the other dies."""

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import write_kaggle

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_kaggle(folder, counts={"train": 120, "validation": 40}, classes="01", size=16)


# Who writes the report takes longer than TensorFlow waits for a process that does not answer.
_SLOW_REPORT = """
import runpy, sys, time
from dfk.training import experiment
report = experiment._report
experiment._report = lambda *arguments: (time.sleep(70), report(*arguments))[1]
sys.argv[0] = "run_experiments.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _command(data_dir, output_dir, *flags, program=("run_experiments.py",)):
    return [
        *(sys.executable, *program, f"--data_dir={data_dir}"),
        *(f"--output_dir={output_dir}", "--image_size=0", "--epochs=4", "--batch_size=12"),
        # Nothing that is drawn for a batch as a whole, so that one process can be compared.
        *("--precision=float32", "--dropout=0,0,0", "--augment=", "--class_weight=1:2"),
        *("--learning_rate=0.005", *flags),
    ]


@contextlib.contextmanager
def _workers(data_dir, output_dir, *flags, **more):
    """Two workers, the chief first, which write their messages to stderr."""
    ports = []
    for _ in range(2):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    with contextlib.ExitStack() as stack:
        found = []
        for index in range(2):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            process = subprocess.Popen(
                _command(data_dir, output_dir, "--strategy=multi_worker", *flags, **more),
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            found.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield found


def _history(output_dir):
    with open(output_dir / "deepfakenet" / "history.csv", newline="") as file:
        return np.array([list(map(float, row.values())) for row in csv.DictReader(file)])


def _digests(printed):
    return {re.findall("weights: ([0-9a-f]{64})", err)[0] for _, err in printed}


def _status(process, field):
    """A number of Linux' /proc: `Threads`, or `VmRSS` in KiB."""
    found = re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text(), re.M)
    return int(found[1]) if found else 0  # None of one that has ended


def _metrics(output_dir):
    return json.loads((output_dir / "deepfakenet" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def together(data_dir, tmp_path_factory):
    """The folder of a run of two workers, and what each printed."""
    output_dir = tmp_path_factory.mktemp("together")
    with _workers(data_dir, output_dir, "--ema=0.5") as workers:
        printed = [worker.communicate(timeout=300) for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], printed
    return output_dir, printed


def test_both_end_with_the_same_weights_and_one_reports(together):
    _, printed = together
    assert len(_digests(printed)) == 1
    (out, err), (other_out, other_err) = printed
    assert "report" in out and "epoch 4/4" in err
    assert other_out == "" and "epoch" not in other_err
    assert "Traceback" not in err + other_err and "all_reduce" not in err + other_err


def test_they_train_as_one_process_does(together, data_dir, tmp_path):
    output_dir, _ = together
    subprocess.run(_command(data_dir, tmp_path, "--ema=0.5"), cwd=ROOT, check=True)
    alone = _history(tmp_path)
    np.testing.assert_allclose(_history(output_dir)[:, 1:3], alone[:, 1:3], rtol=2e-2, atol=1e-3)
    low, high = _metrics(tmp_path)["accuracy_ci95"]
    assert low <= _metrics(output_dir)["accuracy"] <= high


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_is_killed_the_other_says_so_and_both_go_on(victim, data_dir, tmp_path, together):
    history = tmp_path / "deepfakenet" / "history.csv"
    with _workers(data_dir, tmp_path, "--ema=0.5") as workers:
        while not history.exists():
            assert workers[0].poll() is None
            time.sleep(0.01)
        workers[victim].send_signal(signal.SIGKILL)
        _, err = workers[1 - victim].communicate(timeout=60)
        assert workers[1 - victim].returncode == 1
        assert err.splitlines()[-1].startswith("dfk: another worker is gone, or does not answer")
        assert "Traceback" not in err
    assert len(_history(tmp_path)) < 4
    with _workers(data_dir, tmp_path, "--ema=0.5", "--resume") as workers:
        for worker in workers:
            _, err = worker.communicate(timeout=300)
            assert worker.returncode == 0, err
    np.testing.assert_array_equal(_history(tmp_path), _history(together[0]))


@pytest.mark.skipif(sys.platform != "linux", reason="the threads are counted in /proc")
def test_later_steps_take_no_more_threads_and_memory_than_early_ones(tmp_path):
    data_dir = write_kaggle(
        tmp_path / "data", counts={"train": 500, "validation": 40}, classes="01", size=8
    )
    flags = ("--batch_size=2", "--epochs=4", "--learning_rate=0.001")
    with _workers(data_dir, tmp_path, *flags) as workers:
        seen = _watched(workers, tmp_path / "deepfakenet" / "history.csv")
        printed = [worker.communicate(timeout=300) for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], printed
    assert len(_digests(printed)) == 1
    # After 450 and 900 steps; the first epoch traces graphs. A thread that stays behind for each of
    # a step's collectives ends a training after some 500.
    early, late = seen[1], seen[3]
    np.testing.assert_allclose(late[0], early[0], atol=20)
    np.testing.assert_allclose(late[1], early[1], rtol=0.1)


def _watched(workers, history):
    """Threads and memory of both workers, [epoch] of ([2], [2]), as each epoch ends."""
    seen = []
    while workers[0].poll() is None and len(seen) < 4:
        time.sleep(0.05)
        if history.exists() and len(history.read_text().splitlines()) > len(seen) + 1:
            seen.append([[_status(w, field) for w in workers] for field in ("Threads", "VmRSS")])
    return seen


def test_the_chief_is_waited_for_while_it_writes_its_report(data_dir, tmp_path):
    with _workers(data_dir, tmp_path, "--epochs=1", program=("-c", _SLOW_REPORT)) as workers:
        printed = [worker.communicate(timeout=600) for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0], printed
    assert "report" in printed[0][0]


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_hangs_is_named_within_a_minute(victim, data_dir, tmp_path):
    history = tmp_path / "deepfakenet" / "history.csv"
    with _workers(data_dir, tmp_path, "--epochs=1000") as workers:
        while not history.exists():
            assert workers[0].poll() is None
            time.sleep(0.01)
        workers[victim].send_signal(signal.SIGSTOP)
        _, err = workers[1 - victim].communicate(timeout=60)
        assert workers[1 - victim].returncode == 1
        assert err.splitlines()[-1].startswith("dfk: another worker is gone, or does not answer")
