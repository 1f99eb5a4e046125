"""Every command and snippet of the README runs as it is printed, in its order."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets import write_folders, write_kaggle
from tests.networks import ensemble

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like the checkout, with small images instead of the real ones."""
    for name in ("run_experiments.py", "configs", "dfk"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_kaggle(
        tmp_path / "data" / "unibuc",
        counts={"train": 60, "validation": 20, "test": 10},
        classes="01234",
        size=100,
    )
    (tmp_path / "photos").mkdir()
    for i, path in enumerate(sorted((tmp_path / "data/unibuc/test").iterdir())[:3]):
        shutil.copy(path, tmp_path / "photos" / f"{i}.png")
    classes = ("camera", "gan", "diffusion")
    made = write_folders(tmp_path / "made", counts={"train": 60}, classes=classes, size=256)
    for name in classes:
        (made / "train" / name).rename(tmp_path / name)
    shutil.copytree(tmp_path / "data/unibuc/test", tmp_path / "stylegan")
    return tmp_path


def test_the_readmes_commands_run_as_printed(checkout):
    assert len(BLOCKS) >= 6
    for language, text in BLOCKS:
        for command in _commands(language, text):
            done = subprocess.run(
                command, cwd=checkout, env=_environment(), capture_output=True, text=True
            )
            assert done.returncode == 0, f"{text}\n{done.stderr}"
            assert not re.search("Traceback|Logging before|retracing", done.stderr), done.stderr
    study = {"svm", "deepfakenet", "deepfakenet2", "vgg16", "ensemble"}
    own = {"svm_forensic", "flips-only", "blend", "student"}
    assert _runs(checkout / "runs") == {
        *study,
        "look",
        "unibuc",
        "mine",
        "alike",
        "open_set",
        "seeds",
    }
    assert _runs(checkout / "runs/unibuc") == {*study, *own}
    suite = {"baseline", "fisher", "network", "ensemble"}
    assert _runs(checkout / "runs/mine") == {*suite, "tuned", "tuned+stylegan"}
    assert _runs(checkout / "runs/alike") == suite
    assert _runs(checkout / "runs/seeds") == {"crops-seed0", "crops-seed1"}
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
            env=_environment(),
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
    assert _runs(checkout / "runs") == {"two", "served", "jax", "ensemble"}
    for name in ("two", "served", "jax"):
        assert (checkout / "runs" / name / "deepfakenet" / "metrics.json").is_file()
    assert list((checkout / "answers").glob("part-00000/*.parquet"))


def _runs(folder):
    return {path.name for path in folder.iterdir() if path.is_dir()}


def _commands(language, text):
    """What a block runs; the installation and pytest itself are what runs this test."""
    if language == "python":
        return [[sys.executable, "-c", text]]
    lines = [line.removeprefix("pip install -e . && ") for line in text.strip().splitlines()]
    return [["bash", "-c", line] for line in lines if not line.startswith("pip install")]


def _environment():
    """`python` and `dfk` are those of this test's environment."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
