"""A data set is written anew: the same labels and splits, files that tell nothing."""

import numpy as np
import pytest
from PIL import Image

from dfk import cli
from dfk.data import catalog, preparation
from dfk.data.decode import decode
from dfk.data.file_traces import read
from tests.datasets import names_by_id, save, write_csv, write_kaggle
from tests.pictures import noise

KEPT = ["train", "train.csv", "validation", "validation.csv"]


@pytest.fixture
def mixed(tmp_path):
    """Class folders with sizes and formats of their own, one image too small, a prompt in names."""
    for i in range(12):
        split = "train" if i < 8 else "validation"
        name, suffix, side = (("gan", "png", 40), ("vae 2", "jpg", 56))[i % 2]
        picture = noise(side, side + 9, i)
        save(picture, tmp_path / "mixed" / split / name / f"{i}-prompt{i // 4}.{suffix}")
    save(noise(20, 90), tmp_path / "mixed/train/gan/small-prompt0.png")
    return tmp_path / "mixed"


def _pixels(path):
    return decode(path.read_bytes()).numpy()


def _prepare(*arguments):
    return cli.main(["prepare", *map(str, arguments)])


def test_crops_begin_on_the_grid_and_nothing_else_changes(mixed, tmp_path, capsys):
    out = tmp_path / "out"
    assert _prepare(mixed, out, "--crop=32", "--format=png") == 0
    told = capsys.readouterr()
    before, after = catalog.read(mixed), catalog.read(out)
    assert sorted(path.name for path in out.iterdir()) == KEPT
    assert not after.problems and after.class_names == ("gan", "vae 2")
    for split in ("train", "validation"):
        expected = {i.split("/")[1].split(".")[0]: n for i, n in names_by_id(before, split).items()}
        expected.pop("small-prompt0", None)
        assert names_by_id(after, split) == expected
    png, jpeg = out / "train/0-prompt0.png", out / "train/1-prompt0.png"
    np.testing.assert_array_equal(_pixels(png), noise(40, 49)[0:32, 8:40])
    np.testing.assert_array_equal(
        _pixels(jpeg), _pixels(mixed / "train/vae 2/1-prompt0.jpg")[8:40, 16:48]
    )
    assert {read(path.read_bytes()).metadata for path in out.rglob("*.png")} == {()}
    rows = [line.split() for line in told.out.splitlines()]
    assert ["train", "gan", "5", "4", "4", "1", "0", "PNG", "4"] in rows
    assert ["validation", "vae", "2", "2", "2", "2", "0", "0", "JPEG", "2"] in rows
    assert "train/gan/small-prompt0.png: 90 x 20 pixels, --crop=32" in told.err


@pytest.mark.parametrize(
    ("name", "suffix", "kind", "jpeg"),
    [("jpeg:90", ".jpg", "JPEG", "90 4:2:0"), ("webp:80", ".webp", "WEBP", "")],
)
def test_all_are_saved_alike_without_metadata(name, suffix, kind, jpeg, mixed, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "camera"
    Image.fromarray(noise(40, 40)).save(mixed / "train/gan/x-prompt9.png", exif=exif)
    assert _prepare(mixed, tmp_path / "out", f"--format={name}") == 0
    paths = [path for path in (tmp_path / "out").rglob("*") if path.suffix != ".csv"]
    found = [read(path.read_bytes()) for path in paths if path.is_file()]
    assert len(found) == 14 and {(x.format, x.jpeg) for x in found} == {(kind, jpeg)}
    assert {x.metadata for x in found} == {("jfif",) if kind == "JPEG" else ()}
    assert _pixels(tmp_path / "out/train" / f"0-prompt0{suffix}").shape == (40, 49, 3)


def test_groups_ids_and_images_without_labels_are_kept(mixed, tmp_path, capsys):
    out = tmp_path / "out"
    assert _prepare(mixed, out, "--format=png", "--group_by=(prompt[0-9]+)") == 0
    assert "train with --group_by=group" in capsys.readouterr().out
    train = catalog.read(out, "group").splits["train"]
    assert dict(zip(train.ids, train.groups, strict=True))["5-prompt1"] == "prompt1"
    kaggle = write_kaggle(tmp_path / "kaggle", counts={"train": 6, "test": 3})
    assert _prepare(kaggle, tmp_path / "again", "--format=png") == 0
    for name in ("train.csv", "test.csv"):
        assert (tmp_path / "again" / name).read_text() == (kaggle / name).read_text()
    first = "train/train0000.png"
    np.testing.assert_array_equal(_pixels(tmp_path / "again" / first), _pixels(kaggle / first))


def test_files_with_the_same_name_get_ids_that_tell_them_apart(tmp_path):
    for name in ("a/0.png", "b/0.png", "b/back\\slash.png", "b/ blank.png"):
        save(noise(8, 8), tmp_path / "data/train" / name)
    assert _prepare(tmp_path / "data", tmp_path / "out", "--format=png") == 0
    found = catalog.read(tmp_path / "out")
    assert not found.problems
    assert names_by_id(found) == {"a-0": "a", "b-0": "b", "b-back_slash": "b", "b- blank": "b"}
    save(noise(8, 8), tmp_path / "data/train/b/0.bmp")
    assert _prepare(tmp_path / "data", tmp_path / "more", "--format=png") == 0
    assert {"b-0-bmp", "b-0-png"} <= set(catalog.read(tmp_path / "more").splits["train"].ids)


def test_what_cannot_be_read_is_named_and_left_out(mixed, tmp_path, capsys):
    (mixed / "train/gan/0-prompt0.png").write_bytes(b"")
    assert _prepare(mixed, tmp_path / "out", "--format=png") == 1
    told = capsys.readouterr()
    assert "train/gan/0-prompt0.png: the file is empty" in told.err
    assert "0-prompt0" not in catalog.read(tmp_path / "out").splits["train"].ids


def test_a_crop_that_a_class_has_not_is_refused_before_anything_is_decoded(
    mixed, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(preparation, "pixels_of", None)
    assert _prepare(mixed, tmp_path / "out", "--crop=50", "--format=png") == 2
    err = capsys.readouterr().err
    assert "all images of class gan of train have fewer pixels a side; --crop=20 keeps" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["", "jpeg", "jpeg:0", "jpeg:101", "jpeg:9.5", "png:3", "gif:90", "jpeg:90:1"]
)
def test_a_format_that_is_none_is_refused(text, tmp_path, capsys):
    assert _prepare("demo", tmp_path / "out", f"--format={text}") == 2
    assert "is none of png, jpeg:QUALITY" in capsys.readouterr().err


def test_out_is_new_or_empty_and_not_within_in(mixed, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    for out, message in (
        (tmp_path / "full", "is not empty"),
        (tmp_path / "full/mine", "is no folder"),
        (mixed / "out", "which is read"),
    ):
        assert _prepare(mixed, out, "--format=png") == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "full/mine").read_text() == "mine" and not (mixed / "out").exists()


def test_an_interrupted_call_leaves_nothing_and_starts_again(mixed, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def cut_off(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_write_csv", cut_off)
        assert _prepare(mixed, out, "--format=png") == 130
    assert not out.exists()
    out.mkdir()
    (out / ".dfk-tmp-killed").mkdir()  # As a killed process leaves it
    assert _prepare(mixed, out, "--format=png") == 0
    assert sorted(path.name for path in out.iterdir()) == KEPT


def test_what_is_wrong_with_labels_is_named_first(tmp_path, capsys):
    data = write_kaggle(tmp_path / "data", counts={"train": 4})
    write_csv(data / "train.csv", [("train0000", "0"), ("train0001", "")])
    assert _prepare(data, tmp_path / "out", "--format=png") == 1
    assert "train.csv:3: the label of 'train0001' is missing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
