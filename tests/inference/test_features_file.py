"""`dfk predict --features`: a file of what the model saw, whole or not at all."""

import csv
import importlib.util

import numpy as np
import pytest

import dfk
from dfk import cli
from dfk.inference import features_file
from tests import corpus
from tests.networks import save_tiny

CLASSES = ("gan", "real life", "vae, large")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model") / "model.keras", CLASSES, seed=1)


@pytest.fixture
def images(tmp_path):
    """Three images, one of them damaged."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i, name in enumerate(("a.png", "ü.png")):
        (folder / name).write_bytes(corpus.encode(corpus.picture(i), "PNG"))
    (folder / "damaged.png").write_bytes(b"no image")
    return folder


def _predict(*arguments):
    return cli.main(["predict", *map(str, arguments)])


def _read(path):
    if path.suffix == ".npz":
        with np.load(path) as file:  # It takes no pickles.
            return dict(file)
    from pyarrow import parquet

    table = parquet.read_table(path)
    columns = {name: np.array(table[name].to_pylist()) for name in ("path", "label", "error")}
    columns["confidence"] = table["confidence"].to_numpy()
    columns["probabilities"] = np.float32(table["probabilities"].to_pylist())
    none = [np.nan] * table.schema.field("features").type.list_size
    columns["features"] = np.float32([x or none for x in table["features"].to_pylist()])
    names = table.schema.metadata[b"class_names"].decode().split("\n")
    return columns | {"class_names": np.array(names)}


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_it_has_a_row_for_each_image(suffix, model, images, tmp_path, capsys):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path, output = tmp_path / f"f{suffix}", tmp_path / "out.csv"
    assert _predict(model, images, f"--features={path}", f"--output={output}") == 1
    held = _read(path)
    rows = list(csv.DictReader(output.read_text().splitlines()))
    for name in ("path", "label", "error"):
        assert held[name].tolist() == [row[name] for row in rows]
    assert held["class_names"].tolist() == list(CLASSES)
    files = [images / "a.png", images / "damaged.png", images / "ü.png"]
    expected = dfk.load(model).features(files)
    assert held["features"].dtype == np.float32
    np.testing.assert_array_equal(held["features"], expected)
    assert np.isnan(expected).any(axis=1).tolist() == [False, True, False]
    for row, confidence, shares in zip(
        rows, *(held[x] for x in ("confidence", "probabilities")), strict=True
    ):
        assert confidence == pytest.approx(float(row["confidence"] or 0), abs=1e-6)
        assert shares.tolist() == pytest.approx([float(row[x] or 0) for x in CLASSES], abs=1e-6)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["f" + suffix, "in", "out.csv"]


def test_rows_go_to_stdout_as_ever(model, images, tmp_path, capsys):
    assert _predict(model, images) == 1
    expected = capsys.readouterr().out
    assert _predict(model, images, f"--features={tmp_path}/f.npz") == 1
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("f.csv", [], ".npz or .parquet"),
        ("there.npz", [], "the file is there"),
        ("f.npz", ["--engine=ray", "--output=parts"], "without --engine=ray"),
    ],
)
def test_what_cannot_be_is_told_before_any_image(
    name, more, message, model, images, tmp_path, capsys
):
    (tmp_path / "there.npz").touch()
    more = [x.replace("parts", f"{tmp_path}/parts") for x in more]
    assert _predict(model, images, f"--features={tmp_path / name}", *more) == 2
    out, err = capsys.readouterr()
    assert message in err and not out


def test_parquet_without_pyarrow_is_told(model, images, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda x: None if x == "pyarrow" else find(x))
    assert _predict(model, images, f"--features={tmp_path}/f.parquet") == 2
    assert "pip install pyarrow" in capsys.readouterr().err


def test_what_an_earlier_call_answered_would_be_missing(model, images, tmp_path, capsys):
    output = f"--output={tmp_path}/out.csv"
    assert _predict(model, images, output) == 1
    assert _predict(model, images, output, f"--features={tmp_path}/f.npz") == 2
    assert "has 3 rows" in capsys.readouterr().err
    assert not (tmp_path / "f.npz").exists()


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_call_that_fails_leaves_nothing(suffix, model, images, tmp_path):
    classifier = dfk.load(model).with_features()
    with (
        pytest.raises(KeyboardInterrupt),
        features_file.written(tmp_path / f"f{suffix}", classifier) as rows,
    ):
        rows.add(["a"], classifier.predict(images / "a.png"))
        raise KeyboardInterrupt
    assert [x.name for x in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_no_image_is_no_row(suffix, model, tmp_path):
    classifier = dfk.load(model).with_features()
    path = tmp_path / f"f{suffix}"
    with features_file.written(path, classifier):
        pass
    held = _read(path)
    assert len(held["path"]) == 0 and held["features"].size == 0
