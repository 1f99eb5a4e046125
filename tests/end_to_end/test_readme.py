"""Every command and snippet of README, and of what it leads to, runs as printed, in its order."""

import contextlib
import re
import subprocess

import pytest

from tests.documents import (
    AFTER_QUICKSTART,
    ROOT,
    environment,
    run_all,
    runs_in,
    write_checkout,
)
from tests.networks import ensemble

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path):
    return write_checkout(tmp_path)


def test_their_commands_run_as_printed(checkout):
    for document in AFTER_QUICKSTART:
        run_all(document, checkout)
    study = {"svm", "deepfakenet", "deepfakenet2", "vgg16", "ensemble"}
    assert runs_in(checkout / "runs") == {*study, "look", "unibuc", "seeds", "blend", "student"}
    assert runs_in(checkout / "runs/unibuc") == {"flips-only"}
    assert runs_in(checkout / "runs/seeds") == {"crops-seed0", "crops-seed1"}
    for left in (
        *("runs/ensemble/saved_model/1/saved_model.pb", "runs/ensemble/openvino/1/client.py"),
        *("scored/metrics.json", "answers.csv", "explained", "degraded/report.html"),
        *("runs/unibuc/flips-only/submission.csv", "runs/unibuc/results.md"),
    ):
        assert (checkout / left).exists()


def _for_terminals(room):
    """The commands of a room's document that run in terminals of their own, a line each."""
    text = (ROOT / "dfk" / room / "README.md").read_text()
    return re.findall(r"^```text\n(.*)\n```$", text, re.MULTILINE)


def test_the_commands_for_several_terminals_run_as_printed(checkout):
    first, second, dispatcher, worker, served, jax = _for_terminals("training")
    *_, scored = _for_terminals("inference")
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
