"""The robustness matrix: its rows, what it costs in memory, and where it is shown."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import dfk
from dfk import cli, models
from dfk.data.catalog import Split
from dfk.errors import UsageError
from dfk.evaluation import metrics, selective
from dfk.evaluation.degrade import OPERATIONS
from dfk.reports import robustness, robustness_plots
from tests.datasets import write_kaggle
from tests.networks import network
from tests.pictures import noise

CASES = [(name, severity) for name, op in OPERATIONS.items() for severity in op.severities]
SOME = {name: OPERATIONS[name] for name in ("blur", "crop")}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "mine.keras"
    network(side=None).save(path)
    return dfk.load(path)


@pytest.fixture(scope="module")
def split():
    images = [noise(20 + i % 2, 24, seed=i) for i in range(15)]
    ids = [f"i{n}" for n in range(15)]
    return Split(ids, [Path(i) for i in ids], np.arange(15) % 3, ids, images)


def _probabilities(classifier, images):
    return np.stack([found.probabilities for found in classifier.predict(images)])


def test_rows_are_what_the_model_says_of_degraded_images(classifier, split):
    clean = _probabilities(classifier, split.images)
    seen = []

    def progress(answers, total):
        for answer in answers:
            seen.append(total)
            yield answer

    found = robustness.measure(classifier, split, clean, operations=SOME, progress=progress)
    assert seen == [5 * 15] * 75
    rows = found["robustness"]
    severities = [("none", ""), ("blur", 0.5), ("blur", 1.0), ("blur", 2.0), ("crop", 0.9)]
    assert [(r["operation"], r["severity"]) for r in rows] == [*severities, ("crop", 0.75)]
    for row in rows:
        degrade = {**OPERATIONS, "none": None}[row["operation"]]
        images = [degrade.apply(i, row["severity"]) if degrade else i for i in split.images]
        expected = metrics.compute(split.labels, _probabilities(classifier, images), "abc")
        assert row["accuracy"] == expected["accuracy"]
        assert row["ece"] == pytest.approx(expected["ece"], abs=1e-6)
        assert row["recall"] == [line["recall"] for line in expected["per_class"]]
    assert found["robustness_mean"] == pytest.approx(np.mean([r["accuracy"] for r in rows[1:]]))
    assert len({r["ece"] for r in rows}) == 6  # The network does tell them apart.


def test_what_a_model_cannot_take_is_left_out_and_named(classifier, split, logged):
    def fixed(images):
        if images.shape[2] != 24:
            raise UsageError(f"needs a width of 24, got {images.shape[2]}")
        return classifier.answer(images)

    svm = dataclasses.replace(classifier, answer=fixed)
    clean = _probabilities(svm, split.images)
    found = robustness.measure(svm, split, clean, operations=SOME)
    assert {row["operation"] for row in found["robustness"]} == {"none", "blur"}
    assert "Left crop 0.9 out of the robustness matrix" in logged.text
    assert "needs a width of 24" in logged.text
    alone = robustness.measure(svm, split, clean, operations={"crop": OPERATIONS["crop"]})
    assert [row["operation"] for row in alone["robustness"]] == ["none"]
    assert alone["robustness_mean"] is None
    assert "61.2%" not in robustness.table(alone["robustness"], None)


def test_a_recheck_is_compared_with_the_confidence_on_all_degraded_images(classifier, split):
    clean = _probabilities(classifier, split.images)
    found = robustness.measure(classifier, split, clean, operations=SOME, recheck=True)
    cases = [(op, s) for op in SOME.values() for s in op.severities]
    images = [op.apply(image, s) for op, s in cases for image in split.images]
    predictions = classifier.predict(images, recheck=True)
    probabilities = np.stack([x.probabilities for x in predictions])
    labels, scores = np.tile(split.labels, 5), np.array([x.recheck for x in predictions])
    rechecked = found["robustness_recheck"]
    for by, given in (("by_confidence", None), ("by_recheck", scores)):
        expected = selective.curve(labels, probabilities, given)
        assert rechecked[by]["aurc"] == pytest.approx(expected["aurc"])
    answered = np.array([x.label != "unsure" for x in predictions])
    right = probabilities.argmax(axis=1) == labels
    assert rechecked["answered"] == pytest.approx(answered.mean()) and 0 < answered.mean() < 1
    assert rechecked["accuracy"] == pytest.approx(right[answered].mean())
    point = rechecked["by_recheck"]["curve"][16]
    line = robustness.recheck_line(rechecked)
    assert point["coverage"] == pytest.approx(0.85, abs=0.01)
    assert f"of the 85% surest answers to degraded images {1 - point['accuracy']:.1%} are" in line


class Counted(list):
    """A sequence that counts how often it is looked at."""

    looks = 0

    def __getitem__(self, index):
        self.looks += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(("room", "looks"), [(2**30, 4), (3 * 8 * 8 * 2, 4 + 2), (0, 8)])
def test_decoded_images_are_held_within_bounds(room, looks):
    images = Counted(noise(8, 8, seed) for seed in range(4))
    held = robustness._Held(images, most=room)
    for _ in range(2):
        for i in range(4):
            np.testing.assert_array_equal(held[i], noise(8, 8, i))
    assert images.looks == looks


def test_the_command_writes_the_rows_and_shows_them(tmp_path, capsys):
    path = tmp_path / "mine.keras"
    shape = {"classes": 3, "input_shape": (16, 16, 3), "filters": (4,), "dropout": (0,)}
    models.DeepFakeNet(class_names=("0", "1", "2"), seed=3, **shape).save(path)
    data = write_kaggle(tmp_path / "data", counts={"validation": 12}, classes=("0", "1", "2"))
    given = ["evaluate", str(path), f"--data_dir={data}"]

    assert cli.main([*given, "--recheck"]) == 2
    assert "goes with --robustness" in capsys.readouterr().err
    output = f"--output_dir={tmp_path / 'out'}"
    assert cli.main([*given, "--robustness", "--recheck", output]) == 0
    out = capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    rows = written["robustness"]
    assert [(r["operation"], r["severity"]) for r in rows] == [("none", ""), *CASES]
    assert rows[0]["accuracy"] == written["accuracy"] and rows[0]["ece"] == written["ece"]
    assert f"robustness  mean accuracy {written['robustness_mean']:.2%}" in out
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    jpeg = [(r["severity"], r["accuracy"]) for r in rows if r["operation"] == "jpeg"]
    assert lines["jpeg"] == [word for s, accuracy in jpeg for word in (str(s), f"{accuracy:.1%}")]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2>Robustness</h2>" in page and "--robustness" in page
    assert all(operation.title in page for operation in OPERATIONS.values())
    assert "jpeg 95" in page and "--robustness --recheck" in page
    assert "<h3>Rechecked</h3>" in page and "degraded images answered, the surest first" in page
    assert out.splitlines()[-1] == robustness.recheck_line(written["robustness_recheck"])

    assert cli.main([*given, f"--output_dir={tmp_path / 'plain'}"]) == 0
    assert "robustness" not in capsys.readouterr().out
    assert "robustness" not in json.loads((tmp_path / "plain" / "metrics.json").read_text())
    assert "Robustness" not in (tmp_path / "plain" / "report.html").read_text()


# The section


def _metrics(classes=3):
    row = {"accuracy": 0.9, "ece": 0.02, "recall": [0.9] * classes}
    rows = [
        row | {"operation": "none", "severity": ""},
        row | {"operation": "jpeg", "severity": 90, "accuracy": 0.61},
        row | {"operation": "melt", "severity": "very", "recall": [0.17] + [0.9] * (classes - 1)},
    ]
    per_class = [{"class": f"g{i}", "support": 9 * (i != 1)} for i in range(classes)]
    return {"n": 90, "robustness": rows, "robustness_mean": 0.755, "per_class": per_class}


def test_the_section_names_the_worst_and_draws_each_operation():
    section = robustness_plots.section(_metrics())
    assert section["worst"]["operation"] == "jpeg" and section["conditions"] == 2
    assert list(section["curves"]) == [OPERATIONS["jpeg"].title, "melt"]  # An unknown one, too
    assert ">61%<" in section["curves"][OPERATIONS["jpeg"].title]
    texts = section["recall"]
    assert ">17<" in texts and ">melt very<" in texts and ">g0<" in texts
    assert ">g1<" not in texts  # No image of that class
    assert "var(--warm)" in texts


def test_there_is_no_section_without_degradations():
    assert robustness_plots.section({}) is None
    assert robustness_plots.section({"n": 1, "robustness": _metrics()["robustness"][:1]}) is None


def test_many_classes_leave_no_room_for_figures():
    few, many = (robustness_plots.section(_metrics(c))["recall"] for c in (5, 60))
    assert few.count(">90<") > many.count(">90<") == 0
