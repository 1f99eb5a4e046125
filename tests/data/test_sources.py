"""Folders, CSVs and lists -> images, each once, in an order that repeats."""

import io
import os
import unicodedata

import pytest

from dfk.data import sources
from dfk.data.entries import Kinds
from dfk.data.sources import Unreadable, find
from dfk.errors import DfkError


def _names(*arguments, **options):
    return [source.name for source in find(map(str, arguments), **options)]


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "sub/c.webp", "sub/deep/d.gif", ".hidden/e.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_folder_is_searched_to_the_bottom_in_any_case(tree):
    names = [os.path.relpath(name, tree) for name in _names(tree)]
    assert names == ["a.JPG", "b.png", "sub/c.webp", "sub/deep/d.gif"]


def test_what_is_no_image_is_counted_by_kind(tree):
    jpeg, tiff = b"\xff\xd8\xff\xe0", b"II*\0\x08"
    written = {"camera": jpeg, "wrong.tif": jpeg, "scan.tif": tiff, "scan": tiff, "x.jfif": b""}
    written |= {"broken.tif": b"", "BM": b"BMW is no image", "a.HEIC": b"", "sub/b.heic": b""}
    written |= {"._a.JPG": jpeg, "Thumbs.db": b"", "__MACOSX/a.png": jpeg, "@eaDir/a.png": jpeg}
    for name, content in written.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(content)
    (tree / "nowhere.png").symlink_to("missing")
    left_out = Kinds()
    names = [os.path.relpath(name, tree) for name in _names(tree, left_out=left_out)]
    images = ["a.JPG", "b.png", "camera", "nowhere.png", "scan", "scan.tif", "wrong.tif", "x.jfif"]
    assert names == [*images, "sub/c.webp", "sub/deep/d.gif"]
    # The folders .hidden, __MACOSX and @eaDir count as one each.
    expected = "5 hidden or of the system, 2 .heic, 1 without suffix, 1 .tif, 1 .txt"
    assert sorted(str(left_out).split(", ")) == sorted(expected.split(", "))


def test_linked_folders_are_searched_and_cycles_are_not(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "x.png").write_bytes(b"")
    (tree / "linked").symlink_to(other)
    (tree / "sub" / "up").symlink_to(tree)
    (tree / "self").symlink_to("self")
    assert len(_names(tree)) == 5


def test_ten_thousand_folders_deep_would_not_overflow(tmp_path):
    folder = tmp_path
    for _ in range(300):  # What a path's length allows
        folder = folder / "d"
    folder.mkdir(parents=True)
    (folder / "x.png").write_bytes(b"")
    assert len(_names(tmp_path)) == 1


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tree):
    assert _names(tree / "notes.txt", "none") == [str(tree / "notes.txt"), "none"]


# CSVs


def _csv(folder, content, name="list.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "path\na.JPG\nsub/c.webp\n",
        "path\r\na.JPG\r\nsub/c.webp\r\n",
        "\ufeffpath\na.JPG\nsub/c.webp",
        'note,path\n"x,\ny","a.JPG"\n\n,sub/c.webp,too,many\n',
        "label;path\n0,5;a.JPG\n;sub/c.webp\n",
        'path\t"a;b"\na.JPG\t1\nsub/c.webp',
        "note\tpath\nx\ta.JPG\ny\tsub/c.webp\n".encode("utf-16"),
        " path ,label\na.JPG\nsub/../sub/c.webp,0\n",
    ],
)
def test_a_csv_of_paths_in_its_own_folder(content, tree):
    found = [os.path.normpath(source.image) for source in find([str(_csv(tree, content))])]
    assert found == [str(tree / "a.JPG"), str(tree / "sub" / "c.webp")]


@pytest.mark.parametrize("path", ["../x.png", "sub/../../x.png", "/etc/passwd", "..", "."])
def test_a_path_that_leaves_the_folder_is_refused(path, tree):
    (source,) = find([str(_csv(tree, f"path\n{path}\n"))])
    assert isinstance(source.image, Unreadable) and "leaves the folder" in source.image


NFC, NFD = (unicodedata.normalize(form, "fée/é.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(("there", "asked"), [(NFC, NFD), (NFD, NFC), (NFC, NFC)])
def test_a_name_in_another_form_of_unicode_is_found(there, asked, tmp_path):
    """As a list from one machine names files from another."""
    (tmp_path / there).parent.mkdir()
    (tmp_path / there).write_bytes(b"x")
    table, ids = tmp_path / "list.csv", (tmp_path / there).parent.with_suffix(".csv")
    table.write_text(f"path\n{asked}\nfe/missing.png\n")
    ids.write_text(f"image_id\n{os.path.basename(asked)[:-4]}\n")
    found, missing = find([str(table)])
    assert found == (str(tmp_path / asked), str(tmp_path / there))
    assert missing.image == str(tmp_path / "fe/missing.png")
    named = f"{tmp_path}/{asked}"
    (typed,), (by_id,) = find([named]), find([str(ids)])
    (listed,) = find(["-"], stdin=io.BufferedReader(io.BytesIO(named.encode())))
    assert {source.image for source in (typed, by_id, listed)} == {str(tmp_path / there)}


def test_of_two_names_in_both_forms_each_means_itself(tmp_path):
    both = [tmp_path / os.path.basename(form) for form in (NFC, NFD)]
    for path in both:
        path.write_bytes(b"")
    assert [source.image for source in find(map(str, both))] == list(map(str, both))


def test_a_path_that_is_absolute_may_lie_in_the_folder(tree, monkeypatch):
    table = _csv(tree, f"path\n{tree}/b.png\n")
    assert _names(table) == [f"{tree}/b.png"]
    monkeypatch.chdir(tree)
    assert _names("list.csv") == [f"{tree}/b.png"]


def test_a_row_that_is_wrong_is_a_row(tree):
    table = _csv(
        tree, b"x,path\n1\n1,\n1,b.png\n1,b.png\n1,\xff.png\n1," + b"x" * 200_000 + b"\n1,a.JPG"
    )
    found = list(find([str(table)]))
    reasons = [str(s.image) if isinstance(s.image, Unreadable) else "" for s in found]
    assert reasons[:5] == ["the path is empty", "the path is empty", "", "", ""]
    assert reasons[5].startswith("cannot be read as CSV: field larger") and reasons[6] == ""
    assert [s.name for s in found[:2]] == [f"{table}:2", f"{table}:3"]
    assert found[4].name.endswith(r"\udcff.png") and found[4].image.endswith("\udcff.png")


@pytest.mark.parametrize("content", ["", "name,label\nx,0\n", "paths;label\n", b"\xff\xfep\0a\0"])
def test_a_csv_without_a_column_that_is_known_is_refused(content, tree):
    with pytest.raises(DfkError, match=r"list\.csv.*the first line must name a column"):
        _names(_csv(tree, content))


def test_a_table_that_is_no_text_is_refused(tree):
    table = _csv(tree, "path\na.JPG\n".encode("utf-16")[:-1])
    with pytest.raises(DfkError, match=r"list\.csv cannot be read as text: "):
        _names(table)


def test_a_csv_of_ids_names_files_beside_it(tmp_path):
    (tmp_path / "test").mkdir()
    for name in ("a.png", "b.JPG", "c.png", "c.gif"):
        (tmp_path / "test" / name).write_bytes(b"")
    ids = "image_id\na\nb\nb\nc.gif\nc\nd\na.gif\n../test/a\n"
    found = list(find([str(_csv(tmp_path, ids, "test.csv"))]))
    assert [s.name for s in found[:4]] == [
        f"{tmp_path}/test/{n}" for n in ("a.png", "b.JPG", "b.JPG", "c.gif")
    ]
    assert [str(s.image).split()[0] for s in found[4:]] == ["several", *["there"] * 3]


# Standard input


@pytest.mark.parametrize(
    "data", [b"a.png\nb c.png\n", b"a.png\r\n\r\nb c.png", b"a.png\0b c.png\0"]
)
def test_paths_from_stdin(data):
    assert _names("-", stdin=io.BufferedReader(io.BytesIO(data))) == ["a.png", "b c.png"]


def test_names_that_hold_anything_from_stdin():
    data = b"line\nend.png\0\xff.png\0"
    found = list(find(["-"], io.BufferedReader(io.BytesIO(data))))
    assert [source.name for source in found] == ["line\nend.png", r"\udcff.png"]
    assert os.fsencode(found[1].image) == b"\xff.png"


def test_a_long_list_is_split_wherever_it_is_read():
    data = b"".join(b"%06d.png\n" % i for i in range(30_000))
    names = _names("-", stdin=io.BufferedReader(io.BytesIO(data)))
    assert names == [f"{i:06}.png" for i in range(30_000)]


def test_text_is_always_valid():
    assert sources.text("ü\udcff") == r"ü\udcff"


def test_a_reason_is_text_whatever_the_folder_is_called(tmp_path):
    table = tmp_path / os.fsdecode(b"\xff.csv")
    table.write_text("image_id\nnone\n")
    (found,) = sources.find([str(table)])
    assert "there is no image none" in found.image and found.image.encode() and found.name.encode()
