"""Every image is decoded, kept in memory or decoded again, and what cannot be is said."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dfk.data import catalog, images, splits
from dfk.data.catalog import DataError
from dfk.data.stored import files_of
from tests.datasets import COUNTS, save, write_csv, write_folders, write_kaggle

BLACK = np.zeros((2, 2, 3), np.uint8)


def _load(folder, **options):
    return images.load(catalog.read(folder), **options)


def _problems(folder):
    with pytest.raises(DataError) as error:
        _load(folder)
    return str(error.value).splitlines()


def _write(folder):
    """Six images of two classes, 4 x 4 and one of 5 x 3."""
    write_kaggle(folder, counts={"train": 6}, classes="ab", size=4)
    save(np.arange(45, dtype=np.uint8).reshape(3, 5, 3), folder / "train" / "train0002.png")
    return folder


@pytest.fixture
def small(tmp_path):
    return _write(tmp_path / "small")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """`small`, unharmed."""
    return _load(_write(tmp_path_factory.mktemp("loaded")))


def _check_pixels(split):
    for path, image in zip(split.paths, split.images, strict=True):
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, Image.open(path))


# Pixels


def test_pixels_are_those_of_the_files_in_their_order(kaggle):
    data = _load(kaggle)
    assert {name: len(split.images) for name, split in data.splits.items()} == COUNTS
    for split in data.splits.values():
        _check_pixels(split)
    for split in splits.set_aside(splits.limit(data, 20)).splits.values():
        _check_pixels(split)


@pytest.mark.parametrize(
    ("budget", "available", "in_files"),
    [(0, 2**30, 6), (3 * 48 / 2**30, 2**30, 3), (4.0, 3 * 48, 5), (4.0, 2**30, 0)],
    ids=["none", "half", "memory", "all"],
)
def test_memory_and_files_give_the_same_pixels(
    small, loaded, budget, available, in_files, logged, monkeypatch
):
    monkeypatch.setattr(images.hardware, "available_bytes", lambda: available)
    data = _load(small, cache_gib=budget)
    split = data.splits["train"]
    _check_pixels(split)
    _check_pixels(split.take([5, 2]))
    assert data.fingerprint == loaded.fingerprint
    assert split.shapes == loaded.splits["train"].shapes
    assert len(files_of(split.images)) == in_files
    told = f"{in_files} of 6 images exceed --cache_gib, or a third of the memory available"
    assert (told in logged.text) == bool(in_files)


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: save(BLACK, path)])
def test_a_file_that_changes_afterwards_is_named(small, change):
    data, other = _load(small, cache_gib=0), _load(small)
    change(small / "train" / "train0001.png")
    message = (
        r"^train\.csv:3, train0001\.png: has changed or is gone since it was first read; start"
    )
    with pytest.raises(DataError, match=message), images.unchanged(data):
        data.splits["train"].images[1]
    with pytest.raises(tf.errors.OpError, match="of another kind"), images.unchanged(other):
        raise tf.errors.InternalError(None, None, "of another kind")


# The fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_the_csv(small, loaded):
    header, *lines = (small / "train.csv").read_text().splitlines()
    (small / "train.csv").write_text("\n".join([header, *lines[::-1]]))
    assert _load(small).fingerprint == loaded.fingerprint
    assert len(loaded.fingerprint) == 64


def _change_pixel(folder):
    path = folder / "train" / "train0000.png"
    pixels = np.array(Image.open(path))
    pixels[3, 3, 2] ^= 1
    save(pixels, path)


def _change_label(folder):
    source = folder / "train.csv"
    source.write_text(source.read_text().replace("train0000,a", "train0000,b"))


def _rename_class(folder):
    source = folder / "train.csv"
    source.write_text(source.read_text().replace(",b", ",c"))


def _change_id(folder):
    (folder / "train" / "train0000.png").rename(folder / "train" / "other.png")
    source = folder / "train.csv"
    source.write_text(source.read_text().replace("train0000", "other"))


def _change_split(folder):
    for name in ("train", "train.csv"):
        (folder / name).rename(folder / name.replace("train", "validation"))


def _change_shape(folder):
    path = folder / "train" / "train0002.png"
    save(np.array(Image.open(path)).reshape(5, 3, 3), path)


def _drop_image(folder):
    source = folder / "train.csv"
    source.write_text(source.read_text().replace("train0000,a\n", ""))


@pytest.mark.parametrize(
    "change",
    [
        *(_change_pixel, _change_label, _rename_class, _change_id, _change_split),
        *(_change_shape, _drop_image),
    ],
)
def test_the_fingerprint_changes_with_the_data(small, loaded, change):
    change(small)
    assert _load(small).fingerprint != loaded.fingerprint


# What is wrong


def test_all_problems_come_in_one_list(small):
    (small / "train" / "train0001.png").write_bytes(b"no image")
    (small / "train" / "train0003.png").unlink()
    with open(small / "train.csv", "a") as file:
        file.write("train0000,a\n../up,b\n")
    write_csv(small / "validation.csv", [("v", "cat"), ("w", "a")])
    save(BLACK, small / "validation" / "v.png")
    save(BLACK, small / "validation" / "w.png").write_bytes(b"")
    assert _problems(small) == [
        "train.csv:5: there is no image train/train0003 (.png, .jpg or another suffix)",
        "train.csv:8: image_id 'train0000' is a duplicate of line 2",
        "train.csv:9: image_id '../up' is a path, it must be a name within train/",
        "validation.csv:2: label 'cat' is not one of train's: a, b",
        "train.csv:3, train0001.png: no PNG, JPEG, WebP, BMP or GIF image",
        "validation.csv:3, w.png: the file is empty",
    ]


def test_the_first_twenty_bad_images_are_shown_and_all_counted(tmp_path):
    write_kaggle(tmp_path, counts={"train": 23}, size=2)
    for path in (tmp_path / "train").iterdir():
        path.write_bytes(b"no image")
    lines = _problems(tmp_path)
    assert len(lines) == 21
    assert lines[0] == "train.csv:2, train0000.png: no PNG, JPEG, WebP, BMP or GIF image"
    assert lines[-1] == "... and 3 more, 23 in all"


def test_a_file_that_vanishes_is_named(small):
    data = catalog.read(small)
    (small / "train" / "train0000.png").unlink()
    with pytest.raises(DataError, match=r"^train\.csv:2, train0000\.png: cannot be read: No such"):
        images.load(data)


@pytest.mark.parametrize(
    ("write", "where"),
    [
        (write_kaggle, "train.csv:8, train0006.png"),
        (write_folders, "train/1/train0006.png"),
    ],
)
def test_skip_leaves_out_bad_images_and_names_them(tmp_path, write, where, logged):
    whole = catalog.read(write(tmp_path, counts={"train": 10}, size=8)).splits["train"]
    (bad,) = tmp_path.rglob("train0006.png")
    bad.write_bytes(bad.read_bytes()[:100])
    data = _load(tmp_path, on_bad_image="skip")
    kept = [i for i, path in enumerate(whole.paths) if path != bad]
    assert data.splits["train"].ids == [whole.ids[i] for i in kept]
    assert data.splits["train"].labels.tolist() == whole.labels[kept].tolist()
    _check_pixels(data.splits["train"])
    assert [str(problem) for problem in data.problems] == [f"{where}: damaged or cut off"]
    assert f"Skipped 1 images:\n{where}: damaged or cut off" in logged.text


def test_skip_leaves_out_missing_images_too(small, logged):
    (small / "train" / "train0001.png").unlink()
    (small / "train" / "train0004.png").write_bytes(b"")
    data = _load(small, on_bad_image="skip")
    assert data.splits["train"].ids == [f"train000{i}" for i in (0, 2, 3, 5)]
    assert "Skipped 2 images:\ntrain.csv:3: there is no image" in logged.text


def test_skip_still_fails_for_problems_that_no_image_is_to_blame_for(small):
    (small / "train" / "train0001.png").unlink()
    save(BLACK, small / "train" / "x.png")
    with open(small / "train.csv", "a") as file:
        file.write("x,\n")
    with pytest.raises(DataError) as error:
        _load(small, on_bad_image="skip")
    assert str(error.value).splitlines() == [
        "train.csv:3: there is no image train/train0001 (.png, .jpg or another suffix)",
        "train.csv:8: the label of 'x' is missing",
    ]


def test_skip_says_nothing_of_clean_data(small, logged):
    assert not _load(small, on_bad_image="skip").problems
    assert not logged.records
