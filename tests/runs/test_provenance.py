"""What `environment.json` says of the code, the machine and the weights."""

import hashlib
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest

from dfk import runs

ROOT = Path(__file__).parents[2]


def test_the_commit_is_that_of_the_checkout():
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no checkout")
    assert runs.environment({})["git_commit"].removesuffix("+") == done.stdout.strip()


def test_versions_are_those_that_are_installed(tmp_path):
    file = tmp_path / "model.keras"
    file.write_bytes(b"weights")
    found = runs.environment({"images": 3}, file)
    assert found["packages"]["numpy"] == np.__version__
    assert (found["backend"], found["data"]) == (keras.backend.backend(), {"images": 3})
    assert found["weights"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert "weights" not in runs.environment({})
