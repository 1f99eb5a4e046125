"""Every image is decoded once, kept in memory or on disk, and what cannot be is said."""

import numpy as np
import pytest
from PIL import Image

from dfk.data import catalog, images
from dfk.data.catalog import DataError
from tests.datasets import COUNTS, save, write_csv, write_kaggle

BLACK = np.zeros((2, 2, 3), np.uint8)


def _load(folder, spill_dir=None, **options):
    return images.load(catalog.read(folder), spill_dir=spill_dir or folder / "spill", **options)


def _problems(folder):
    with pytest.raises(DataError) as error:
        _load(folder)
    return str(error.value).splitlines()


@pytest.fixture
def small(tmp_path):
    """Six images of two classes, 4 x 4 and one of 5 x 3."""
    folder = write_kaggle(tmp_path / "small", counts={"train": 6}, classes="ab", size=4)
    save(np.arange(45, dtype=np.uint8).reshape(3, 5, 3), folder / "train" / "train0002.png")
    return folder


# Pixels


def test_pixels_are_those_of_the_files_in_their_order(kaggle):
    data = _load(kaggle)
    assert {name: len(split.images) for name, split in data.splits.items()} == COUNTS
    for split in data.splits.values():
        for path, image in zip(split.paths, split.images, strict=True):
            assert image.dtype == np.uint8
            np.testing.assert_array_equal(image, Image.open(path))


def test_class_folders_hold_the_same_pixels(kaggle, folders):
    def by_name(data):
        train = data.splits["train"]
        return {p.name: im.tobytes() for p, im in zip(train.paths, train.images, strict=True)}

    assert by_name(_load(kaggle)) == by_name(_load(folders))


@pytest.mark.parametrize("budget", [0, 3 * 48 / 2**30, 4.0], ids=["none", "half", "all"])
def test_the_cache_gives_the_same_pixels_from_memory_and_from_disk(small, tmp_path, budget, logged):
    spill_dir = tmp_path / "deep" / "spill"
    data = _load(small, spill_dir, cache_gib=budget)
    train = data.splits["train"]
    for path, image in zip(train.paths, train.images, strict=True):
        np.testing.assert_array_equal(image, Image.open(path))
    on_disk = [image for image in train.images if isinstance(image, np.memmap)]
    assert (len(on_disk), ("--cache_gib" in logged.text)) == {
        0: (6, True),
        4.0: (0, False),
    }.get(budget, (3, True))
    assert not list(spill_dir.glob("*"))  # Nothing is left behind, however the process ends.
    assert data.fingerprint == _load(small).fingerprint


# The fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_the_csv(small):
    before = _load(small).fingerprint
    header, *lines = (small / "train.csv").read_text().splitlines()
    (small / "train.csv").write_text("\n".join([header, *lines[::-1]]))
    assert _load(small).fingerprint == before
    assert len(before) == 64


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
def test_the_fingerprint_changes_with_the_data(small, change):
    before = _load(small).fingerprint
    change(small)
    assert _load(small).fingerprint != before


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
        "train.csv:5: there is no file train/train0003.png|jpg|jpeg|webp|bmp|gif",
        "train.csv:8: image_id 'train0000' is a duplicate of line 2",
        "train.csv:9: image_id '../up' is a path, it must be a name within train/",
        "validation.csv:2: label 'cat' is not one of train's: a, b",
        "train.csv:3, train0001.png: no PNG, JPEG, WebP, BMP or GIF image",
        "validation.csv:3, w.png: the file is empty",
    ]


def test_the_first_twenty_bad_images_are_shown_and_all_counted(kaggle):
    for path in (kaggle / "train").iterdir():
        path.write_bytes(b"no image")
    lines = _problems(kaggle)
    assert len(lines) == 21
    assert lines[-1] == "... and 20 more, 40 in all"


def test_a_bad_image_in_a_class_folder_is_named_by_its_path(folders):
    (folders / "train" / "3" / "train0003.png").write_bytes(b"GIF89a")
    assert _problems(folders) == ["train/3/train0003.png: damaged or cut off"]


def test_a_file_that_vanishes_is_named(small):
    data = catalog.read(small)
    (small / "train" / "train0000.png").unlink()
    with pytest.raises(DataError, match=r"^train\.csv:2, train0000\.png: cannot be read: No such"):
        images.load(data, spill_dir=small)


@pytest.mark.parametrize("layout", ["kaggle", "folders"])
def test_skip_leaves_out_bad_images_and_names_them(request, layout, logged):
    folder = request.getfixturevalue(layout)
    whole = _load(folder).splits["train"]
    bad = folder / "train" / ("" if layout == "kaggle" else "1") / "train0006.png"
    bad.write_bytes(bad.read_bytes()[:100])
    data = _load(folder, on_bad_image="skip")
    train = data.splits["train"]
    kept = [i for i, path in enumerate(whole.paths) if path != bad]
    assert train.ids == [whole.ids[i] for i in kept]
    assert train.labels.tolist() == whole.labels[kept].tolist()
    for image, i in zip(train.images, kept, strict=True):
        np.testing.assert_array_equal(image, whole.images[i])
    where = "train.csv:8, train0006.png" if layout == "kaggle" else "train/1/train0006.png"
    assert [str(problem) for problem in data.problems] == [f"{where}: damaged or cut off"]
    assert f"Skipped 1 images:\n{where}: damaged or cut off" in logged.text


def test_skip_leaves_out_missing_images_too(small, logged):
    (small / "train" / "train0001.png").unlink()
    (small / "train" / "train0004.png").write_bytes(b"")
    data = _load(small, on_bad_image="skip")
    assert data.splits["train"].ids == [f"train000{i}" for i in (0, 2, 3, 5)]
    assert "Skipped 2 images:\ntrain.csv:3: there is no file" in logged.text


def test_skip_still_fails_for_problems_that_no_image_is_to_blame_for(small):
    (small / "train" / "train0001.png").unlink()
    save(BLACK, small / "train" / "x.png")
    with open(small / "train.csv", "a") as file:
        file.write("x,\n")
    with pytest.raises(DataError) as error:
        _load(small, on_bad_image="skip")
    assert str(error.value).splitlines() == [
        "train.csv:3: there is no file train/train0001.png|jpg|jpeg|webp|bmp|gif",
        "train.csv:8: the label of 'x' is empty",
    ]


def test_skip_says_nothing_of_clean_data(small, logged):
    assert not _load(small, on_bad_image="skip").problems
    assert not logged.records


def test_the_splits_of_a_decoded_catalog_keep_their_images(kaggle):
    data = _load(kaggle)
    pixels = {i: im for s in data.splits.values() for i, im in zip(s.ids, s.images, strict=True)}
    for split in catalog.set_aside(catalog.limit(data, 20)).splits.values():
        assert len(split.images) == len(split)
        assert all(image is pixels[i] for i, image in zip(split.ids, split.images, strict=True))
