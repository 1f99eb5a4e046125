"""Every command and snippet of the README runs as it is printed, in its order."""

import contextlib
import re
import subprocess

import pytest

from tests.networks import ensemble
from tests.readme import BEFORE, README, environment, run_all, runs_in, write_checkout

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path):
    return write_checkout(tmp_path)


def test_the_readmes_commands_run_as_printed(checkout):
    run_all(BEFORE, checkout)
    study = {"svm", "deepfakenet", "deepfakenet2", "vgg16", "ensemble"}
    own = {"svm_forensic", "flips-only", "blend", "student"}
    assert runs_in(checkout / "runs") == {
        *study,
        "look",
        "unibuc",
        "open_set",
        "seeds",
    }
    assert runs_in(checkout / "runs/unibuc") == {*study, *own}
    assert runs_in(checkout / "runs/seeds") == {"crops-seed0", "crops-seed1"}
    assert "Unknown generators" in (checkout / "runs/open_set/results.md").read_text()
    for left in (
        *("runs/unibuc/ensemble/submission.csv", "runs/ensemble/saved_model/1/saved_model.pb"),
        *("scored/metrics.json", "answers.csv", "explained", "audit", "degraded/report.html"),
        "prepared/train.csv",
    ):
        assert (checkout / left).exists()


def test_the_commands_for_several_terminals_run_as_printed(checkout):
    section = README.partition("### Scale")[2].partition("\n### ")[0]
    commands = re.findall(r"^```text\n(.*)\n```$", section, re.MULTILINE)
    first, second, dispatcher, worker, served, jax, scored = commands
    (checkout / "runs" / "ensemble").mkdir(parents=True)
    ensemble().save(checkout / "runs" / "ensemble" / "model.keras")

    def start(stack, command):
        """A command in a terminal of its own, which ends with the test."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}" if command.startswith("python") else command],
            cwd=checkout,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.enter_context(process)
        stack.callback(process.kill)  # Before that waits for it
        return process

    with contextlib.ExitStack() as stack:
        for terminal in [start(stack, first), start(stack, second)]:
            _, err = terminal.communicate(timeout=600)
            assert terminal.returncode == 0, err
    with contextlib.ExitStack() as stack:
        start(stack, dispatcher), start(stack, worker)
        for command in (served, jax, scored):
            _, err = start(stack, command).communicate(timeout=600)
            assert "Traceback" not in err, err
    assert runs_in(checkout / "runs") == {"two", "served", "jax", "ensemble"}
    for name in ("two", "served", "jax"):
        assert (checkout / "runs" / name / "deepfakenet" / "metrics.json").is_file()
    assert list((checkout / "answers").glob("part-00000/*.parquet"))
