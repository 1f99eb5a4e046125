"""`dfk info`: what a model says of itself, and what its run says."""

import json

import numpy as np
import pytest

from dfk import cli, models
from dfk.inference import load
from dfk.inference.description import describe

NAMES = ("a", "b")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with what a finished run leaves of itself."""
    run = tmp_path_factory.mktemp("runs") / "mine"
    run.mkdir()
    shape = {"input_shape": (8, 16, 3), "filters": (2,), "dropout": (0,), "temperature": 0.5}
    models.DeepFakeNet(classes=2, class_names=NAMES, **shape).save(run / "model.keras")
    (run / "config.flags").write_text("--seed=0\n")
    (run / "metrics.json").write_text('{"accuracy": 0.75, "n": 8, "per_class": []}')
    (run / "environment.json").write_text('{"dfk": "0.1", "data": {"fingerprint": "f00"}}')
    return run


def test_a_run_tells_all(run):
    known = describe(load(run))
    assert json.loads(json.dumps(known)) == known
    assert (known["class_names"], known["input_size"]) == (["a", "b"], [8, 16])
    assert known["image_sizes"] == [[8, 16]]
    assert (known["temperature"], known["kind"]) == (0.5, "deepfakenet")
    assert known["scores"] == {"accuracy": 0.75, "n": 8}
    assert known["training_data"] == {"fingerprint": "f00"} and known["versions"] == {"dfk": "0.1"}


def test_a_model_tells_the_crops_that_it_averages(tmp_path):
    plain = models.DeepFakeNet(
        classes=2, class_names=NAMES, input_shape=(None, None, 3), filters=(2,), dropout=(0,)
    )
    for number, model in enumerate([plain, models.with_test_crop(plain, 40)]):
        model.save(tmp_path / f"{number}.keras")
    assert [describe(load(tmp_path / f"{n}.keras"))["test_crop"] for n in (0, 1)] == [[], [40]]


def test_an_ensemble_names_its_members(run, tmp_path):
    models.Ensemble([run, run]).save(tmp_path / "both.keras")
    known = describe(load(tmp_path / "both.keras"))
    assert list(known["member_weights"].values()) == pytest.approx([0.5, 0.5])
    assert (known["input_size"], known["image_sizes"]) == (None, [[8, 16]])
    assert known["members"] == ["member0_deepfakenet", "member1_deepfakenet"]
    assert "scores" not in known


def test_an_svm_names_its_size_and_what_it_was_trained_on(tmp_path):
    images = list(np.random.default_rng(0).integers(0, 256, (4, 9, 7, 3), dtype=np.uint8))
    labels = np.array([0, 1, 0, 1])
    record = {"sizes": [[9, 7], [9, 7]], "crop": 0, "formats": [{"PNG": 2}] * 2, "demo": True}
    svm = models.SVM.fit(images, labels, class_names=NAMES, kind="svm")
    svm.with_(trained_on=record).save(tmp_path / "model.skops")
    known = describe(load(tmp_path))
    assert (known["kind"], known["input_size"]) == ("svm", [9, 7])
    assert known["trained_on"] == record | {"formats": {"a": {"PNG": 2}, "b": {"PNG": 2}}}


def test_the_command_prints_lines_or_json(run, capsys):
    assert cli.main(["info", str(run)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["class_names"] == "a, b" and lines["training_data.fingerprint"] == "f00"
    assert lines["thresholds"] == lines["trained_on"] == "none"
    assert cli.main(["info", str(run), "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["accuracy"] == 0.75


def test_a_damaged_file_of_a_run_is_named(run, tmp_path, capsys):
    (tmp_path / "model.keras").write_bytes((run / "model.keras").read_bytes())
    (tmp_path / "metrics.json").write_text("{")
    assert cli.main(["info", str(tmp_path)]) == 1
    assert "metrics.json is damaged" in capsys.readouterr().err
