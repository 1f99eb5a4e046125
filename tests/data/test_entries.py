"""Entries of a folder are told apart by name and content, and counted by kind."""

import os

import pytest

from dfk.data import entries
from dfk.data.entries import Images, Kinds

STARTS = [
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xdb", b"RIFF\0\0\0\0WEBP", b"GIF89a"),
    *(b"BM" + bytes(12) + b"\x28\0\0\0", b"MM\0*", b"\0\0\0\x18ftypheic", b"\0\0\0\x1cftypavif"),
    b"\0\0\0\x0cjP  \r\n\x87\n",
]


@pytest.mark.parametrize("data", STARTS)
def test_images_are_told_by_their_start(data):
    assert entries.starts_image(data)
    assert not entries.starts_image(b"x" + data)


@pytest.mark.parametrize(
    "data", [b"", b"BM is text, not a bitmap", b"RIFF\0\0\0\0WAVE", b"\xff\xd8"]
)
def test_what_starts_otherwise_is_none(data):
    assert not entries.starts_image(data)


def test_kinds_are_counted_and_the_first_named():
    few, many = Kinds(["b.TIF", "a.tif"]), Kinds(f"{i}.{i}" for i in range(10))
    assert (str(few), few.first(), len(few)) == ("2 .tif", "b.TIF, a.tif", 2)
    assert str(many).endswith(", 1 .7, 2 others")
    assert many.first().startswith("0.0, 1.1, 2.2, ... (1 .0, ")
    assert str(Kinds(["./x/y.jpg", "list.csv:3", "z/.y.jpg", "-"])) == (
        "1 .jpg, 1 .csv, 1 hidden or of the system, 1 without suffix"
    )


def test_what_never_ends_is_not_looked_into(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.png").mkdir()
    (tmp_path / "self").symlink_to("self")
    found = Images(tmp_path)
    assert (found.paths, len(found.others)) == ([], 3)
    assert not Images(tmp_path / "missing").paths
