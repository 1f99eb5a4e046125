"""The models that come with the package, and how their files are made."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import dfk
from dfk import cli, inference, models
from dfk.data import embedded
from dfk.errors import UsageError
from dfk.export import compact
from dfk.runs import locate
from tests.networks import network
from tests.pictures import noise

IMAGES = np.stack([noise(40, 48, seed) for seed in range(4)])
MEGABYTES = 12


def test_these_are_shipped():
    assert locate.names() == ["unibuc", "unibuc-small"]


@pytest.mark.parametrize("name", ["unibuc", "unibuc-small"])
def test_the_weights_are_the_published_ones(name):
    file = locate.locate(name)
    assert file.stat().st_size <= MEGABYTES * 1e6
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"{digest}  {file.name}" in (locate.FOLDER / "README.md").read_text()


CONFIGS = Path(dfk.__file__).parents[1] / "configs" / "weights"
# Of the first images of the embedded set: label and confidence.
ANSWERS = {
    "unibuc": [("1", 0.698), ("4", 0.3942), ("4", 0.9921), ("4", 0.6955), ("2", 0.9938)],
    "unibuc-small": [("1", 0.8539), ("1", 0.541), ("4", 0.9991), ("1", 0.5378), ("2", 0.986)],
    "deepfakenet": [("1", 0.8199), ("4", 0.5224), ("1", 0.9883), ("1", 0.6683), ("1", 0.94)],
    "deepfakenet2": [("4", 0.5656), ("4", 0.9429), ("1", 0.9766), ("4", 0.4537), ("1", 0.9942)],
    "residual_long": [("1", 0.9173), ("2", 0.8767), ("0", 0.937), ("4", 0.5055), ("2", 0.7214)],
    "deepfakenet2_long": [
        *(("4", 0.6135), ("4", 0.7775), ("4", 0.9834), ("1", 0.4856), ("4", 0.604))
    ],
}


def test_each_of_them_is_asked():
    assert set(ANSWERS) == {*locate.names(), *(path.stem for path in CONFIGS.glob("*.keras"))}


@pytest.mark.parametrize("name", ANSWERS)
def test_they_answer_what_they_did(name):
    images = [
        embedded.simulate("validation", i, embedded.label_of("validation", i)) for i in range(5)
    ]
    file = CONFIGS / f"{name}.keras"
    found = dfk.load(file if file.exists() else name).predict(images)
    labels, confidences = zip(*ANSWERS[name], strict=True)
    assert tuple(answer.label for answer in found) == labels
    # As far as convolutions of other processors may differ.
    np.testing.assert_allclose([answer.confidence for answer in found], confidences, atol=2e-3)


def test_a_path_that_is_there_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unibuc").mkdir()
    network().save(tmp_path / "unibuc" / "model.keras")
    assert dfk.load("unibuc").class_names == ("cat", "dog", "übung")


def test_a_folder_without_a_model_that_hides_one_is_told_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unibuc").mkdir()  # Of images, say
    with pytest.raises(UsageError, match=r"unibuc holds no model.*hides the unibuc that comes"):
        dfk.load("unibuc")


def test_a_name_that_is_none_is_told_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no model at unibuk; with dfk come unibuc, unibuc-small"):
        dfk.load("unibuk")


def test_a_compact_file_answers_as_the_model_did(tmp_path):
    plain, small = tmp_path / "plain.keras", tmp_path / "small.keras"
    network(make=models.ResidualNet, side=None, filters=(16, 32)).save(plain)
    before = plain.read_bytes()
    assert cli.main(["export", str(plain), f"--compact={small}"]) == 0
    assert plain.read_bytes() == before
    assert small.stat().st_size < 0.65 * len(before)
    answers = [inference.load(file).answer(IMAGES) for file in (plain, small)]
    np.testing.assert_allclose(*answers, atol=5e-3)
    assert np.abs(answers[0] - answers[1]).max() > 0


def test_its_weights_have_eleven_bits_at_any_scale():
    values = np.float32([0, 1, 1 + 2**-11, 1 + 2**-10, -3e-9, 7e30])
    rounded = compact._rounded(values)
    np.testing.assert_allclose(rounded, values, rtol=2**-11)
    assert not (rounded.view(np.uint32) & 0x1FFF).any()
    counts = np.arange(3)
    assert compact._rounded(counts) is counts


@pytest.mark.parametrize(
    ("name", "message"), [("small.h5", "ends in .keras"), ("none/small.keras", "no such folder")]
)
def test_a_file_that_cannot_be_is_named(name, message, tmp_path, capsys):
    network().save(tmp_path / "plain.keras")
    arguments = ["export", str(tmp_path / "plain.keras"), f"--compact={tmp_path / name}"]
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_what_shapes_a_saved_model_is_refused_beside_compact(tmp_path, capsys):
    flags = ["--precision=mixed_bfloat16", "--no_fold"]
    assert cli.main(["export", "unibuc", f"--compact={tmp_path / 'small.keras'}", *flags]) == 2
    assert "leave out --precision, --no_fold" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_exported_of_a_shipped_model_lies_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(locate, "FOLDER", folder)
    network().save(folder / "tiny.keras")
    assert cli.main(["export", "tiny"]) == 0
    assert (tmp_path / "tiny_saved_model" / "1" / "saved_model.pb").is_file()
    assert not (folder / "tiny_saved_model").exists()
