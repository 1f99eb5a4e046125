"""A run without one of its classes, from the flags to `dfk predict --unknown`."""

import csv
import dataclasses
import io
import json

import keras
import numpy as np
import pytest

import dfk
from dfk import cli, config, models, training
from dfk.data.catalog import DataError
from dfk.errors import UsageError
from dfk.evaluation import conformal
from dfk.export import export
from tests.datasets import write_kaggle


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Five classes, named as in the flag files of the suite."""
    return write_kaggle(tmp_path_factory.mktemp("data"), counts={"train": 450, "validation": 50})


SMALL = (
    *("--train_crop=12", "--epochs=1", "--learning_rate=0.01", "--limit=0", "--augment="),
    "--false_alarm_rate=0.2",
)


@pytest.fixture(scope="module")
def output_dir(data_dir, tmp_path_factory):
    """What a member of configs/open_set.flags and an SVM beside it leave."""
    output_dir = tmp_path_factory.mktemp("runs")
    common = [f"--data_dir={data_dir}", f"--output_dir={output_dir}", *SMALL]
    assert cli.main(["train", "--flagfile=configs/open_set/without_1.flags", *common]) == 0
    assert cli.main(["train", "--model=svm_forensic", "--exclude_class=2", *common]) == 0
    return output_dir


def test_the_suite_leaves_out_each_class_in_turn():
    suite = config.parse(["--flagfile=configs/open_set.flags", "--data_dir=x"])
    assert [member.exclude_class for member in suite] == list("01234")
    assert [member.experiment for member in suite] == [f"without_{k}" for k in "01234"]
    same = {dataclasses.replace(member, experiment="", exclude_class="") for member in suite}
    assert len(same) == 1


@pytest.mark.parametrize("name", ["without_1", "svm_forensic"])
def test_a_run_reports_the_known_and_tells_them_from_the_unknown(output_dir, data_dir, name):
    metrics = json.loads((output_dir / name / "metrics.json").read_text())
    excluded = "2" if name == "svm_forensic" else "1"
    assert [row["class"] for row in metrics["per_class"]] == sorted({*"01234"} - {excluded})
    assert metrics["n"] == 40
    found = metrics["open_set"]
    assert (found["excluded"], found["n_known"], found["n_unknown"]) == (excluded, 40, 10)
    classifier = dfk.load(output_dir / name)
    assert classifier.class_names == tuple(sorted({*"01234"} - {excluded}))
    with open(data_dir / "validation.csv") as file:
        rows = list(csv.DictReader(file))
    paths = [data_dir / "validation" / f"{row['image_id']}.png" for row in rows]
    labels = np.array([row["label"] for row in rows])
    confidence = np.array([answer.confidence for answer in classifier.predict(paths)])
    known, unknown = confidence[labels != excluded], confidence[labels == excluded]
    above = np.sign(known[:, None] - unknown) / 2 + 0.5
    assert found["scores"]["probability"]["auroc"] == pytest.approx(above.mean(), abs=0.01)
    assert {*found["scores"]["energy"]} == {*found["scores"]["logit"]} == {"auroc", "fpr95", "oscr"}
    threshold = classifier.threshold("unknown_probability")
    assert found["threshold"] == {
        "value": threshold,
        "false_alarms": pytest.approx((known < threshold).mean(), abs=0.03),
        "found": pytest.approx((unknown < threshold).mean(), abs=0.1),
    }


def test_the_table_of_a_folder_ends_with_its_open_set_runs(output_dir):
    text = (output_dir / "results.md").read_text()
    first, second = text.split("## Unknown generators\n\n")
    assert first.count("| without_") == 1
    cells = [[cell.strip() for cell in line.split("|")[1:4]] for line in second.splitlines()[2:]]
    assert [row[:2] for row in cells] == [["1", "without_1"], ["2", "svm_forensic"]]
    # Models of other classes are not tested against each other, though they share images.
    assert "p against the row above" not in first


def test_the_saved_threshold_is_what_the_holdout_says(output_dir):
    settings = config.parse([f"--flagfile={output_dir}/without_1/config.flags"])[0]
    holdout = training.load_data(settings).splits["holdout"]
    classifier = dfk.load(output_dir / "without_1")
    answers = classifier.predict([np.asarray(image) for image in holdout.images])
    probabilities = np.stack([answer.probabilities for answer in answers])
    expected = conformal.choose(probabilities, holdout.labels, settings.false_alarm_rate)
    assert classifier.thresholds.keys() == expected.keys()
    for name, value in expected.items():
        assert classifier.threshold(name) == pytest.approx(value, abs=1e-5)


def test_every_form_of_a_model_carries_its_thresholds(output_dir, tmp_path):
    trained = dfk.load(output_dir / "without_1")
    model = keras.models.load_model(output_dir / "without_1" / "model.keras", safe_mode=True)
    folder = export(output_dir / "without_1", tmp_path).folder
    extra = json.loads((folder / "assets.extra" / "dfk.json").read_text())
    assert extra["thresholds"] == dict(trained.thresholds) == dict(dfk.load(folder).thresholds)
    assert model.layers[-1].thresholds == trained.thresholds
    svm = dfk.load(output_dir / "svm_forensic")
    assert dict(svm.thresholds) == models.SVM.load(svm.path).thresholds != {}


def test_an_ensemble_chooses_its_own(output_dir, data_dir):
    """Its members know the classes that are left; only it can be asked for a score of its own."""
    arguments = [f"--data_dir={data_dir}", f"--output_dir={output_dir}", *SMALL]
    members = f"--members={output_dir}/without_1,{output_dir}/without_1"
    settings = config.parse([*arguments, "--model=ensemble", "--exclude_class=1", members])[0]
    metrics = training.run(settings)
    scores = metrics["open_set"]["scores"]
    assert scores["logit"] is scores["energy"] is None and scores["probability"]
    thresholds = dfk.load(output_dir / "ensemble").thresholds
    assert set(thresholds) == {"unknown_probability", "set_0.9", "set_0.95", "set_0.99"}
    assert thresholds != dfk.load(output_dir / "without_1").thresholds


def test_a_wrong_class_is_refused_before_any_image_is_decoded(data_dir, tmp_path):
    broken = write_kaggle(tmp_path / "data", counts={"train": 40, "validation": 10})
    next((broken / "train").iterdir()).write_bytes(b"no image")
    arguments = [f"--data_dir={broken}", f"--output_dir={tmp_path / 'runs'}", *SMALL]
    settings = config.parse([*arguments, "--exclude_class=5"])[0]
    with pytest.raises(UsageError, match="no such class; the data has 0, 1, 2, 3, 4"):
        training.run(settings)
    with pytest.raises(DataError, match=r"train\.csv:"):
        training.run(config.parse([*arguments, "--exclude_class=4"])[0])


def _predict(capsys, *arguments):
    code = cli.main(["predict", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, list(csv.DictReader(io.StringIO(out, newline=""))), err


def test_predict_unknown_uses_the_stored_threshold(output_dir, data_dir, capsys):
    model, images = output_dir / "without_1", data_dir / "validation"
    threshold = dfk.load(model).threshold("unknown_probability")
    code, rows, _ = _predict(capsys, model, images, "--unknown")
    assert code == 0 and len(rows) == 50
    called = {row["label"] == "unknown" for row in rows}
    assert called == {True, False}
    for row in rows:
        assert (row["label"] == "unknown") == (float(row["confidence"]) < threshold)


def test_predict_unknown_is_refused_without_a_threshold_or_with_another(
    output_dir, data_dir, tmp_path, capsys
):
    images = data_dir / "validation"
    models.DeepFakeNet(classes=2, filters=(2,), dropout=(0,)).save(tmp_path / "bare.keras")
    code, rows, err = _predict(capsys, tmp_path / "bare.keras", images, "--unknown")
    assert (code, rows) == (2, [])
    assert "bare.keras carries no threshold unknown_probability (it has none)" in err
    model = output_dir / "without_1"
    code, _, err = _predict(capsys, model, images, "--unknown", "--min_confidence=0.5")
    assert code == 2 and "--min_confidence: not allowed with argument --unknown" in err


def test_info_shows_the_thresholds(output_dir, capsys):
    assert cli.main(["info", str(output_dir / "svm_forensic")]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    thresholds = dfk.load(output_dir / "svm_forensic").thresholds
    assert lines["thresholds.unknown_probability"] == str(thresholds["unknown_probability"])
    assert lines["thresholds.set_0.9"] == ", ".join(map(str, thresholds["set_0.9"]))
