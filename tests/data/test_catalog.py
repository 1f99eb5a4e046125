"""A folder is read as it is, or all that is wrong with it is named by file and line."""

import gc

import numpy as np
import pytest

from dfk.data import catalog
from dfk.data.catalog import DataError
from dfk.errors import UsageError
from tests.datasets import COUNTS, names_by_id, save, write_csv, write_folders, write_kaggle

SPLITS = tuple(COUNTS)
IMAGE = np.zeros((2, 2, 3), np.uint8)


def _problems(folder):
    return [str(problem) for problem in catalog.read(folder).problems]


# What is right is read


def test_kaggle_layout(kaggle):
    data = catalog.read(kaggle)
    assert data.class_names == ("0", "1", "2", "3", "4")
    assert {name: len(split) for name, split in data.splits.items()} == COUNTS
    assert not data.problems
    train, test = data.splits["train"], data.splits["test"]
    assert train.ids[:2] == ["train0000", "train0001"]
    assert train.paths[0] == kaggle / "train" / "train0000.png"
    assert train.origins[0] == "train.csv:2"
    assert train.labels.dtype == np.int32
    assert train.labels.tolist() == [i % 5 for i in range(40)]
    assert test.labels.tolist() == [catalog.UNLABELLED] * 7


def test_a_test_split_whose_labels_are_all_empty_is_unlabelled(kaggle):
    path = kaggle / "test.csv"
    header, *ids = path.read_text().split()
    path.write_text("\n".join([f"{header},label", *(f"{i}," for i in ids)]))
    assert catalog.read(kaggle).splits["test"].labels.tolist() == [catalog.UNLABELLED] * 7
    path.write_text(path.read_text().replace(",\n", ",0\n", 1))
    assert _problems(kaggle) == [
        f"test.csv:{n}: the label of {i!r} is missing" for n, i in enumerate(ids[1:], 3)
    ]


def test_class_folder_layout(folders):
    data = catalog.read(folders)
    assert data.class_names == ("0", "1", "2", "3", "4")
    assert {name: len(split) for name, split in data.splits.items()} == COUNTS
    assert not data.problems
    train, test = data.splits["train"], data.splits["test"]
    assert train.ids[:2] == ["0/train0000.png", "0/train0005.png"]
    assert train.paths[0] == folders / "train" / "0" / "train0000.png"
    assert train.origins[0] == "train/0/train0000.png"
    assert train.labels.tolist() == sorted(i % 5 for i in range(40))
    assert test.ids[0] == "test0000.png"
    assert test.labels.tolist() == [catalog.UNLABELLED] * 7


@pytest.mark.parametrize("write", [write_kaggle, write_folders])
@pytest.mark.parametrize("splits", [SPLITS[:1], SPLITS[1:2], SPLITS[2:], SPLITS[:2], SPLITS[1:]])
def test_any_split_may_be_absent(tmp_path, write, splits):
    data = catalog.read(
        write(tmp_path, counts={name: 10 for name in splits}, test_labels=True, size=4)
    )
    assert tuple(data.splits) == splits
    assert len(data.class_names) == 5 and not data.problems


@pytest.mark.parametrize("write", [write_kaggle, write_folders])
@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("10", "9", "2"), ("2", "9", "10")),
        (("0.5", "-1", "1e1"), ("-1", "0.5", "1e1")),
        (("b10", "b9", "A"), ("A", "b10", "b9")),
        (("10", "9", "real"), ("10", "9", "real")),
    ],
)
def test_numbers_sort_as_numbers_and_names_as_text(tmp_path, write, classes, expected):
    data = catalog.read(write(tmp_path, counts={"train": 3}, classes=classes, size=4))
    assert data.class_names == expected
    written = {f"train{i:04}": name for i, name in enumerate(classes)}
    assert {
        id.split("/")[-1].removesuffix(".png"): n for id, n in names_by_id(data).items()
    } == written


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda lines: "\ufeff" + "\n".join(lines),
        lambda lines: "\r\n".join(lines) + "\r\n",
        lambda lines: "\n".join('"' + line.replace(",", '","') + '"' for line in lines),
        lambda lines: "\n".join(",".join(line.split(",")[::-1]) for line in lines),
        lambda lines: "\n".join(f"{i},{line},a b" for i, line in enumerate(lines)),
        lambda lines: "\n".join(" " + line.replace(",", " , ") + " " for line in lines),
        lambda lines: "\n\n".join(lines) + "\n\n",
    ],
    ids=["BOM", "CRLF", "quotes", "label first", "more columns", "spaces", "blank lines"],
)
def test_a_csv_may_be_written_in_many_ways(kaggle, rewrite):
    plain = catalog.read(kaggle)
    source = kaggle / "train.csv"
    source.write_bytes(rewrite(source.read_text().splitlines()).encode())
    data = catalog.read(kaggle)
    assert not data.problems
    assert data.class_names == plain.class_names
    assert list(names_by_id(data).items()) == list(names_by_id(plain).items())


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "bmp", "gif", "PNG", "Jpg"])
@pytest.mark.parametrize("image_id", ["a", "a.b", "ä €", "0"])
def test_an_id_is_the_file_name_without_its_suffix(tmp_path, image_id, suffix):
    path = save(IMAGE, tmp_path / "train" / f"{image_id}.{suffix}")
    write_csv(tmp_path / "train.csv", [(image_id, "x")])
    data = catalog.read(tmp_path)
    assert not data.problems
    assert data.splits["train"].paths == [path]


def test_two_classes_may_use_the_same_filenames_by_id(tmp_path):
    for label in "ab":
        save(IMAGE, tmp_path / "train" / label / "1.png")
    assert names_by_id(catalog.read(tmp_path)) == {"a/1.png": "a", "b/1.png": "b"}


# What is wrong is named


@pytest.fixture
def pair(tmp_path):
    """Ten labelled images of two classes in lines 2 to 11, and files that no line names."""
    write_kaggle(tmp_path, counts={"train": 10, "validation": 4}, classes=("a", "b"), size=4)
    for name in ("spare.png", "twice.png", "twice.JPG"):
        save(IMAGE, tmp_path / "train" / name)
    (tmp_path / "train" / "folder.png").mkdir()
    save(IMAGE, tmp_path / "outside.png")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("missing,a", "there is no image train/missing (.png, .jpg or another suffix)"),
        ("folder,a", "there is no image train/folder (.png, .jpg or another suffix)"),
        ("twice,a", "several files are 'twice': twice.JPG, twice.png"),
        ("train0003,a", "image_id 'train0003' is a duplicate of line 5"),
        ("spare,", "the label of 'spare' is missing"),
        ("spare", "the label of 'spare' is missing"),
        (",a", "the image_id is empty"),
        ("  ,a", "the image_id is empty"),
        *(
            (f"{path},a", f"image_id {path!r} is a path, it must be a name within train/")
            for path in ("../outside", "..", ".", "a/b", "/outside", "..\\outside", "spare\0")
        ),
    ],
)
def test_a_wrong_line_is_named(pair, line, what):
    with open(pair / "train.csv", "a") as file:
        file.write(line + "\n")
    assert _problems(pair) == [f"train.csv:12: {what}"]
    assert len(catalog.read(pair).splits["train"]) == 10


def test_a_line_may_be_wrong_in_two_ways(pair):
    with open(pair / "train.csv", "a") as file:
        file.write("missing,\n")
    assert [problem.split(": ")[1][:12] for problem in _problems(pair)] == [
        "the label of",
        "there is no ",
    ]


@pytest.mark.parametrize("write", [write_kaggle, write_folders])
def test_a_label_that_train_lacks_is_named(tmp_path, write):
    write(tmp_path, counts={"train": 4}, classes=("a", "b"), size=4)
    write(tmp_path, counts={"validation": 2}, classes=("a", "cat"), size=4)
    origin = {write_kaggle: "validation.csv:3", write_folders: "validation/cat/validation0001.png"}
    assert _problems(tmp_path) == [f"{origin[write]}: label 'cat' is not one of train's: a, b"]
    assert len(catalog.read(tmp_path).splits["validation"]) == 1


@pytest.mark.parametrize(
    ("split", "content", "problem"),
    [
        *(
            ("train", header, "train.csv:1: the first line must name the columns image_id,label")
            for header in (b"", b"id,label\n", b"image_id\n")
        ),
        ("test", b"id\n", "test.csv:1: the first line must name the columns image_id"),
        ("train", b"image_id,label\n", "train.csv: names no image"),
        ("train", b"image_id,label\n\xe4,0\n", "train.csv: cannot be read as CSV in UTF-8: "),
        ("train", "image_id,label\n".encode("utf-16"), "train.csv: names no image"),
        ("train", "image_id,label\n".encode("utf-16")[:-1], "train.csv: cannot be read as CSV in"),
        ("train", b"image_id,label\n" + b"x" * 200_000, "train.csv: cannot be read as CSV in"),
    ],
    ids=["empty", "no id", "no label", "test", "only header", "latin-1", "utf-16", "cut", "huge"],
)
def test_a_wrong_csv_is_named(kaggle, split, content, problem):
    (kaggle / f"{split}.csv").write_bytes(content)
    found = _problems(kaggle)
    assert found and found[0].startswith(problem)
    assert all("validation.csv:" not in line for line in found)  # Its labels are its own.


def test_a_csv_that_names_no_image_may_be_all_there_is(tmp_path):
    write_csv(tmp_path / "train.csv", [])
    assert _problems(tmp_path) == ["train.csv: names no image"]


def test_a_class_folder_without_images_is_named(folders):
    (folders / "train" / "5").mkdir()
    (folders / "validation" / "0" / "notes.txt").write_text("")
    assert _problems(folders) == ["train/5/: the class has no image"]


def test_a_split_without_class_folders_is_named(tmp_path):
    save(IMAGE, tmp_path / "train" / "x.png")
    assert _problems(tmp_path)[0].startswith("train/: has 1 images and no class folders; sort the")


@pytest.mark.parametrize(
    ("name", "what"),
    [("", "neither train.csv"), ("missing", "no such folder"), ("file", "no such folder")],
)
def test_a_folder_without_data_is_refused(tmp_path, name, what):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError if name else DataError, match=what) as error:
        catalog.read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_folder_with_nothing_but_a_wrong_csv_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"^train\.csv:1: the first line must name"):
        catalog.read(tmp_path)


@pytest.mark.parametrize(("count", "last"), [(20, "p19: bad"), (23, "... and 3 more, 23 in all")])
def test_the_first_twenty_problems_are_shown_and_counted(count, last):
    error = DataError([catalog.Problem(f"p{i}", "bad") for i in range(count)])
    lines = str(error).splitlines()
    assert lines[:20] == [f"p{i}: bad" for i in range(20)]
    assert lines[-1] == last
    assert len(error.problems) == count


# What is left out is said


def test_files_that_no_line_names_are_counted(pair, logged):
    assert not _problems(pair)
    assert "train.csv does not name 3 images of train/" in logged.text


def test_a_folder_without_its_csv_is_said(kaggle, logged):
    (kaggle / "test.csv").unlink()
    assert "test" not in catalog.read(kaggle).splits
    assert "test/ is left out: there is no test.csv" in logged.text


@pytest.mark.parametrize("folder", ["train/0", "train", "test"])
def test_entries_that_are_no_images_are_named(folders, logged, folder):
    for name in ("notes.txt", "thumbs.db"):
        (folders / folder / name).write_text("")
    if folder == "train/0":
        (folders / folder / "folder.png").mkdir()
    data = catalog.read(folders)
    assert {name: len(split) for name, split in data.splits.items()} == COUNTS
    names = ["folder.png"] * (folder == "train/0") + ["notes.txt", "thumbs.db"]
    message = f"{folder}/: left out {len(names)} entries, no images of a class: {', '.join(names)}"
    assert message in logged.text


def test_nothing_is_said_of_clean_data(kaggle, folders, logged):
    catalog.read(kaggle)
    catalog.read(folders)
    assert not logged.records


def test_reading_leaves_pythons_collector_as_it_was(tmp_path):
    write_kaggle(tmp_path)
    catalog.read(tmp_path)
    assert gc.isenabled()
    gc.disable()
    try:
        with pytest.raises(UsageError):
            catalog.read(tmp_path / "missing")
        assert not gc.isenabled()
    finally:
        gc.enable()
