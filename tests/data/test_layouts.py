"""Data sets as they come: each file of them is used, or named."""

import io
import unicodedata

import numpy as np
import pytest
from PIL import Image

from dfk.data import catalog
from dfk.data.problems import DataError
from tests.datasets import names_by_id

NFC, NFD = "é", unicodedata.normalize("NFD", "é")


def _image(kind):
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(file, kind)
    return file.getvalue()


PNG, JPEG, TIFF = map(_image, ("PNG", "JPEG", "TIFF"))
TWO = {"train/a/0.png": PNG, "train/b/0.png": PNG}
TABLE = {"train/0.png": PNG, "train/1.png": PNG}


def _write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


# Files -> splits with their labels by id

READ = {
    **{
        f"folder {name}": (
            {**TWO, f"{name}/a/1.png": PNG},
            {"train": {"a/0.png": "a", "b/0.png": "b"}, split: {"a/1.png": "a"}},
        )
        for split, names in {
            "validation": ("val", "valid", "dev", "Validation", "VAL"),
            "test": ("Test", "testing"),
        }.items()
        for name in names
    },
    "Training/": ({"Training/a/0.png": PNG}, {"train": {"a/0.png": "a"}}),
    "val.csv beside validation/": (
        {"val.csv": "image_id,label\n0,a", "validation/0.png": PNG},
        {"validation": {"0": "a"}},
    ),
    "Dev.CSV beside dev/": (
        {"Dev.CSV": "image_id,label\n0,a", "dev/0.png": PNG},
        {"validation": {"0": "a"}},
    ),
    "semicolons": (
        {**TABLE, "train.csv": 'image_id;label\n0;"a;b"\n1;"a,b"'},
        {"train": {"0": "a;b", "1": "a,b"}},
    ),
    "tabs": (
        {**TABLE, "train.tsv": "\ufefflabel\timage_id\tnote\na\t0\tx,y\nb\t1\tz"},
        {"train": {"0": "a", "1": "b"}},
    ),
    "UTF-16 of a spreadsheet": (
        {**TABLE, "train.csv": f"image_id\tlabel\r\n0\t{NFC}\r\n1\tb\r\n".encode("utf-16")},
        {"train": {"0": NFC, "1": "b"}},
    ),
    "ids with suffixes": (
        {"train/0.png": PNG, "train/1.b.png": PNG, "train.csv": "image_id,label\n0.png,a\n1.b,b"},
        {"train": {"0.png": "a", "1.b": "b"}},
    ),
    "an id that only a suffix tells from another": (
        {"train/0.png": PNG, "train/0.jpg": JPEG, "train.csv": "image_id,label\n0.jpg,a\n0.png,b"},
        {"train": {"0.jpg": "a", "0.png": "b"}},
    ),
    "accents written otherwise": (
        {f"train/{NFD}.png": PNG, "train/1.png": PNG}
        | {"train.csv": f"image_id,label\n{NFC},{NFD}\n1,{NFC}"},
        {"train": {NFC: NFC, "1": NFC}},
    ),
    "accents of folders": (
        {f"train/{NFD}/{NFD}.png": PNG, "train/b/0.png": PNG, f"val/{NFC}/1.png": PNG},
        {"train": {f"{NFC}/{NFC}.png": NFC, "b/0.png": "b"}, "validation": {f"{NFC}/1.png": NFC}},
    ),
    "folders 007 and 7": (
        {"train/007/0.png": PNG, "train/7/0.png": PNG, "train/nan/0.png": PNG},
        {"train": {"007/0.png": "007", "7/0.png": "7", "nan/0.png": "nan"}},
    ),
    "what a file holds decides": (
        {"train/a/0.tif": JPEG, "train/a/1": PNG, "train/a/2.png": JPEG, "train/a/3.tif": TIFF}
        | {"train/a/4.jfif": JPEG, "train/a/5.pjpeg": JPEG, "train/a/6.JPE": JPEG},
        {
            "train": {
                f"a/{n}": "a"
                for n in ["0.tif", "1", "2.png", "3.tif", "4.jfif", "5.pjpeg", "6.JPE"]
            }
        },
    ),
    "no labels are nan": (
        {"test/0.png": PNG, "test.csv": "image_id,label\n0,nan"},
        {"test": {"0": ""}},
    ),
}


@pytest.mark.parametrize(("files", "expected"), READ.values(), ids=READ)
def test_a_set_is_read_as_it_comes(tmp_path, logged, files, expected):
    data = catalog.read(_write(tmp_path, files))
    assert {split: names_by_id(data, split) for split in data.splits} == expected
    assert not data.problems and not logged.records


# Files -> what is said of them

WRONG = {
    "a label in two spellings": (
        {f"train/{i}.png": PNG for i in range(4)}
        | {"train.csv": "image_id,label\n0,1\n1,01\n2,1\n3,1.0"},
        [
            f"train.csv:{n}: label {x!r} is another spelling of '1' (train.csv:2); write all alike"
            for n, x in ((3, "01"), (5, "1.0"))
        ],
    ),
    "spelled otherwise in another table": (
        {**TABLE, "train.csv": "image_id,label\n0,1\n1,1", "val/0.png": PNG}
        | {"val.csv": "image_id,label\n0,1.0"},
        ["val.csv:2: label '1.0' is another spelling of '1' (train.csv:2); write all alike"],
    ),
    "nan": (
        {**TABLE, "train.csv": "image_id,label\n0,a\n1,NaN"},
        ["train.csv:3: the label of '1' is missing"],
    ),
    "an image twice": (
        {**TABLE, "train.csv": "image_id,label\n0,a\n1.png,b\n1,b\n0.png,a"},
        [
            "train.csv:4: image_id '1' is a duplicate of line 3",
            "train.csv:5: image_id '0.png' is a duplicate of line 2",
        ],
    ),
    "a suffix that is not the file's": (
        {**TABLE, "train.csv": "image_id,label\n0,a\n1.jpg,b"},
        ["train.csv:3: there is no image train/1.jpg (.png, .jpg or another suffix)"],
    ),
    "one class in two folders": (
        {f"train/{NFC}/0.png": PNG, f"train/{NFD}/1.png": PNG},
        [f"train/{NFC}/: its name is that of another folder, with accents written otherwise"],
    ),
    "images beside no class folders": (
        {"Train/0.png": PNG, "Train/1.png": PNG},
        ["Train/: has 2 images and no class folders; sort the images into Train/<class>/, or"],
    ),
    "a class of the system": (
        {"train/__MACOSX/0.png": PNG},
        ["train/: has no class folders; sort"],
    ),
}


@pytest.mark.parametrize(("files", "problems"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(tmp_path, files, problems):
    found = list(map(str, catalog.read(_write(tmp_path, files)).problems))
    assert len(found) == len(problems)
    for problem, expected in zip(found, problems, strict=True):
        assert problem.startswith(expected)


REFUSED = {
    "two folders": (
        {"val/a/0.png": PNG, "Validation/a/0.png": PNG},
        "Validation and val both mean",
    ),
    "two tables": ({"val.csv": "", "VAL.csv": ""}, "VAL.csv and val.csv both mean the validation"),
    "images alone": ({"0.png": PNG, "1": JPEG}, "holds 2 images, but no split; move them into tra"),
    "class folders alone": (
        {f"{c}/0.png": PNG for c in "abcd"} | {"e/0.txt": "", "@eaDir/0.png": PNG},
        r"holds class folders \(a, b, c, \.\.\.\), but no split; move them into a folder train/",
    ),
    "nothing": ({"notes.txt": ""}, "holds neither train.csv"),
}


@pytest.mark.parametrize(("files", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_set_is_told_how_to_become_one(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        catalog.read(_write(tmp_path, files))


def test_a_split_is_told_from_what_holds_it(tmp_path):
    with pytest.raises(DataError, match="is a split, not what holds it; name the folder above: "):
        catalog.read(_write(tmp_path, TWO) / "train")


LEFT_OUT = {
    "beside the splits": (
        {**TWO, "extra/0.png": PNG, "notes.txt": "", "__MACOSX/._0.png": "", ".DS_Store": ""},
        "left out 4 entries, no splits: .DS_Store, __MACOSX, extra, ... (2 hidden or of the "
        "system, 1 without suffix, 1 .txt)",
    ),
    "beside the classes": (
        {**TWO, "train/lost+found/0.png": PNG, "train/.ipynb_checkpoints/0.png": PNG},
        "train/: left out 2 entries, no images of a class: .ipynb_checkpoints, lost+found",
    ),
    "in a class": (
        {**TWO, "train/a/._0.png": PNG, "train/a/Thumbs.db": "", "train/a/0.txt": "BM is no BMP"},
        "train/a/: left out 3 entries, no images of a class: ._0.png, 0.txt, Thumbs.db",
    ),
    "by a table": (
        {**TABLE, "train/._0.png": "", "train.csv": "image_id,label\n0,a\n1,b"},
        "train/: left out 1 entries, no images of a class: ._0.png",
    ),
    "a folder without its table": (
        {**TABLE, "val/0.png": PNG, "train.csv": "image_id,label\n0,a\n1,b"},
        "val/ is left out: there is no val.csv.",
    ),
}


@pytest.mark.parametrize(("files", "message"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_left_out_is_named(tmp_path, logged, files, message):
    data = catalog.read(_write(tmp_path, files))
    assert len(data.splits["train"]) == 2 and not data.problems
    (record,) = logged.records
    assert message in record.getMessage()
