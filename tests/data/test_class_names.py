"""Names that a table, a screen or the answer `unknown` could not tell apart are refused."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from dfk import cli
from dfk.data import catalog, class_names, splits
from dfk.errors import UsageError
from dfk.runs.columns import ANSWERS, RESERVED


def _folders(root, names, splits=("train",)):
    for split in splits:
        for name in names:
            (root / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = np.full((4, 4, 3), i, np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, "column") for name in sorted(RESERVED - ANSWERS)),
        ("Label", "column"),
        ("unknown", "an answer"),
        ("Unsure", "an answer"),
        ("\udcff", "not UTF-8"),
        ("a\nb", "control"),
        ("a\0b", "control"),
        ("\x1b[2J", "control"),
        ("a\u202eb", "turn text round"),
        ("a\u2028b", "control"),
        ("", "blank"),
        ("  ", "blank"),
        (" a", "blank"),
        ("x" * 201, "201 characters"),
    ],
)
def test_a_name_that_cannot_be_is_told_why(name, reason):
    ((found, what),) = class_names.faults(["gan", name])
    assert found == name and reason in what


def test_names_that_look_alike_are_refused_together():
    names = ["é", "e\u0301", "GAN", "gan", "vae"]
    assert [name for name, _ in class_names.faults(names)] == names[:4]


def test_any_other_name_will_do():
    names = ["0", "a b", "a,b", "a|b", "a:b=2", "<b>", "$x$", "图" * 60, "zero\u200cwidth", "=1+1"]
    assert class_names.faults(names) == []


def test_the_class_that_is_renamed_may_be_in_another_form_of_unicode():
    given = {unicodedata.normalize("NFC", "é"): "e"}
    assert class_names.renamed((unicodedata.normalize("NFD", "é"), "x"), given) == ("e", "x")


def test_other_names_keep_their_order():
    assert class_names.renamed(["0", "1", "2"], {"2": "gan", "0": "vae"}) == ("vae", "1", "gan")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"3": "gan", "4": "vae"}, "names 3, 4; the classes are 0, 1"),
        ({"0": "1"}, "two of 1, 1 have one name"),
        ({"0": "doubt"}, "'doubt' is the name of a column"),
        ({"0": "a\nb"}, "control"),
    ],
)
def test_other_names_must_be_such_as_classes_have(given, message):
    with pytest.raises(UsageError, match=message):
        class_names.renamed(["0", "1"], given)


def test_all_of_them_are_told_before_training_with_the_way_out(tmp_path, capsys):
    bad = ["label", "unknown", os.fsdecode(b"\xff"), "two\nlines", "set"]
    _folders(tmp_path / "data", ["gan", *bad])
    arguments = [f"--data_dir={tmp_path / 'data'}", f"--output_dir={tmp_path / 'runs'}"]
    assert cli.main(["train", *arguments, "--image_size=8", "--epochs=1"]) == 1
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if "rename the folder, or the label" in line]
    assert len(lines) == len(bad) and "class '\\udcff': its name is not UTF-8" in err
    assert not (tmp_path / "runs").exists()


def test_labels_of_a_csv_are_looked_at_too(kaggle):
    table = kaggle / "train.csv"
    table.write_text(table.read_text().replace(",0\n", ",confidence\n"))
    (problem,) = [p for p in catalog.read(kaggle).problems if p.where.startswith("class ")]
    assert problem.where == "class 'confidence'" and not problem.skippable


def test_file_names_that_are_no_text_have_ids_that_are(tmp_path):
    _folders(tmp_path, ["a", "b"])
    (tmp_path / "train/a/0.png").rename(tmp_path / "train/a" / os.fsdecode(b"\xff.png"))
    split = splits.set_aside(catalog.read(tmp_path)).splits
    assert any("a/\\udcff.png" in x.ids for x in split.values())
