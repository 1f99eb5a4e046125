"""A run without one of its classes, from the flags to `dfk predict --unknown`."""

import csv
import io
import json

import keras
import numpy as np
import pytest

import dfk
from dfk import cli, config, models, training
from dfk.commands import predict
from dfk.data.catalog import DataError
from dfk.errors import UsageError
from dfk.evaluation import conformal
from dfk.export import export
from tests.datasets import write_kaggle


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Five classes, named as in the flag files of the suite."""
    return write_kaggle(tmp_path_factory.mktemp("data"), counts={"train": 450, "validation": 50})


SMALL = ("--limit=0", "--false_alarm_rate=0.2")
SHORT = ("--epochs=1", "--learning_rate=0.01")


@pytest.fixture(scope="module")
def output_dir(data_dir, tmp_path_factory):
    """What a member of configs/open_set.flags and an SVM beside it leave."""
    output_dir = tmp_path_factory.mktemp("runs")
    common = [f"--data_dir={data_dir}", f"--output_dir={output_dir}", *SMALL]
    assert cli.main(["train", "--flagfile=configs/open_set/without_1.flags", *common, *SHORT]) == 0
    assert cli.main(["train", "--model=svm_forensic", "--exclude_class=2", *common]) == 0
    return output_dir


def test_the_suite_leaves_out_each_class_in_turn():
    suite = config.parse(["--flagfile=configs/open_set.flags", "--data_dir=x"])
    assert [member.data.exclude_class for member in suite] == list("01234")
    assert [member.run.experiment for member in suite] == [f"without_{k}" for k in "01234"]
    same = {member.with_(experiment="", exclude_class="") for member in suite}
    assert len(same) == 1


def _centred(answers):
    """How far the largest logit of each image stands out, by the logarithms of its answer."""
    logs = np.log(np.maximum(answers, 1.1754944e-38))  # The least that float32 holds in full
    return logs.max(axis=-1) - logs.mean(axis=-1)


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
    answers = np.array([answer.probabilities for answer in classifier.predict(paths)])
    for name, score in (("probability", answers.max(axis=1)), ("centred_logit", _centred(answers))):
        known, unknown = score[labels != excluded], score[labels == excluded]
        above = np.sign(known[:, None] - unknown) / 2 + 0.5
        assert found["scores"][name]["auroc"] == pytest.approx(above.mean(), abs=0.01)
    assert {*found["scores"]["energy"]} == {*found["scores"]["logit"]} == {"auroc", "fpr95", "oscr"}
    threshold = classifier.threshold("unknown_centred_logit")
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
    assert "p against the best" not in first


def test_the_saved_threshold_is_what_the_holdout_says(output_dir):
    settings = config.parse([f"--flagfile={output_dir}/without_1/config.flags"])[0]
    holdout = training.load_data(settings).splits["holdout"]
    classifier = dfk.load(output_dir / "without_1")
    answers = classifier.predict([np.asarray(image) for image in holdout.images])
    probabilities = np.stack([answer.probabilities for answer in answers])
    expected = conformal.choose(probabilities, holdout.labels, settings.run.false_alarm_rate)
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
    arguments += ["--model=ensemble", "--method=average", "--exclude_class=1", members]
    settings = config.parse(arguments)[0]
    metrics = training.run(settings)
    scores = metrics["open_set"]["scores"]
    assert scores["logit"] is scores["energy"] is None and scores["probability"]
    thresholds = dfk.load(output_dir / "ensemble").thresholds
    told = {"holdout_images", "false_alarm_rate"}
    assert set(thresholds) == {"unknown_centred_logit", "set_0.9", "set_0.95", *told}
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
    threshold = dfk.load(model).threshold("unknown_centred_logit")
    code, rows, _ = _predict(capsys, model, images, "--unknown")
    assert code == 0 and len(rows) == 50
    called = {row["label"] == "unknown" for row in rows}
    assert called == {True, False}
    for row in rows:
        score = _centred(np.array([float(row[name]) for name in "0234"]))
        assert abs(score - threshold) < 1e-4 or (row["label"] == "unknown") == (score < threshold)


def test_predict_unknown_is_refused_without_a_threshold_or_with_another(
    output_dir, data_dir, tmp_path, capsys
):
    images = data_dir / "validation"
    models.DeepFakeNet(classes=2, filters=(2,), dropout=(0,)).save(tmp_path / "bare.keras")
    code, rows, err = _predict(capsys, tmp_path / "bare.keras", images, "--unknown")
    assert (code, rows) == (2, [])
    assert "bare.keras carries no threshold unknown_centred_logit (it has none)" in err
    model = output_dir / "without_1"
    code, _, err = _predict(capsys, model, images, "--unknown", "--min_confidence=0.5")
    assert code == 2 and "--min_confidence: not allowed with argument --unknown" in err


def test_info_shows_the_thresholds(output_dir, capsys):
    assert cli.main(["info", str(output_dir / "svm_forensic")]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    thresholds = dfk.load(output_dir / "svm_forensic").thresholds
    assert lines["thresholds.unknown_centred_logit"] == str(thresholds["unknown_centred_logit"])
    assert lines["thresholds.set_0.9"] == ", ".join(map(str, thresholds["set_0.9"]))


# Sets


def test_metrics_hold_what_the_sets_of_the_saved_model_do(output_dir):
    run = output_dir / "svm_forensic"
    metrics = json.loads((run / "metrics.json").read_text())
    classifier = dfk.load(run)
    with open(run / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    for level in metrics["conformal"]:
        sets = [
            classifier.prediction_set(
                np.array([row[name] for name in classifier.class_names], np.float32),
                level["coverage"],
            )
            for row in rows
        ]
        held = np.mean([row["label"] in found for row, found in zip(rows, sets, strict=True)])
        assert level["measured"] == pytest.approx(held)
        assert level["mean_size"] == pytest.approx(np.mean(list(map(len, sets))))
        assert [row["class"] for row in level["per_class"]] == list(classifier.class_names)
    assert [level["coverage"] for level in metrics["conformal"]] == [0.9, 0.95]
    # 9 images of a class can promise 90 %, no more; all 36 together 95 %.
    assert [level["pooled"] for level in metrics["conformal"]] == [[], [*"0134"]]
    assert metrics["left_out"] == {"set_0.99": {"needed": 99, "there": 36}}
    assert metrics["conformal"][0]["mean_size"] < 4
    page = (run / "report.html").read_text()
    assert "Sets of 95%: fewer than 19 holdout images of 0, 1, 3, 4: promised of all" in page
    assert "No sets of 99%: 99 holdout images are needed, there are 36." in page
    for heading in ("Answering only when sure", "Unknown generators", "Sets with a promise"):
        assert f"<h2>{heading}</h2>" in page


def test_evaluate_measures_the_sets_too(output_dir, data_dir, tmp_path, capsys):
    data = write_kaggle(tmp_path, counts={"validation": 12}, classes=("0", "3", "4"))
    model = output_dir / "without_1"
    assert cli.main(["evaluate", str(model), f"--data_dir={data}", "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [level["coverage"] for level in found["conformal"]] == [0.9, 0.95]
    assert found["left_out"] == {"set_0.99": {"needed": 99, "there": 36}}
    missing = {"class": "2", "measured": None, "mean_size": None}
    assert found["conformal"][0]["per_class"][1] == missing
    assert found["selective"]["curve"][-1]["accuracy"] == found["accuracy"]
    assert cli.main(["evaluate", str(model), f"--data_dir={data}"]) == 0
    out = capsys.readouterr().out
    assert "sets of 90%: hold the class of" in out and "Sets of 95%: fewer than 19 holdout" in out
    assert "No sets of 99%: 99 holdout images are needed, there are 36" in out


def test_predict_coverage_adds_the_set(output_dir, data_dir, capsys):
    model, images = output_dir / "svm_forensic", data_dir / "validation"
    bounds = dict(zip("0134", dfk.load(model).threshold("set_0.9"), strict=True))
    code, rows, _ = _predict(capsys, model, images, "--coverage=0.9")
    assert code == 0 and len(rows) == 50
    for row in rows:
        assert row["set"] == "|".join(k for k in bounds if np.float32(row[k]) >= bounds[k])
    assert len({row["set"].count("|") for row in rows}) > 1


def test_a_file_is_continued_only_with_its_coverage(output_dir, data_dir, tmp_path, capsys):
    trained = keras.models.load_model(output_dir / "without_1" / "model.keras")
    models.set_thresholds(trained, trained.layers[-1].thresholds | {"set_0.99": [0] * 4})
    trained.save(tmp_path / "model.keras")
    images, output = data_dir / "validation", tmp_path / "out.csv"
    arguments = (tmp_path / "model.keras", images, f"--output={output}")
    assert _predict(capsys, *arguments, "--coverage=0.9")[0] == 0
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    assert _predict(capsys, *arguments, "--coverage=0.9")[0] == 0
    assert output.read_bytes().startswith(whole[: len(whole) // 2].rpartition(b"\n")[0])
    # Other batches may round the last digit otherwise.
    before, now = ([*csv.reader(io.StringIO(x.decode()))] for x in (whole, output.read_bytes()))
    assert [row[:2] for row in now] == [row[:2] for row in before]
    confidences = [[float(row[2]) for row in rows[1:]] for rows in (now, before)]
    np.testing.assert_allclose(*confidences, atol=1e-5)
    whole = output.read_bytes()
    for other in ((), ("--coverage=0.99",)):
        code, _, err = _predict(capsys, *arguments, *other)
        assert code == 2 and "not written with this model, format and --coverage" in err
        assert output.read_bytes() == whole


def test_a_coverage_that_no_model_has_is_refused(output_dir, data_dir, tmp_path, capsys):
    assert predict._COVERAGES == conformal.COVERAGES
    images = data_dir / "validation"
    code, rows, err = _predict(capsys, output_dir / "without_1", images, "--coverage=0.8")
    assert (code, rows) == (2, []) and "(choose from 0.9, 0.95, 0.99)" in err
    code, rows, err = _predict(capsys, output_dir / "without_1", images, "--coverage=0.99")
    assert (code, rows) == (2, []) and "99 holdout images are needed, there are 36" in err
    models.DeepFakeNet(classes=2, filters=(2,), dropout=(0,)).save(tmp_path / "bare.keras")
    code, rows, err = _predict(capsys, tmp_path / "bare.keras", images, "--coverage=0.95")
    assert (code, rows) == (2, []) and "bare.keras carries no threshold set_0.95" in err


def test_too_few_images_for_any_promise(tmp_path, capsys):
    """A holdout of 6: no sets, no threshold, and nothing else is the worse for it."""
    data = write_kaggle(tmp_path / "data", counts={"train": 60, "validation": 9}, classes="abc")
    arguments = [f"--data_dir={data}", f"--output_dir={tmp_path}", "--model=svm_forensic"]
    assert cli.main(["train", *arguments, "--exclude_class=c"]) == 0
    told = "No threshold for unknown generators: 19 holdout images are needed, there are 4"
    assert told in capsys.readouterr().err
    run, images = tmp_path / "svm_forensic", data / "validation"
    metrics = json.loads((run / "metrics.json").read_text())
    assert "conformal" not in metrics and metrics["open_set"]["threshold"] is None
    assert {*metrics["left_out"]} == {"unknown_centred_logit", "set_0.9", "set_0.95", "set_0.99"}
    page = (run / "report.html").read_text()
    assert told in page and "At the model's own threshold" not in page
    assert "| c " in (tmp_path / "results.md").read_text().split("## Unknown generators")[1]
    for option, needed in (("--unknown", 19), ("--coverage=0.9", 9)):
        code, rows, err = _predict(capsys, run, images, option)
        assert (code, rows) == (2, [])
        assert f"{needed} holdout images are needed, there are 4. A holdout is a tenth" in err
    code, rows, _ = _predict(capsys, run, images)
    assert code == 0 and not any("unknown" in row["doubt"] for row in rows)
