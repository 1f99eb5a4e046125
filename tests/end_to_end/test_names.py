"""All commands on files, folders and classes with names of any kind, on a terminal and in pipes."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

CLASSES = ("gan", "a|b `<b>", "vae, large: 2=3")
FILES = (
    "\x1b[2Jclear.png",
    "line\nbreak.png",
    "return\r.png",
    "\u202egnp.exe.png",
    "图" * 80 + ".png",
)
DATA = "data ü"
NO_TEXT = os.fsdecode(b"no text \xff\xfe.png")
# One process for all commands: its start takes longer than they do.
PROGRAM = """
import json, sys
from dfk import cli
for arguments in json.loads(sys.argv[1]):
    code = cli.main(arguments)
    print("exit", code, flush=True)
"""
ENV = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for a data set in a folder `data ü`, and for all else."""
    place = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    for split, names in (("train", [*FILES, NO_TEXT]), ("validation", FILES), ("test", ("x.png",))):
        for name in CLASSES:
            folder = place / DATA / split / name
            folder.mkdir(parents=True)
            for file in names:
                pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(folder / file, "PNG")
    return place


def _train(place):
    weights = '"vae, large: 2=3:2",gan:1'
    options = ["--image_size=16", "--epochs=1", "--batch_size=4", "--experiment=m", "--resume"]
    return ["train", f"--data_dir={place}/{DATA}", f"--output_dir={place}/runs",
            f"--class_weight={weights}", *options]  # fmt: skip


def _all(place):
    data, run = f"{place}/{DATA}", f"{place}/runs/m"
    some = f"{data}/train/gan"
    return [
        _train(place),
        ["info", run],
        ["audit", data, f"--output_dir={place}/audit"],
        ["prepare", data, f"{place}/prepared", "--format=png"],
        ["audit", f"{place}/prepared"],
        ["evaluate", run, f"--data_dir={data}", "--split=train", f"--output_dir={place}/scored"],
        ["compare", run, run],
        ["compare", f"{place}/scored", f"{place}/scored", "--format=csv"],
        ["predict", run, some, "--format=table"],
        ["predict", run, some, "--format=csv"],
        ["predict", run, some, "--format=json"],
        ["predict", run, some, f"--output={place}/out.csv"],
        ["explain", run, some, f"--output_dir={place}/explained"],
    ]


def _on_terminal(commands, **environment):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(command, env=ENV | environment, **streams)
    os.close(theirs)
    sent = b""
    try:
        while some := os.read(ours, 2**16):
            sent += some
    except OSError:  # As Linux says that nobody is left
        pass
    os.close(ours)
    process.wait()
    return sent


def test_no_name_reaches_a_terminal_raw_nor_ends_a_command(place):
    sent = _on_terminal(_all(place), PYTHONIOENCODING="ascii")
    text = sent.decode("ascii").replace("\r\n", "\n")
    assert text.count("exit 0\n") == text.count("exit ") == len(_all(place)), text
    assert "\x1b[2J" not in text and "\nbreak" not in text and "return\r" not in text
    assert "Traceback" not in text and "\\x1b[2Jclear" in text and "line\\nbreak" in text
    # What a run leaves can be read, whatever the names.
    for folder, behind in (("runs/m", []), ("scored", ["doubt"])):
        with open(place / folder / "predictions.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows[0][4:] == [*sorted(CLASSES), *behind]
        assert {len(row) for row in rows} == {7 + len(behind)}
        assert {row[0] for row in rows[1:]} >= {f"{c}/{f}" for c in CLASSES for f in FILES}
    assert {f"{c}/no text \\udcff\\udcfe.png" for c in CLASSES} <= {row[0] for row in rows}
    for path in (place / "runs").rglob("*.*"):
        if path.suffix in (".md", ".json", ".html", ".csv", ".flags"):
            path.read_text(encoding="utf-8")
    assert "<b>" not in (place / "runs" / "m" / "report.html").read_text()


def test_pipes_get_names_as_they_are(place, tmp_path):
    commands = _all(place)[:1] if not (place / "runs").exists() else []
    some = f"{place}/{DATA}/train/gan"
    commands += [["predict", f"{place}/runs/m", some, "--format=csv"]]
    command = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, env=ENV)
    assert b"Traceback" not in done.stderr
    out = done.stdout.decode()
    rows = list(csv.reader(io.StringIO(out[out.index("path,label") :], newline="")))
    names = {os.path.basename(row[0]) for row in rows[1:-1]}
    assert names == {*FILES, "no text \\udcff\\udcfe.png"}
