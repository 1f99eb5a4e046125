"""`dfk predict` as a user calls it: a row for every image, whatever lies in the folder."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

import numpy as np
import pytest

import dfk
from dfk import cli
from dfk.data import sources
from dfk.errors import UsageError
from tests import corpus, declared
from tests.networks import save_tiny

CLASSES = ("gan", "real life", "vae, large")
DFK = (sys.executable, "-c", "import sys; from dfk import cli; sys.exit(cli.main())")
ENV = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "model.keras", CLASSES, seed=1)


@pytest.fixture
def images(tmp_path):
    """Three images in two folders."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        (tmp_path / "in" / name).write_bytes(corpus.encode(corpus.picture(i), "PNG"))
    return tmp_path / "in"


def _rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_folder_gives_csv_where_stdout_is_no_terminal(model, images, capsys):
    assert cli.main(["predict", model, str(images)]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["path", "label", "confidence", *CLASSES, "error", "doubt"]
    assert [row[0] for row in rows[1:]] == [
        f"{images}/{n}" for n in ("a.png", "b.png", "sub/c.png")
    ]
    for row in rows[1:]:
        probabilities = list(map(float, row[3:6]))
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert float(row[2]) == max(probabilities)
        assert row[1] == CLASSES[probabilities.index(max(probabilities))]
        assert row[6] == ""
    assert err == ""


def test_json_has_an_object_per_line(model, images, capsys):
    assert cli.main(["predict", model, str(images), "none.png", "--format=json"]) == 1
    *rows, missing = map(json.loads, capsys.readouterr().out.splitlines())
    assert [list(row["probabilities"]) for row in rows] == [list(CLASSES)] * 3
    assert all(row["probabilities"][row["label"]] == row["confidence"] for row in rows)
    expected = {"path": "none.png", "label": None, "confidence": None, "probabilities": None}
    reason = "cannot be read: No such file or directory"
    assert missing == {**expected, "error": reason, "doubt": None}


def test_a_table_lines_up_and_keeps_control_characters_from_the_terminal(model, tmp_path, capsys):
    for name in ("a.png", "\x1b[2J.png"):
        (tmp_path / name).write_bytes(corpus.encode(corpus.picture(), "PNG"))
    (tmp_path / "z.png").write_bytes(b"")
    assert cli.main(["predict", model, str(tmp_path), "--format=table"]) == 1
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["label", "confidence", "gan"] and "\x1b" not in "".join(lines)
    assert [line.index(str(tmp_path)) for line in lines[:2]] == [head.index("path", 30)] * 2
    assert lines[2].endswith("z.png: the file is empty")


@pytest.fixture
def claiming(tmp_path):
    """Two images that declare something, one that does not, and one that cannot be read."""
    (tmp_path / "c").mkdir()
    for name, data in {
        "a.png": declared.png(parameters='a "cat"\n=1', Software="x"),
        "b.jpg": corpus.encode(corpus.picture(), "JPEG", exif=declared.exif(Make="Canon")),
        "c.png": corpus.encode(corpus.picture(), "PNG"),
        "d.png": declared.png(parameters="a")[:300],
    }.items():
        (tmp_path / "c" / name).write_bytes(data)
    return tmp_path / "c"


CLAIMED = ['PNG parameters "a \'cat\' =1"; PNG Software "x"', 'EXIF Make "Canon"', ""]


def test_what_files_declare_is_a_column_and_changes_nothing_else(model, claiming, tmp_path, capsys):
    assert cli.main(["predict", model, str(claiming)]) == 1
    without = _rows(capsys.readouterr().out)
    assert cli.main(["predict", model, str(claiming), "--claims"]) == 1
    out, err = capsys.readouterr()
    assert "dfk: claims can be forged or stripped" in err
    rows = _rows(out)
    assert [*rows[0]][-1] == "claims"
    assert [row.pop("claims") for row in rows] == [*CLAIMED, ""] and rows == without
    assert cli.main(["predict", model, str(claiming), "--claims", "--format=json"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["claims"] for line in lines] == [*CLAIMED, None]
    assert cli.main(["predict", model, str(claiming), "--claims", "--format=table"]) == 1
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["claims", "path"] and CLAIMED[0] in lines[0]


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_rows_with_claims_are_continued(suffix, model, claiming, tmp_path, capsys):
    output = tmp_path / f"out.{suffix}"
    call = ["predict", model, f"--output={output}", "--claims", f"--format={suffix}"]
    assert cli.main([*call, str(claiming / "a.png")]) == 0
    assert cli.main([*call, str(claiming)]) == 1
    whole = output.read_bytes()
    assert cli.main([*call, str(claiming)]) == 1 and output.read_bytes() == whole
    assert [*map(whole.decode().count, ("EXIF", "parameters"))] == [1, 1]
    assert cli.main([*call[:3], f"--format={suffix}", str(claiming)]) == 2
    assert "choose another --output" in capsys.readouterr().err


def test_python_reads_the_claims_of_paths_and_bytes_where_it_is_asked_to(model, claiming):
    content = (claiming / "b.jpg").read_bytes()
    images = [claiming / "a.png", content, io.BytesIO(content), np.zeros((9, 9, 3), np.uint8)]
    classifier = dfk.load(model)
    found = classifier.predict(images, claims=True)
    assert [row.claims for row in found] == [CLAIMED[0], CLAIMED[1], CLAIMED[1], ""]
    assert {row.claims for row in classifier.predict(images)} == {""}


def test_less_than_min_confidence_is_unknown(model, images, capsys):
    assert cli.main(["predict", model, str(images), "--min_confidence=1"]) == 0
    rows = _rows(capsys.readouterr().out)
    assert {row["label"] for row in rows} == {"unknown"}
    assert all(float(row["confidence"]) < 1 for row in rows)


def test_what_is_unlike_the_training_images_is_in_doubt_and_counted(images, tmp_path, capsys):
    record = {
        "sizes": [[40, 40], [40, 40]],
        "crop": 0,
        "formats": [{"PNG": 9}] * 3,
        "demo": False,
    }
    path = save_tiny(tmp_path / "m.keras", CLASSES, seed=1, trained_on=record)
    size = "x".join(map(str, corpus.picture().size))
    (images / "b.png").write_bytes(corpus.encode(corpus.picture(), "JPEG"))
    (images / "z.png").write_bytes(b"")
    output = tmp_path / "out.csv"
    arguments = ["predict", path, str(images), f"--output={output}"]
    assert cli.main(arguments) == 1
    by_size, both = f"{size}: trained on 40x40", f"{size}: trained on 40x40; JPEG: trained on PNG"
    rows = _rows(output.read_text())
    assert {os.path.basename(row["path"]): row["doubt"] for row in rows} == {
        **{"a.png": by_size, "b.png": both, "c.png": by_size, "z.png": ""}
    }
    expected = (
        "dfk: 3 of 3 answers are in doubt: 3 other size: trained on 40x40; 1 JPEG: trained on PNG\n"
    )
    assert expected in capsys.readouterr().err
    assert cli.main(arguments) == 1  # They are read again, and counted.
    assert expected in capsys.readouterr().err
    save_tiny(path, CLASSES, seed=1)  # Answers alike, and doubts nothing
    assert cli.main(arguments) == 2
    assert f"in doubt: {by_size}, is now" in capsys.readouterr().err


def test_paths_from_stdin(model, images):
    names = [str(images / "a.png"), str(images / "b.png")]
    image = (images / "a.png").read_bytes()
    for stdin, expected in (("\n".join(names).encode(), names), (image, ["-"])):
        found = list(sources.find(["-"], io.BufferedReader(io.BytesIO(stdin))))
        assert [source.name for source in found] == expected
    done = subprocess.run([*DFK, "predict", model, "-"], input=image, capture_output=True, env=ENV)
    (row,) = _rows(done.stdout.decode())
    assert row["path"] == "-" and row["error"] == ""
    assert (done.returncode, done.stderr) == (0, b"")


def test_it_needs_neither_plots_nor_reports_nor_heat_maps(model, images):
    """In a process without matplotlib, which Keras itself imports where it is."""
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from dfk import cli; code = cli.main()\n"
        "print(code, *(name for name in sys.modules if name.startswith('dfk.')))"
    )
    arguments = ["predict", model, str(images), "--format=json"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, env=ENV)
    assert (done.returncode, done.stderr) == (0, b"")
    code, *imported = done.stdout.decode().splitlines()[-1].split()
    assert code == "0" and "dfk.inference.formats" in imported
    unwanted = ("dfk.reports", "dfk.inference.explain", "dfk.inference.on_ray", "dfk.export")
    assert not [name for name in imported if name.startswith(unwanted)]


# Whatever may lie in a folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return folder, *corpus.write(folder)


def test_every_file_has_one_row_whatever_it_is(model, folder, tmp_path, capfd):
    folder, answered, refused = folder
    output = tmp_path / "out.csv"
    assert cli.main(["predict", model, str(folder), f"--output={output}"]) == 1
    with open(output, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = sources.text
    assert Counter(row["path"] for row in rows) == Counter(map(text, answered | refused))
    assert {row["path"] for row in rows if row["error"]} == set(map(text, refused))
    out, err = capfd.readouterr()
    assert "Traceback" not in err and not out
    assert f"{len(refused)} of {len(rows)} images could not be read" in err


def test_the_same_as_json(model, folder, tmp_path):
    folder, answered, refused = folder
    output = tmp_path / "out.json"
    assert cli.main(["predict", model, str(folder), "--format=json", f"--output={output}"]) == 1
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert {row["path"] for row in rows if row["error"]} == set(map(sources.text, refused))
    assert len(rows) == len(answered | refused)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_what_may_not_be_read_has_a_row(model, images):
    """In a process of its own: an import that fails for another user fails from then on."""
    (images / "b.png").chmod(0)
    (images / "sub").chmod(0)
    program = (
        "import contextlib, io, os, sys\n"
        "from dfk import cli\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    assert cli.main() == 0  # All that it imports, while it may be read\n"
        "os.seteuid(65534)\n"
        "sys.exit(cli.main())"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for its user only
        os.chmod(folder, 0o755)
        shutil.copy(model, f"{folder}/model.keras")
        images = shutil.move(images, folder)
        command = [sys.executable, "-c", program, "predict", f"{folder}/model.keras", images]
        done = subprocess.run(command, capture_output=True, env=ENV, text=True)
    errors = [row["error"] for row in _rows(done.stdout)]
    denied = ("cannot be read: Permission denied", "cannot be searched: Permission denied")
    assert (done.returncode, errors) == (1, ["", *denied]), done.stderr


# --output is continued


def _predict(model, folder, output, *more):
    return ["predict", model, str(folder), "--batch_size=8", f"--output={output}", *more]


def test_after_a_sigkill_the_same_file(model, tmp_path):
    folder = tmp_path / "images"
    corpus.write(folder)
    for i in range(400):
        (folder / f"n{i:04}.png").write_bytes(corpus.encode(corpus.picture(i), "PNG"))
    whole, killed = tmp_path / "whole.csv", tmp_path / "killed.csv"
    process = subprocess.Popen([*DFK, *_predict(model, folder, killed)])
    while not killed.exists() or killed.stat().st_size < 5_000:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert cli.main(_predict(model, folder, whole)) == 1
    assert 0 < killed.stat().st_size < whole.stat().st_size
    assert cli.main(_predict(model, folder, killed)) == 1
    assert killed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_half_a_row_is_cut_off_wherever_it_ends(suffix, model, tmp_path):
    for name in ('a\n"b".png', "c.png", "d.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(corpus.encode(corpus.picture(), "PNG"))
    (tmp_path / "in" / "d.png").write_bytes(b"")
    output = tmp_path / "out"
    arguments = _predict(model, tmp_path / "in", output, f"--format={suffix}")
    assert cli.main(arguments) == 1
    whole = output.read_bytes()
    for length in range(0, len(whole), 41):
        output.write_bytes(whole[:length])
        assert cli.main(arguments) == 1
        assert output.read_bytes() == whole


def test_new_images_are_added_and_none_comes_twice(model, images, tmp_path):
    output = tmp_path / "out.csv"
    arguments = _predict(model, images, output)
    assert cli.main(arguments) == 0
    (images / "0.png").write_bytes((images / "a.png").read_bytes())
    (images / "a.png").unlink()
    assert cli.main(arguments) == 0
    assert cli.main(arguments) == 0
    names = [os.path.basename(row["path"]) for row in _rows(output.read_text())]
    assert names == ["a.png", "b.png", "c.png", "0.png"]


def test_a_file_of_something_else_is_refused_and_left_alone(model, images, tmp_path, capsys):
    output = tmp_path / "out.csv"
    for content in ("thesis", "path,label,confidence,other,error\n", "path,label\nx"):
        output.write_text(content)
        assert cli.main(_predict(model, images, output)) == 2
        assert "was not written with this model" in capsys.readouterr().err
        assert output.read_text() == content


def test_rows_of_another_threshold_are_not_continued(model, images, tmp_path, capsys):
    output = tmp_path / "out.csv"
    assert cli.main(_predict(model, images, output)) == 0
    assert cli.main(_predict(model, images, output, "--min_confidence=1")) == 2
    assert "written by another model or --min_confidence" in capsys.readouterr().err


# What a user may get wrong


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "required: MODEL"),
        (["MODEL"], 2, "required: IMAGE"),
        (["none", "a.png"], 2, "there is no model at none"),
        (["MODEL", "a.png", "--format=xml"], 2, "invalid choice: 'xml'"),
        (["MODEL", "a.png", "--min_confidence=2"], 2, "2 is not within 0..1"),
        (["MODEL", "a.png", "--batch_size=0"], 2, "0 is not a whole number from 1"),
        (["MODEL", "a.png", "--output=x", "--format=table"], 2, "--output takes"),
        (["MODEL", "a.png", "--output=no/such/folder/x.csv"], 1, "no/such/folder/x.csv"),
        (["MODEL", "EMPTY"], 1, "there is no image in"),
        (["MODEL", "none.csv"], 1, "none.csv: No such file"),
    ],
)
def test_a_mistake_is_one_message(arguments, code, message, model, tmp_path, capsys):
    places = {"MODEL": model, "EMPTY": str(tmp_path)}
    assert cli.main(["predict", *(places.get(a, a) for a in arguments)]) == code
    err = capsys.readouterr().err
    assert err.startswith("dfk: ") and message in err and err.count("\n") == 1


def test_help_says_what_a_closed_set_is(capsys):
    assert cli.main(["predict", "--help"]) == 0
    assert "gives EVERY image one of the generators" in capsys.readouterr().out


def test_a_reader_that_stops_is_no_error(model, images):
    (images / "0.jpg").write_bytes(corpus.bad()["cut1.jpg"])  # libjpeg has a word to say on it
    process = subprocess.Popen([*DFK, "predict", model, images], stdout=-1, stderr=-1, env=ENV)
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (141, b"")
    process.stderr.close()


@pytest.mark.parametrize("output", [[], ["--output=OUT"]])
def test_what_has_no_answer_is_counted_by_kind(output, model, images, capsys):
    for name in ("notes.txt", "a.heic", ".DS_Store"):
        (images / name).write_bytes(b"")
    (images / "scan").write_bytes(corpus.encode(corpus.picture(1), "TIFF"))
    (images / "b.png").write_bytes(b"")
    output = [x.replace("OUT", str(images.parent / "out.csv")) for x in output]
    for _ in range(1 + len(output)):
        assert cli.main(["predict", model, str(images), *output]) == 1
        out, err = capsys.readouterr()
        assert "2 of 4 images could not be read (1 .png, 1 without suffix); their rows" in err
        assert "left out what is no image: 1 hidden or of the system, 1 .heic, 1 .txt" in err
        assert output or "but TIFF: save it as PNG" in out


@pytest.mark.parametrize("output", ["", "out.csv"])
def test_an_interrupt_says_whether_the_same_command_continues(output, model, images, capsys):
    def interrupted(path, left_out):
        if threading.current_thread() is threading.main_thread():  # As Ctrl-C is
            raise KeyboardInterrupt
        return iter(())

    arguments = ["predict", model, str(images)] + [f"--output={images}/{output}"] * bool(output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_walk", interrupted)
        assert cli.main(arguments) == 130
    err = capsys.readouterr().err
    expected = (
        f"interrupted; the same command continues {images}/out.csv" if output else "interrupted"
    )
    assert err == f"dfk: {expected}\n"


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("new.csv", 1, "there is no image in"),
        ("list.csv", 2, "is to be read and to be written"),
        ("sub/../list.csv", 2, "is to be read and to be written"),
        ("in", 2, "is to be read and to be written"),
        ("sub/new.PNG", 2, "would be called as an image is"),
        ("other", 2, "no file that could be continued"),
    ],
)
def test_a_refused_output_changes_nothing(output, code, message, model, images, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "list.csv").write_text("path\n")
    files = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    given = [str(tmp_path / "list.csv")] + [str(images)] * (output == "in")
    assert cli.main(["predict", model, *given, f"--output={tmp_path / output}"]) == code
    err = capsys.readouterr().err
    assert err.startswith("dfk: ") and message in err and err.count("\n") == 1
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == files


def test_rows_of_images_that_are_gone_are_told_of(model, images, tmp_path, capsys):
    output = tmp_path / "out.csv"
    assert cli.main(_predict(model, images, output)) == 0
    images.rename(tmp_path / "moved")
    capsys.readouterr()
    assert cli.main(_predict(model, tmp_path / "moved", output)) == 0
    assert "whether this model wrote them was not checked" in capsys.readouterr().err


def test_a_class_called_unknown_is_no_answer(tmp_path, images, capsys):
    names = ("unknown", "label", "error")
    path = save_tiny(tmp_path / "old.keras", names, seed=1)
    assert cli.main(["predict", path, str(images), "--format=json"]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert list(json.loads(line)["probabilities"]) == list(names)
    for option in ("--min_confidence=0.5", "--unknown"):
        assert cli.main(["predict", path, str(images), option]) == 2
        err = capsys.readouterr().err
        assert "has a class 'unknown'" in err and err.count("\n") == 1
    with pytest.raises(UsageError, match="has a class 'unknown'"):
        dfk.load(path).predict(np.zeros((8, 8, 3), np.uint8), min_confidence=0.5)
