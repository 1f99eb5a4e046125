"""What becomes of a run's folder, and of what lies beside dfk's files in it, whatever is asked."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfk import cli, config, export, runs, training
from dfk.data.embedded import write_demo
from dfk.errors import DfkError, UsageError
from dfk.models import DeepFakeNet
from dfk.reports.results import write_results
from dfk.runs.records import HISTORY
from dfk.system import files
from tests.datasets import write_kaggle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_kaggle(folder, counts={"train": 40, "validation": 9, "test": 3}, classes="012")


@pytest.fixture(scope="module")
def made(data_dir, tmp_path_factory):
    """An output folder with a finished run `svm` and what tables there are."""
    folder = tmp_path_factory.mktemp("runs")
    assert cli.main(["train", *_flags(data_dir, folder)]) == 0
    return folder


@pytest.fixture
def output_dir(made, tmp_path):
    """A copy of `made`, to be damaged at will."""
    return shutil.copytree(made, tmp_path / "runs")


def _flags(data_dir, output_dir, *more):
    return [f"--data_dir={data_dir}", f"--output_dir={output_dir}", "--model=svm", *more]


def _config(*arguments):
    return config.parse(_flags(*arguments))[0]


def _hash(folder):
    """Names, bytes and times of all that lies in a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(f"{path.relative_to(folder)} {path.lstat().st_mtime_ns}\n".encode())
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


# What is no run


@pytest.mark.parametrize("flag", ["--overwrite", "--resume"])
@pytest.mark.parametrize(
    "names",
    [
        [".secret"],
        [".git/HEAD", ".env"],
        ["config.flags"],
        ["config.flags", "environment.json"],
        ["metrics.json", "model.keras"],
        ["saved_model/1/saved_model.pb"],
        [".dfk-run"],
    ],
)
def test_a_folder_that_dfk_did_not_mark_is_no_run(data_dir, tmp_path, names, flag):
    for name in names:
        path = tmp_path / "runs" / "svm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if name.endswith(".json") else "--epochs=3\n")
    before = _hash(tmp_path)
    with pytest.raises(UsageError, match="is no run"):
        training.run(_config(data_dir, tmp_path / "runs", flag))
    assert _hash(tmp_path) == before


def test_a_file_and_a_link_are_no_run(data_dir, tmp_path):
    (tmp_path / "svm").write_text("mine")
    with pytest.raises(UsageError, match="is no run"):
        training.run(_config(data_dir, tmp_path, "--overwrite"))
    (tmp_path / "svm").unlink()
    (tmp_path / "svm").symlink_to("nowhere")
    with pytest.raises(UsageError, match="is no run"):
        training.run(_config(data_dir, tmp_path, "--overwrite"))


def test_a_link_to_a_run_is_not_replaced(data_dir, output_dir):
    (output_dir / "svm").rename(output_dir / "elsewhere")
    (output_dir / "svm").symlink_to("elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        training.run(_config(data_dir, output_dir, "--overwrite"))
    assert training.run(_config(data_dir, output_dir, "--resume"))["n"] == 9


def test_an_empty_folder_may_become_a_run(data_dir, tmp_path):
    (tmp_path / "svm").mkdir()
    assert training.run(_config(data_dir, tmp_path))["n"] == 9


def test_a_run_of_before_the_mark_is_one(data_dir, output_dir):
    (output_dir / "svm" / runs.MARK).unlink()
    assert runs.is_run(output_dir / "svm")
    assert training.run(_config(data_dir, output_dir, "--overwrite"))["n"] == 9
    assert (output_dir / "svm" / runs.MARK).is_file()


def test_names_of_a_run_that_are_not_of_dfks_kind_are_not_replaced(data_dir, output_dir):
    (output_dir / "svm" / "submission.csv").unlink()
    (output_dir / "svm" / "submission.csv" / "mine").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not what dfk writes there"):
        training.run(_config(data_dir, output_dir, "--overwrite"))


# --overwrite


def test_overwrite_keeps_and_names_what_dfk_did_not_write(data_dir, output_dir, logged):
    run_dir = output_dir / "svm"
    theirs = ["notes.txt", "plots/a.png", ".hidden", "tensorboard/train/mine.txt"]
    theirs += ["saved_model/README.md", "saved_model/7/weights.bin", "saved_model/1/notes.txt"]
    dfks = ["tensorboard/train/events.out.tfevents.1.v2", "saved_model/1/saved_model.pb"]
    dfks += ["saved_model/1/assets.extra/dfk.json", "checkpoint.npz"]
    for name in [*theirs, *dfks]:
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).write_text(f"{name}\n")
    training.run(_config(data_dir, output_dir, "--overwrite", "--seed=1"))
    assert {name: (run_dir / name).read_text() for name in theirs} == {n: f"{n}\n" for n in theirs}
    assert not any((run_dir / name).exists() for name in dfks)
    assert "--seed=1" in (run_dir / runs.FLAGS).read_text()
    named = logged.text.split("Kept in ")[1]
    assert all(name.split("/")[0] in named for name in theirs)
    assert {path.name for path in output_dir.iterdir()} == {
        "svm",
        "results.md",
        "results.json",
        "index.html",
    }


def test_the_old_run_stands_until_the_new_one_does(data_dir, output_dir, monkeypatch):
    before = _hash(output_dir / "svm")

    def interrupted(*_, **__):
        assert _hash(output_dir / "svm") == before
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("dfk.reports.scored.write_report", interrupted)
        training.run(_config(data_dir, output_dir, "--overwrite", "--seed=1"))
    assert _hash(output_dir / "svm") == before
    assert (output_dir / ".svm.new" / runs.MARK).is_file()
    # The old one is still what its own flags mean.
    assert training.run(_config(data_dir, output_dir, "--resume"))["seed"] == 0
    # The line that Ctrl-C prints goes on with the new one.
    assert training.run(_config(data_dir, output_dir, "--resume", "--seed=1"))["seed"] == 1
    assert "--seed=1" in (output_dir / "svm" / runs.FLAGS).read_text()
    assert not (output_dir / ".svm.new").exists()


@pytest.mark.parametrize("killed_at", range(4))
def test_a_kill_while_the_new_run_takes_its_place_is_made_up_for(
    data_dir, output_dir, monkeypatch, killed_at
):
    (output_dir / "svm" / "notes.txt").write_text("mine")
    (output_dir / "svm" / "plots").mkdir()
    rename, calls = os.rename, []

    def killed(*paths):
        calls.append(paths)
        if len(calls) > killed_at:
            raise KeyboardInterrupt
        rename(*paths)

    settings = _config(data_dir, output_dir, "--overwrite", "--seed=1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", killed)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # A kill leaves everything.
        training.run(settings)
    again = _config(data_dir, output_dir, "--resume", "--seed=1")
    assert training.run(again)["seed"] == 1
    assert (output_dir / "svm" / "notes.txt").read_text() == "mine"
    assert (output_dir / "svm" / "plots").is_dir()
    files.sweep(output_dir)
    assert {path.name for path in output_dir.iterdir()} == {
        "svm",
        "results.md",
        "results.json",
        "index.html",
    }


def test_another_overwrite_starts_anew(data_dir, output_dir):
    settings = _config(data_dir, output_dir, "--overwrite", "--seed=1")
    with pytest.raises(KeyboardInterrupt), runs.prepared(settings, {"data": {"fingerprint": "x"}}):
        (output_dir / ".svm.new" / runs.CHECKPOINT).write_text("half")
        raise KeyboardInterrupt
    assert training.run(_config(data_dir, output_dir, "--overwrite", "--seed=2"))["seed"] == 2
    assert not (output_dir / ".svm.new").exists()


def test_what_is_not_finished_is_no_row(made, data_dir, output_dir):
    shutil.copytree(output_dir / "svm", output_dir / ".svm.new")
    write_results(output_dir)
    assert (output_dir / "results.md").read_text().count("| svm") == 1


# Refused commands change nothing


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A network of other classes."""
    path = tmp_path_factory.mktemp("other") / "other.keras"
    shape = {"input_shape": (8, 8, 3), "filters": (2,), "dropout": (0,)}
    DeepFakeNet(classes=2, class_names=("x", "y"), **shape).save(path)
    return path


NETWORK = ("--model=deepfakenet", "--experiment=svm")
REFUSED = {
    "a class that is not there": ("--class_weight=nobody:2",),
    "the same of a network": (*NETWORK, "--class_weight=nobody:2"),
    "a class to leave out that is not there": ("--exclude_class=nobody",),
    "an unknown member": ("--model=ensemble", "--experiment=svm", "--members=nobody,nobody2"),
    "its own member": ("--model=ensemble", "--experiment=svm", "--members=svm,svm"),
    "members of other classes": ("--model=ensemble", "--experiment=svm", "--members={0},{0}"),
    "its own teacher": (*NETWORK, "--teacher=svm"),
    "a teacher of other classes": (*NETWORK, "--teacher={0}"),
    "its own start": ("--model=vgg16", "--experiment=svm", "--vgg16_weights=svm"),
    "weights that are not there": ("--model=vgg16", "--experiment=svm", "--vgg16_weights=a.h5"),
    "a start that is no VGG16": ("--model=vgg16", "--experiment=svm", "--vgg16_weights={0}"),
    "an unknown augmentation": (*NETWORK, "--augment=blurr"),
    "a crop larger than the images": (*NETWORK, "--image_size=0", "--train_crop=99"),
    "images that are too small": (*NETWORK, "--image_size=4"),
    "an export of an SVM": ("--export",),
    "missing data": ("--data_dir=/nowhere",),
    "a bad image": ("--data_dir={1}",),
    "an unknown flag": ("--no_such_flag=1",),
    "a hidden name": ("--experiment=.svm.new",),
}


@pytest.fixture(scope="module")
def bad_data(tmp_path_factory):
    folder = write_kaggle(tmp_path_factory.mktemp("bad"), counts={"train": 20}, classes="012")
    next((folder / "train").iterdir()).write_bytes(b"no image")
    return folder


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras, of another's weights
@pytest.mark.parametrize("flag", ["--overwrite", "--resume", ""])
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_command_changes_nothing(
    case, flag, made, data_dir, other, bad_data, capsys, monkeypatch
):
    monkeypatch.chdir(made)
    more = [x.format(other, bad_data) for x in REFUSED[case]] + [flag] * bool(flag)
    before = _hash(made)
    assert cli.main(["train", *_flags(data_dir, made, *more)]) in (1, 2)
    error = capsys.readouterr().err
    assert "dfk: " in error and "Traceback" not in error
    assert _hash(made) == before


@pytest.mark.parametrize("case", ["a class that is not there", "a bad image", "missing data"])
def test_nor_does_it_make_anything(case, tmp_path, data_dir, other, bad_data):
    more = [x.format(other, bad_data) for x in REFUSED[case]]
    assert cli.main(["train", *_flags(data_dir, tmp_path / "new", *more)]) in (1, 2)
    assert not (tmp_path / "new").exists()


def test_tables_of_others_are_not_replaced(data_dir, tmp_path):
    (tmp_path / "results.md").write_text("# My results\n")
    with pytest.raises(UsageError, match=r"results\.md is there and dfk did not write it"):
        training.run(_config(data_dir, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["results.md"]


# Kills

HELD = """
import sys, time
from pathlib import Path
from dfk.system import files
with files.scratch(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_was_writing_is_swept_by_the_next_start(data_dir, tmp_path):
    run_dir = tmp_path / "svm"
    run_dir.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, run_dir], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    (left,) = run_dir.iterdir()
    files.sweep(run_dir)
    assert (left / "half").is_file()  # In use
    process.kill()
    process.communicate()
    (run_dir / ".model.keras").write_text("half, by an older dfk")
    (run_dir / ".config.flags.abcd_123").write_text("")
    training.run(_config(data_dir, tmp_path))
    assert not any(p.name.startswith(".") and p.name != runs.MARK for p in run_dir.iterdir())


def test_a_training_killed_while_it_writes_leaves_nothing_after_the_next(data_dir, output_dir):
    command = [sys.executable, "run_experiments.py"]
    command += _flags(data_dir, output_dir, *NETWORK, "--image_size=16", "--batch_size=4")
    command += ["--epochs=40", "--precision=float32"]
    before = _hash(output_dir / "svm")
    process = subprocess.Popen([*command, "--overwrite"], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(output_dir.glob(f".svm.new/{files.SCRATCH}*/{runs.CHECKPOINT}")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _hash(output_dir / "svm") == before
    settings = config.parse([*command[2:], "--resume"])[0]
    with runs.prepared(settings, json.loads((output_dir / "svm/environment.json").read_text())):
        left = {path.name for path in (output_dir / ".svm.new").iterdir()}
        assert not any(name.startswith(files.SCRATCH) for name in left)
        assert runs.working_folder(settings) == output_dir / ".svm.new"
        (output_dir / ".svm.new" / runs.METRICS).write_bytes(
            (output_dir / "svm" / runs.METRICS).read_bytes()
        )
    assert not (output_dir / ".svm.new").exists()


EXPORT = """
import sys, time
from pathlib import Path
from dfk import export
from dfk.export import check
def hang(*_):
    print("ready", flush=True)
    time.sleep(600)
check.largest_difference = hang
export.export(Path(sys.argv[1]), Path(sys.argv[2]))
"""
DEMO = """
import sys, time
from pathlib import Path
from dfk.data import embedded
def hang(*_):
    print("ready", flush=True)
    time.sleep(600)
embedded._publish = hang
embedded.write_demo(Path(sys.argv[2]), train=5, validation=5, test=5)
"""


@pytest.mark.parametrize("script", [EXPORT, DEMO])
def test_what_a_killed_export_or_demo_left_is_swept(script, other, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", script, other, tmp_path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(files.SCRATCH)
    if script == EXPORT:
        assert export.export(other, tmp_path).folder == tmp_path / "1"
    else:
        write_demo(tmp_path, train=5, validation=5, test=5)
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_a_checkpoint_that_a_kill_left_beside_the_metrics_goes(data_dir, output_dir):
    (output_dir / "svm" / runs.CHECKPOINT).write_bytes(b"")
    training.run(_config(data_dir, output_dir, "--resume"))
    assert not (output_dir / "svm" / runs.CHECKPOINT).exists()


# Damaged files


@pytest.mark.parametrize("content", ["{}", "[]", "{", '"x"', b"\xff\xfe", "", "[" * 5000, "1e999"])
@pytest.mark.parametrize("name", [runs.METRICS, runs.ENVIRONMENT])
def test_a_damaged_file_of_a_run_is_named_and_nothing_changes(
    name, content, data_dir, output_dir, capsys
):
    data = content if isinstance(content, bytes) else content.encode()
    (output_dir / "svm" / name).write_bytes(data)
    before = _hash(output_dir)
    assert cli.main(["train", *_flags(data_dir, output_dir, "--resume")]) == 2
    error = capsys.readouterr().err
    assert f"{name} is damaged" in error and "--overwrite" in error
    assert _hash(output_dir) == before


@pytest.mark.parametrize("content", [b"", b"\xff", b"epoch\n1\n", b"PK\x03\x04", b"\0" * 99])
@pytest.mark.parametrize("name", [runs.HISTORY, runs.CHECKPOINT, runs.FLAGS])
def test_damaged_files_of_an_unfinished_run(name, content, data_dir, output_dir, capsys):
    (output_dir / "svm" / runs.METRICS).unlink()
    (output_dir / "svm" / name).write_bytes(content)
    before = _hash(output_dir)
    assert cli.main(["train", *_flags(data_dir, output_dir, "--resume")]) == 2
    assert name in capsys.readouterr().err or name == runs.FLAGS
    assert _hash(output_dir) == before


TEXTS = st.one_of(
    *map(st.just, ("", "{}", "[]", "null", "{" * 9999, '{"a":1e999}', "\0", "\ud800", "NaN")),
    st.text(max_size=40),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@st.composite
def damaged(draw, whole: bytes):
    """What may become of a file: cut, overwritten, other text, or JSON with a field replaced."""
    kind = draw(st.sampled_from(("cut", "bytes", "text", "field")))
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole) - 1))]
    if kind == "bytes":
        at = draw(st.integers(0, len(whole)))
        return whole[:at] + draw(st.binary(min_size=1, max_size=20)) + whole[at + 4 :]
    try:
        value = json.loads(whole)
    except ValueError:
        kind = "text"
    if kind == "text":
        return draw(TEXTS).encode(errors="surrogatepass")
    return json.dumps(value | {draw(st.sampled_from(sorted(value))): draw(VALUES)}).encode()


NAMES = (runs.METRICS, runs.ENVIRONMENT, runs.FLAGS, runs.HISTORY, runs.PREDICTIONS)


@pytest.mark.parametrize("name", (*NAMES, runs.CHECKPOINT, runs.MARK))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_whatever_becomes_of_a_file_is_a_message_or_an_answer(name, drawn, made, data_dir, capsys):
    with tempfile.TemporaryDirectory() as scratch:
        output_dir = shutil.copytree(made, Path(scratch) / "runs")
        path = output_dir / "svm" / name
        if name == runs.HISTORY:
            path.write_text(",".join(HISTORY) + "\n1,1,1,1,1,1\n")
        if name == runs.CHECKPOINT:
            _checkpoint(path, **{"model/0": np.zeros(3), "best/0": np.ones(2)})
        if name in (runs.HISTORY, runs.CHECKPOINT):
            (output_dir / "svm" / runs.METRICS).unlink()
        path.write_bytes(drawn.draw(damaged(path.read_bytes())))
        for command in (
            ["train", *_flags(data_dir, output_dir, "--resume")],
            ["compare", str(made / "svm"), str(output_dir / "svm")],
            ["info", str(output_dir / "svm")],
        ):
            code = cli.main(command)
            message = capsys.readouterr().err
            assert code in (0, 1, 2) and ("dfk: " in message or not code), message
        write_results(output_dir)


def _checkpoint(path, **arrays):
    state = {"phase": 0, "epochs": 0, "stopped": False, "history": []}
    state |= {"seconds": 0.0, "callbacks": {}}
    np.savez(path, **({"state": np.array(json.dumps(state))} | arrays))


@pytest.mark.parametrize(
    "arrays",
    [
        {"state": np.array("[]")},
        {"state": np.array('{"phase": -1}')},
        {"state": np.array([{}], dtype=object)},
        {"model/0": np.array([print], dtype=object)},
        {"others": np.zeros(3)},
    ],
)
def test_foreign_arrays_are_refused(arrays, data_dir, output_dir):
    (output_dir / "svm" / runs.METRICS).unlink()
    _checkpoint(output_dir / "svm" / runs.CHECKPOINT, **arrays)
    with pytest.raises(UsageError, match=r"checkpoint\.npz is damaged; --overwrite"):
        training.check([_config(data_dir, output_dir, "--resume")])


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(data_dir, output_dir):
    (output_dir / "svm" / runs.METRICS).unlink()
    path = output_dir / "svm" / runs.CHECKPOINT
    state = {"phase": 0, "epochs": 0, "stopped": False, "history": [], "seconds": 0}
    np.savez_compressed(
        path,
        state=np.array(json.dumps(state | {"callbacks": {}})),
        **{"model/0": np.zeros(10_000_000, np.uint8)},
    )
    assert path.stat().st_size < 100_000
    with pytest.raises(UsageError, match=r"checkpoint\.npz is damaged"):
        training.check([_config(data_dir, output_dir, "--resume")])


def test_another_networks_checkpoint_is_refused_before_it_trains(data_dir, tmp_path):
    flags = [*NETWORK, "--image_size=16", "--resume", "--precision=float32"]
    settings = _config(data_dir, tmp_path, *flags)
    with pytest.raises(KeyboardInterrupt), runs.prepared(settings, _environment(settings)):
        _checkpoint(settings.run_dir / runs.CHECKPOINT, **{"model/0": np.zeros(3)})
        raise KeyboardInterrupt
    before = _hash(tmp_path)
    with pytest.raises(UsageError, match="is of another network; --overwrite"):
        training.run(settings)
    assert _hash(tmp_path) == before


def _environment(settings):
    return {"data": {"fingerprint": training.load_data(settings).fingerprint}}


def test_what_was_finished_and_is_no_run_any_more_is_not_lost(data_dir, output_dir):
    settings = _config(data_dir, output_dir, "--overwrite")
    with (
        pytest.raises(DfkError, match="is no run any more"),
        runs.prepared(settings, {"data": {"fingerprint": "x"}}) as work,
    ):
        (output_dir / "svm").rename(output_dir / "moved")
        (output_dir / "svm").mkdir()
        (output_dir / "svm" / "mine").write_text("mine")
    assert work.is_dir() and (output_dir / "svm" / "mine").is_file()
