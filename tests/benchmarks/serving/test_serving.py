"""A server in another process: what its README says works, and it bears a load."""

import contextlib
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dfk import cli
from dfk.benchmarks.serving.client import serving
from dfk.benchmarks.serving.load import Example, run_load
from dfk.errors import DfkError
from tests.networks import CLASSES
from tests.pictures import BROKEN, GOOD


@pytest.fixture(scope="module")
def examples(exported):
    """Images and what the SavedModel says of them in this process."""
    names = [name for name in GOOD if name != "large"]
    files = [GOOD[name] for name in names]
    loaded = tf.saved_model.load(str(exported / "1"))
    answers = loaded.signatures["serving_default"](image_bytes=tf.constant(files))
    good = map(Example, files, answers["probabilities"].numpy())
    return [*good, *(Example(data, None) for data in BROKEN.values())]


def test_it_bears_a_load_in_which_a_tenth_is_broken(server, examples):
    load = run_load(server, examples, clients=8, requests=200)
    assert (load.requests, load.failed, load.wrong) == (200, 0, 0)
    assert 0.05 < load.broken / load.images < 0.2
    assert 0 < load.p50_ms <= load.p99_ms
    assert load.growth_mib is None or load.growth_mib < 100


def test_a_wrong_row_and_a_failed_request_are_noticed(server, examples):
    other = [
        Example(e.data, np.roll(e.probabilities, 1))
        for e in examples
        if e.probabilities is not None
    ]
    answered = [Example(examples[0].data, None)]  # Said to be broken, and is not
    load = run_load(server, other + answered, clients=2, requests=10)
    assert load.wrong == load.images and not load.failed
    load = run_load(server._replace(name="none"), examples, clients=2, requests=10)
    assert load.failed == 10


def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(DfkError, match=r"(?s)does not answer.*SavedModel"), serving(tmp_path, "x"):
        pass


def test_the_client_of_the_readme(exported, server, tmp_path):
    readme = (exported / "README.md").read_text()
    (client,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert client.count("\n") <= 10
    (tmp_path / "client.py").write_text(client.replace("localhost:8500", server.grpc))
    for name, data in {"good": GOOD["png"], "bad": BROKEN["text"]}.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "client.py", "good", "bad"],
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    good, bad = done.stdout.splitlines()
    assert good.startswith("good b'") and good.endswith("True")
    assert bad == "bad b'' 0.0 False False"


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_curl_line_of_the_readme(exported, server, tmp_path):
    readme = (exported / "README.md").read_text()
    (line,) = re.findall(r"Over REST: `(.*?)`\n", readme)
    (tmp_path / "image.png").write_bytes(GOOD["png"])
    line = line.replace("localhost:8501", server.rest).replace("curl", "curl --silent")
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True, capture_output=True)
    assert b'"valid": true' in done.stdout
    assert any(f'"label": "{name}"' in done.stdout.decode("unicode_escape") for name in CLASSES)


def test_the_benchmark_measures_a_served_model(exported, server, capfd, monkeypatch):
    # The server that runs already: another takes seconds to start.
    there = contextlib.nullcontext(server)
    monkeypatch.setattr("dfk.benchmarks.serve.serving", lambda folder, name: there)
    arguments = ["benchmark", "serve", str(exported.parent), "--requests=20", "--format=json"]
    assert cli.main(arguments) == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)["rows"]}
    assert rows["failed requests"] == {
        **{"name": "failed requests", "required": 0, "measured": 0, "met": True}
    }
    assert rows["wrong rows"]["met"] and rows["p99, ms"]["met"] is None
    assert 20 <= rows["images"]["measured"] <= 80


def test_what_was_not_exported_is_not_served(tmp_path, capfd):
    assert cli.main(["benchmark", "serve", str(tmp_path)]) == 2
    assert "holds no exported version; `dfk export" in capfd.readouterr().err
