"""The command: its exit codes, and messages instead of stack traces."""

import subprocess
import sys

import pytest
import tensorflow  # noqa: F401 -- what it prints as it starts is none of the command's

import dfk
from dfk import cli
from tests.datasets import write_kaggle


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A small data set; its folder's name has a blank."""
    folder = tmp_path_factory.mktemp("my images")
    return write_kaggle(folder, counts={"train": 40, "validation": 10}, classes=("0", "1"))


def test_a_run_prints_the_table_on_stdout_and_progress_on_stderr(data_dir, tmp_path, capfd):
    arguments = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}", "--image_size=8"]
    assert cli.main(["train", *arguments, "--epochs=1", "--experiment=tiny"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("| experiment") and "| tiny" in out
    assert f"report  {tmp_path}/tiny/report.html" in out
    assert "        saved again as JPEG 95, " in out
    assert "epoch 1/1: loss" in err and "epoch" not in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predcit"], 2, "no command 'predcit'; did you mean predict? dfk --help lists them"),
        (["x"], 2, "no command 'x'; dfk --help lists them"),
        (["train"], 2, "--data_dir is missing"),
        (["train", "--data_dir=x", "--epochs=none"], 2, "epochs"),
        (["train", "--data_dir=no/such/folder"], 2, "no/such/folder: no such folder"),
    ],
)
def test_a_mistake_is_one_message_and_an_exit_code(arguments, code, message, capfd):
    assert cli.main(arguments) == code
    out, err = capfd.readouterr()
    assert err.startswith("dfk: ") and message in err
    assert "Traceback" not in err and not out


def test_a_folder_that_cannot_be_written_is_named(data_dir, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    arguments = [f"--data_dir={data_dir}", f"--output_dir={tmp_path / 'file'}", "--epochs=1"]
    assert cli.main(["train", *arguments, "--image_size=8"]) == 2
    assert f"dfk: {tmp_path / 'file'} is no folder" in capfd.readouterr().err


def test_python_runs_the_package_as_the_command():
    command = [sys.executable, "-m", "dfk"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{dfk.__version__}\n")
    assert subprocess.run([*command, "predcit"], capture_output=True).returncode == 2


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help_lists_the_commands_with_an_example(arguments, capsys):
    assert cli.main(arguments) == 0
    assert "dfk train --data_dir=demo" in capsys.readouterr().out


def test_help_of_train_lists_the_flags(capsys):
    assert cli.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--data_dir" in out and "--[no]resume" in out and "Examples" in out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == dfk.__version__


@pytest.mark.parametrize(
    ("backend", "message"), [("torch", "dfk runs on tensorflow or jax"), ("abc", "dfk runs on")]
)
def test_another_backend_is_one_message(backend, message, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert cli.main(["info", "none"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"dfk: KERAS_BACKEND={backend}: ") and message in err


def test_a_folder_that_is_no_text_is_refused(data_dir, tmp_path, capfd):
    arguments = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}/\udcff"]
    assert cli.main(["train", *arguments, "--epochs=1"]) == 2
    err = capfd.readouterr().err
    assert "--output_dir=" in err and err.count("\n") == 1 and not [*tmp_path.glob("*")]
