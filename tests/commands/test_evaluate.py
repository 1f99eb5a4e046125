"""`dfk evaluate` and `dfk compare`: on sets with other names, and between runs."""

import csv
import io
import json
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

import dfk
from dfk import cli
from dfk.commands.parser import pairs
from dfk.reports import labelled
from tests.datasets import write_csv, write_folders, write_kaggle
from tests.networks import save_tiny

CLASSES = ("0", "1", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("runs") / "mine.keras", CLASSES, seed=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_kaggle(folder, counts={"train": 9, "validation": 31}, classes=CLASSES)


def _evaluate(model, data, *more):
    return cli.main(["evaluate", model, f"--data_dir={data}", *more])


def test_it_writes_what_a_run_writes(model, data, tmp_path, capsys):
    assert _evaluate(model, data, f"--output_dir={tmp_path / 'out'}") == 0
    out = capsys.readouterr().out
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"metrics.json", "predictions.csv", "report.html"}
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    with open(tmp_path / "out" / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    paths = [data / "validation" / f"{row['image_id']}.png" for row in rows]
    found = dfk.load(model).predict(paths)
    assert [row["predicted"] for row in rows] == [p.label for p in found]
    assert metrics["accuracy"] == np.mean([row["label"] == row["predicted"] for row in rows])
    assert (metrics["split"], metrics["n"]) == ("validation", 31)
    assert (metrics["model"], metrics["model_path"]) == ("deepfakenet", model)
    assert f"accuracy  {metrics['accuracy']:.2%}" in out
    assert [row["n"] for row in metrics["resaved"]] == [31, 31]
    assert f"Saved again as JPEG 75, {metrics['resaved'][1]['changed']} of 31 images" in out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Most confident mistakes" in page and "dfk evaluate" in page


def test_what_is_in_doubt_is_the_last_column_and_counted(data, tmp_path, capsys):
    record = {
        "sizes": [[16, 16], [16, 16]],
        "crop": 0,
        "formats": [{"PNG": 9}, {"PNG": 9}, {"PNG": 9, "GIF": 1}],
        "demo": False,
    }
    path = save_tiny(tmp_path / "m.keras", CLASSES, seed=3, trained_on=record)
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    (image,) = (folder / "validation").glob("*0001.png")
    with Image.open(image) as png:
        png.convert("P").save(image, "GIF")
    assert _evaluate(path, folder, f"--output_dir={tmp_path / 'out'}") == 0
    doubt = "GIF: only 2 was in training"
    assert f"dfk: 1 of 31 answers are in doubt: 1 {doubt}\n" in capsys.readouterr().err
    with open(tmp_path / "out" / "predictions.csv") as file:
        head, *rows = csv.reader(file)
    assert head[4:] == [*CLASSES, "doubt"]
    assert [row[-1] for row in rows] == ["", doubt, *[""] * 29]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["doubts"] == {doubt: 1}


def test_fewer_classes_with_other_names(model, tmp_path, capsys):
    data = write_folders(
        tmp_path / "data", counts={"test": 12}, classes=("a", "b"), test_labels=True
    )
    assert _evaluate(model, data) == 2
    err = capsys.readouterr().err
    assert "no class for the labels a, b; it knows 0, 1, 2" in err and "--class_map=a:0" in err
    assert _evaluate(model, data, "--class_map=a:2,b:2", "--format=json") == 0
    metrics = json.loads(capsys.readouterr().out)
    assert [row["support"] for row in metrics["per_class"]] == [0, 0, 12]
    assert (metrics["split"], metrics["n"]) == ("test", 12)
    assert _evaluate(model, data, "--class_map=a:2,c:0") == 2
    assert "--class_map names c; no image has that label" in capsys.readouterr().err


def test_what_cannot_be_read_is_named_and_left_out(model, tmp_path, capsys):
    data = write_kaggle(tmp_path / "data", counts={"validation": 10}, classes=CLASSES)
    images = sorted((data / "validation").iterdir())
    images[2].write_bytes(b"")
    images[5].unlink()
    assert _evaluate(model, data, "--format=json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["n"] == 8
    assert "left out 2 images" in err
    assert "validation0002.png: the file is empty" in err and "validation0005" in err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--split=test"], 1, "has no split test; it has train, validation"),
        (["--class_map=a"], 2, "'a' is not LABEL:CLASS"),
        (["--data_dir=no/such"], 2, "no/such: no such folder"),
    ],
)
def test_a_mistake_is_one_message(more, code, message, model, data, capsys):
    assert _evaluate(model, data, *more) == code
    assert message in capsys.readouterr().err


def test_a_split_without_labels_and_a_run_as_output_are_refused(model, tmp_path, capsys):
    data = write_kaggle(tmp_path / "data", counts={"train": 6, "test": 3}, classes=CLASSES)
    assert _evaluate(model, data, "--split=test") == 1
    assert "its split test has no labels" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.flags").write_text("")
    assert _evaluate(model, data, f"--output_dir={tmp_path / 'run'}") == 2
    assert "is the folder of a run" in capsys.readouterr().err
    assert _evaluate(model, data, "--format=json") == 0  # The only split with labels
    assert json.loads(capsys.readouterr().out)["split"] == "train"


# Comparison


def _answers(path, answers, labels="000111"):
    rows = [(f"i{n}", label, a) for n, (label, a) in enumerate(zip(labels, answers, strict=True))]
    path.parent.mkdir()
    write_csv(path, rows, ("image_id", "label", "predicted"))
    return str(path.parent)


def test_two_runs_are_compared_on_what_both_answered(tmp_path, capsys):
    a = _answers(tmp_path / "a" / "predictions.csv", "000110")
    b = _answers(tmp_path / "b" / "predictions.csv", "100012")
    assert cli.main(["compare", a, b]) == 0
    out = capsys.readouterr().out
    assert "accuracy 83.33%, 2 images right that B is not" in out
    assert "p = 0.5, no more than chance" in out
    assert "B - A  -33.33 points  (95 % interval -66.67 to +0.00" in out
    assert "i5: 1; A 0, B 2" in out
    assert cli.main(["compare", a, f"{b}/predictions.csv", "--format=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["image_id"] for row in rows] == ["i0", "i3", "i5"]
    assert rows[0] == {"image_id": "i0", "label": "0", "a": "0", "b": "1"}
    assert cli.main(["compare", a, b, "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["test"]["p_value"] == 0.5 and len(found["disagreements"]) == 3


def test_runs_that_cannot_be_compared(tmp_path, capsys):
    a = _answers(tmp_path / "a" / "predictions.csv", "000110")
    b = _answers(tmp_path / "b" / "predictions.csv", "000110", labels="100111")
    assert cli.main(["compare", a, b]) == 1
    assert "i0 is 0 in" in capsys.readouterr().err
    (tmp_path / "c.csv").write_text("x\n1\n")
    assert cli.main(["compare", a, str(tmp_path / "c.csv")]) == 1
    assert "c.csv is no predictions.csv" in capsys.readouterr().err
    assert cli.main(["compare", a, str(tmp_path / "none")]) == 2
    assert "none: no such file" in capsys.readouterr().err
    (tmp_path / "d.csv").write_text("image_id,label,predicted\nx,,1\n")
    assert cli.main(["compare", a, str(tmp_path / "d.csv")]) == 1
    assert "no labelled image in common" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv", "report.html"])
def test_files_of_others_are_not_written_over(name, tmp_path, capsys):
    (tmp_path / name).write_text("mine")
    assert cli.main(["evaluate", "unibuc", "--data_dir=demo", f"--output_dir={tmp_path}"]) == 2
    assert f"{tmp_path / name} is there and dfk did not write it" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:x,b=y", {"a": "x", "b": "y"}),
        ("a:b:x", {"a:b": "x"}),
        ("a=b:x", {"a": "b:x"}),
        ('"vae, large:gan",c:d', {"vae, large": "gan", "c": "d"}),
    ],
)
def test_a_class_map_may_name_any_class(text, expected):
    assert pairs(text) == expected


def test_names_are_compared_in_one_form_of_unicode(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    data = write_folders(tmp_path, counts={"validation": 4}, classes=(nfd, "x"))
    for model, text in [
        (nfd, "x:y"),
        (nfc, "x:y"),
        ("z", f"{nfd}:z,x:y"),
        (nfd, f"x:y,{nfd}:{nfc}"),
    ]:
        _, split, _ = labelled.read(str(data), None, ("y", model), pairs(text))
        assert sorted(split.labels) == [0, 0, 1, 1]


@pytest.mark.parametrize("text", ["", "a", ":x", "a:", '"a:x', "a:x,", "a:x\nb:y"])
def test_a_class_map_that_is_none_is_refused(text, capsys):
    assert cli.main(["evaluate", "unibuc", "--data_dir=demo", f"--class_map={text}"]) == 2
    err = capsys.readouterr().err
    assert "is not LABEL:CLASS" in err and err.count("\n") == 1
