"""An audit finds what was planted, and nothing in a clean set."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dfk import cli
from dfk.data import audit as module
from dfk.data.audit import File, audit
from dfk.data.catalog import DataError
from dfk.data.file_traces import Traces
from dfk.data.jpeg_grid import Grid
from dfk.data.leakage import probe
from dfk.evaluation import degrade
from dfk.reports import audit_page
from tests import declared
from tests.datasets import write_folders, write_kaggle
from tests.pictures import noise
from tests.reports.rendered import Page

CLASSES = ("gan", "vae")


def _noise(path, seed, size=32, **options):
    """Smooth noise: no two look alike, and all take about as many bytes."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize((size, size), Image.BICUBIC).save(path, **options)
    return path


@pytest.fixture
def clean(tmp_path):
    """30 images of two classes in two splits, alike in everything but content."""
    for i in range(30):
        split = "train" if i < 20 else "validation"
        _noise(tmp_path / "data" / split / CLASSES[i % 2] / f"{i}.png", i)
    return tmp_path / "data"


def test_a_clean_set_has_no_warnings(clean):
    found = audit(clean)
    assert found["warnings"] == []
    assert found["images"] == {
        "train": {"gan": 10, "vae": 10},
        "validation": {"gan": 5, "vae": 5},
    }
    assert [row["formats"] for row in found["classes"]] == [{"PNG": 15}] * 2
    assert [row["sizes"] for row in found["classes"]] == [{"32x32": 15}] * 2
    assert [row["modes"] for row in found["classes"]] == [{"RGB": 15}] * 2
    files = [path.stat().st_size for path in clean.rglob("gan/*.png")]
    size = found["classes"][0]["bytes"]
    assert (size["min"], size["max"]) == (min(files), max(files))
    assert json.loads(json.dumps(found)) == found


def test_duplicates_and_near_duplicates_across_splits(clean):
    train, validation = clean / "train" / "gan", clean / "validation"
    shutil.copy(train / "0.png", validation / "gan" / "copy.png")
    shutil.copy(train / "2.png", train / "again.png")
    with Image.open(train / "4.png") as image:
        image.save(validation / "vae" / "jpeg.jpg", quality=95, subsampling=0)
    found = audit(clean)
    same, near = found["duplicates"], found["near_duplicates"]
    assert (same["across"], same["within"], same["other_labels"]) == (1, 1, 0)
    assert same["pairs"][0] == [str(train / "0.png"), str(validation / "gan" / "copy.png")]
    assert (near["across"], near["within"], near["other_labels"]) == (1, 0, 1)
    assert near["pairs"] == [[str(train / "4.png"), str(validation / "vae" / "jpeg.jpg")]]
    text = "\n".join(found["warnings"])
    assert "1 pairs of images in different splits have the same pixels" in text
    assert "1 pairs that look alike have different labels" in text


def test_near_duplicates_are_found_in_whatever_block_they_lie(monkeypatch):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 50, dtype=np.uint64)
    hashes[[3, 40]] = hashes[17]
    hashes[40] ^= np.uint64(0b111111)
    hashes[9] = hashes[17] ^ np.uint64(0b1111111 << 20)  # 7 bits from 3 and 17, 13 from 40
    files = [File("train", "", "a", digest=bytes([i]), hash=int(h)) for i, h in enumerate(hashes)]
    for block in (1, 7, 2**11):
        monkeypatch.setattr(module, "_BLOCK", block)
        assert sorted(module._near(files)) == [(3, 17), (3, 40), (17, 40)]


def test_what_cannot_be_decoded_and_what_is_unbalanced(clean):
    (clean / "train" / "gan" / "0.png").write_bytes(b"")
    for i in range(1, 14, 2):
        (clean / "train" / "vae" / f"{i}.png").unlink()
    found = audit(clean)
    assert found["unreadable"] == [
        {"path": str(clean / "train" / "gan" / "0.png"), "reason": "the file is empty"}
    ]
    text = "\n".join(found["warnings"])
    assert "1 files cannot be decoded" in text
    assert "The classes of train are unbalanced: 3 to 10 images" in text


# The probe


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("format", {"suffix": "bmp"}),
        ("dimensions", {"size": 40}),
        ("mode", {"mode": "RGBA"}),
        ("bytes", {"compress_level": 0}),
        ("metadata", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
    ],
)
def test_the_probe_finds_what_tells_the_classes_apart(kind, options, tmp_path):
    for i in range(40):
        changes = dict(options) if i % 2 else {}
        suffix, mode = changes.pop("suffix", "png"), changes.pop("mode", None)
        path = _noise(tmp_path / "train" / CLASSES[i % 2] / f"{i}.{suffix}", i, **changes)
        if mode:
            with Image.open(path) as image:
                converted = image.convert(mode)
            converted.save(path)
    audited = audit(tmp_path)
    found, (warning,) = audited["leakage"], audited["warnings"]
    assert ("bytes of a file alone" in warning) == (kind == "bytes")
    assert found["leaks"] and found["alone"][kind] > 0.95 and found["accuracy"] > 0.95
    assert found["chance"] == 0.5 and found["accuracy_ci95"][0] > 0.8
    assert found["given_away"] == ["gan", "vae"] and min(found["recall"].values()) > 0.9


def test_metadata_that_tell_nothing_are_no_leak():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1000, 2000, 200)
    files = [
        File("train", "", "ab"[i % 2], int(size), 8, 8, Traces("PNG", "RGB"))
        for i, size in enumerate(sizes)
    ]
    found = probe(files)
    assert not found["leaks"] and 0.35 < found["accuracy"] < 0.65
    assert found["alone"]["format"] == found["chance"] == 0.5 and found["given_away"] == []


def test_one_class_of_many_that_gives_itself_away_is_a_leak():
    files = [
        File("train", "", "abcdefghijklmnopqrst"[i % 20], 1000, 8, 8, Traces("PNG", "RGB"))
        for i in range(400)
    ]
    files = [dataclasses.replace(x, grid=Grid(1.0, x.label == "c")) for x in files]
    found = probe(files)
    assert found["accuracy_ci95"][0] < found["chance"] + 0.05  # Hardly more than chance in all
    assert found["given_away"] == ["c"] and found["leaks"] and found["recall"]["c"] == 1
    assert found["alone"]["pixels' grid"] > found["alone"]["metadata"] == found["chance"]


def _textures(folder, *, once=(), crop=(0, 0), **options):
    """24 textures of each class; those of `once` have been a JPEG of quality 90, `crop`ped then."""
    for i in range(48):
        name = CLASSES[i % 2]
        image = noise(64, 64, i)
        if name in once:
            image = degrade.jpeg(image, 90)[crop[0] :, crop[1] :]
        image = Image.fromarray(image).crop((0, 0, 56, 56))
        path = folder / "train" / name / f"{i}.{options.get('format', 'png')}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
    return folder


def test_a_png_tells_that_it_was_once_a_jpeg_also_off_its_grid(tmp_path):
    for crop in ((0, 0), (3, 5)):
        found = audit(_textures(tmp_path / f"{crop[0]} of it", once=["vae"], crop=crop))
        gan, vae = (row["once_jpeg"] for row in found["classes"])
        assert (gan["images"], vae["share"]) == (0, 1.0)
        assert gan["median_vote"] < 0.1 < 0.8 < vae["median_vote"]
        assert found["leakage"]["alone"]["pixels' grid"] == 1
        (warning,) = found["warnings"]
        assert "100% of the images of vae were once a JPEG, 0% of those of gan" in warning
        place = tmp_path / f"{crop[0]} of it"
        command = f"dfk prepare '{place}' '{place}-prepared' --format=jpeg:90"
        assert found["mend"] == command and warning.endswith(command)


def test_what_is_saved_alike_as_jpeg_has_no_warning(tmp_path):
    options = {"format": "jpeg", "quality": 90}
    found = audit(_textures(tmp_path, once=["vae"], **options))
    assert found["warnings"] == []
    assert [row["jpeg"] for row in found["classes"]] == [{"90 4:2:0": 24}] * 2
    assert [row["metadata"] for row in found["classes"]] == [{"jfif": 24}] * 2


def test_the_command_that_mends_crops_to_what_nearly_all_have(tmp_path):
    for i in range(40):
        _noise(tmp_path / "train" / CLASSES[i % 2] / f"{i}.png", i, 44 + i % 2 * 20)
    _noise(tmp_path / "train" / "gan" / "tiny.png", 99, 9)  # One of 21
    assert audit(tmp_path)["mend"].endswith("-prepared --crop=40 --format=png")


def test_too_little_to_probe():
    files = [File("train", "", label, 1, 1, 1, Traces("PNG", "RGB")) for label in "aab"]
    assert probe(files) is None and probe(files[:2]) is None and probe([]) is None


# The command


def test_what_files_declare_is_counted_by_class_and_told_where_it_goes_with_one(clean, capsys):
    made = declared.exif(b"ASCII\0\0\0of this image alone", Make="<b>Canon", Software="GIMP")
    for i, path in enumerate(sorted(clean.rglob("*.png"))):
        options = {"exif": made} if "gan" in path.parts else {}
        if "vae" in path.parts and i % 4:
            options = {"exif": declared.exif(Software="GIMP")}
        with Image.open(path) as image:
            image.save(path, **options)
    out = clean.parent / "out"
    assert cli.main(["audit", str(clean), f"--output_dir={out}"]) == 0
    found = json.loads((out / "audit.json").read_text())
    gimp = found["claims"]['EXIF Software "GIMP"']
    assert gimp["gan"] == 15 > gimp["vae"] > 8
    only = {"gan": 15, "vae": 0}
    camera, comment = 'EXIF Make "<b>Canon"', "EXIF UserComment"
    assert found["claims"] == {'EXIF Software "GIMP"': gimp, camera: only, comment: only}
    (warning,) = (text for text in found["warnings"] if "declare" in text)
    assert f"{camera} (100% of gan, 0% of vae); {comment} (100%" in warning
    assert "GIMP" not in warning and "claims can be forged or stripped" in warning
    text, page = capsys.readouterr().out, (out / "audit.html").read_text()
    assert f"{camera}: gan 15, vae 0" in text and "claims can be forged or stripped" in text
    assert "&lt;b&gt;Canon" in page and "<b>Canon" not in page
    assert "claims can be forged or stripped" in page.partition("What the files declare")[2]


def test_the_command_writes_text_json_and_a_page(clean, tmp_path, capsys):
    (clean / "train" / "gan" / "<b>&.png").write_bytes(b"")
    out = tmp_path / "out"
    assert cli.main(["audit", str(clean), f"--output_dir={out}"]) == 1
    text = capsys.readouterr().out
    assert "WARNING: 1 files cannot be decoded" in text and "not readable:" in text
    assert cli.main(["audit", str(clean), "--format=json"]) == 1
    assert json.loads(capsys.readouterr().out) == json.loads((out / "audit.json").read_text())
    page = (out / "audit.html").read_text()
    assert "&lt;b&gt;&amp;.png" in page and "<b>&" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_kaggles_layout_and_images_without_labels(tmp_path, capsys):
    data = write_kaggle(tmp_path / "data", counts={"train": 10, "test": 3}, classes=CLASSES)
    assert cli.main(["audit", str(data), "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"]["test"] == {"gan": 0, "vae": 0, "": 3}
    assert [row["class"] for row in found["classes"]] == ["", "gan", "vae"]


def test_nothing_to_audit(tmp_path, capsys):
    assert cli.main(["audit", str(tmp_path)]) == 1
    assert "holds neither train.csv" in capsys.readouterr().err
    data = write_folders(tmp_path / "data", counts={"train": 2}, classes=("a",))
    for path in data.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        audit(data)


def test_the_command_writes_over_its_own_files_only(folders, tmp_path, capsys):
    arguments = ["audit", str(folders), f"--output_dir={tmp_path / 'out'}"]
    assert [cli.main(arguments) for _ in range(2)] == [0, 0]
    (tmp_path / "out" / "audit.json").write_text("mine")
    assert cli.main(arguments) == 2
    assert "audit.json is there and dfk did not write it" in capsys.readouterr().err
    assert (tmp_path / "out" / "audit.json").read_text() == "mine"


def test_groups_across_splits_are_counted(kaggle):
    findings = audit(kaggle, group_by=r"(\d)$")
    assert findings["groups"][0]["splits"] == ("train", "validation")
    assert any("both train and validation: 10" in warning for warning in findings["warnings"])
    assert audit(kaggle)["groups"] == []


def test_the_page_shows_pairs_side_by_side_and_some_of_each_class(clean, tmp_path, capsys):
    first = clean / "train" / "gan" / "0.png"
    copy = clean / "validation" / "gan" / "a_copy.png"
    shutil.copy(first, copy)
    with Image.open(clean / "train" / "vae" / "1.png") as image:
        image.resize((64, 64)).save(clean / "validation" / "vae" / "near.png")
    gone = _noise(clean / "train" / "vae" / "zz.png", 99)
    findings = audit(clean)
    gone.unlink()
    findings["near_duplicates"]["pairs"].append([str(gone), str(first)])
    audit_page.write(tmp_path / "out", findings)
    page = Page((tmp_path / "out" / "audit.html").read_text())
    shown = page.pictures()
    assert len(shown) == 8 + 8 + 2 * 3 - 1 and "not shown" in page.words
    for path, pixels in zip((first, copy), shown[16:18], strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(path)))
    assert "validation/gan/a_copy.png" in page.words.replace(" ", "")
    assert page.source.count("<wbr>") > 4
