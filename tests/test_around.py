"""What lies around the code: the workflow, the hooks, the notebook, the image for serving."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import notebook

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _read(name):
    yaml = pytest.importorskip("yaml")  # It comes with Ray.
    return yaml.safe_load((ROOT / name).read_text())


def test_the_workflow_runs_every_part_of_ci_on_every_python_that_is_supported():
    jobs = _read(".github/workflows/test.yml")["jobs"]
    steps = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    matrix = jobs["tests"]["strategy"]["matrix"]
    done = {*steps, *matrix["part"]}
    ci = (ROOT / ".ci/run").read_text()
    assert "&& pytest" in ci  # README's line, which installs the tests and runs them
    parts = re.findall(r"^(?:pytest|ruff) .*$", ci, re.MULTILINE)
    assert len(parts) == 3 and {*parts, "pytest", "pip install -e '.[test]'"} <= done
    first, last = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(first), int(last))]


def test_the_hooks_are_the_style_checks_of_ci():
    (repo,) = _read(".pre-commit-config.yaml")["repos"]
    commands = {hook["entry"].replace(" --force-exclude", "") for hook in repo["hooks"]}
    assert commands == {"ruff check", "ruff format --check"}
    ci = (ROOT / ".ci/run").read_text().splitlines()
    assert commands <= {*ci}


def test_the_hooks_refuse_what_is_wrong(tmp_path):
    (tmp_path / "wrong.py").write_text("import os\nx=1\n")
    for hook in _read(".pre-commit-config.yaml")["repos"][0]["hooks"]:
        command = [sys.executable, "-m", *hook["entry"].split(), "wrong.py"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1


def test_files_that_contributing_names_are_there():
    text = (ROOT / ".github/CONTRIBUTING.md").read_text()
    for link in re.findall(r"\]\((\.\./[^)]*)\)", text):
        assert (ROOT / ".github" / link).exists()
    named = [
        name for name in re.findall(r"`([\w/.]+)`", text) if "/" in name and "NAME" not in name
    ]
    assert named and all((ROOT / name).exists() for name in named)


def test_the_image_for_serving_copies_what_an_export_leaves(exported):
    """Docker is not here; what the file's own commands do can be seen without it."""
    text = (ROOT / "dfk/export/Dockerfile").read_text()
    (copied,) = re.findall(r"^ARG RUN=(.*)$", text, re.MULTILINE)
    assert exported.name == copied
    (name,) = re.findall(r"name=\$\((sed .*?)\) ", text)
    found = subprocess.run(
        ["bash", "-c", name.replace("/exported", ".")], cwd=exported, capture_output=True, text=True
    )
    config = (exported / "models.config").read_text()
    assert found.stdout.strip() and f'base_path: "/models/{found.stdout.strip()}"' in config
    readme = (exported / "README.md").read_text()
    for option in ("--enable_batching", "--enable_per_model_batching_parameters"):
        assert option in text and option in readme


def test_the_notebook_is_what_the_code_writes():
    assert notebook.PATH.read_text() == notebook.notebook()
    cells = json.loads(notebook.notebook())["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells) == len(notebook.CELLS)


@pytest.mark.slow
def test_the_notebooks_cells_run_in_their_order(tmp_path):
    code = [text for kind, text in notebook.CELLS if kind == notebook.CODE]
    # As a kernel: each cell by itself, names shared; what a cell ends with is shown.
    (tmp_path / "cells.json").write_text(json.dumps(code))
    runner = (
        "import ast, json\n"
        "names = {}\n"
        "for cell in json.load(open('cells.json')):\n"
        "    exec(compile(cell, 'cell', 'exec'), names)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", runner],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "% of " in done.stdout and "- it is" in done.stdout
    assert (tmp_path / "runs/small/report.html").is_file()
