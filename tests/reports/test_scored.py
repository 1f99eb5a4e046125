"""What is left of a model that was scored: the same files, whoever asked for them."""

import json

import numpy as np
import pytest

import dfk
from dfk.data.catalog import Split
from dfk.evaluation import conformal
from dfk.reports import scored
from dfk.runs import ownership
from tests.networks import CLASSES, network
from tests.pictures import noise

TOLD = {"title": "mine", "history": [], "config": {}, "environment": {}, "command": "dfk evaluate"}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    network(16).save(path)
    return dfk.load(path)


@pytest.fixture(scope="module")
def split():
    names = [f"i{i}" for i in range(12)]
    images = [noise(16, 16, seed) for seed in range(12)]
    return Split(names, names, np.arange(12, dtype=np.int32) % 3, names, images)


@pytest.fixture(scope="module")
def probabilities(classifier, split):
    return np.stack([x.probabilities for x in classifier.predict(split.images)])


def _measured(split, probabilities, thresholds=()):
    return scored.measure(
        split,
        probabilities,
        CLASSES,
        experiment="mine",
        model="deepfakenet",
        data_dir="data",
        name="test",
        temperature=1.5,
        thresholds=dict(thresholds),
    )


def test_the_figures_are_those_of_the_model_and_its_thresholds(split, probabilities):
    measured = _measured(split, probabilities)
    assert [*measured][:4] == ["experiment", "model", "data_dir", "split"]
    assert (measured["model"], measured["split"], measured["n"]) == ("deepfakenet", "test", 12)
    assert measured["accuracy"] == (probabilities.argmax(axis=1) == split.labels).mean()
    assert measured["temperature"] == 1.5 and "uncalibrated" in measured
    assert "conformal" not in measured
    (sets,) = _measured(split, probabilities, {conformal.set_name(0.9): [0.0] * 3})["conformal"]
    assert (sets["coverage"], sets["measured"]) == (0.9, 1.0)


def test_the_metrics_come_last_and_dfk_knows_all_as_its_own(
    split, probabilities, classifier, tmp_path, monkeypatch
):
    measured = _measured(split, probabilities)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(scored, "write_report", _full)
        scored.write(tmp_path, classifier, split, probabilities, measured, **TOLD)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]
    scored.write(tmp_path, classifier, split, probabilities, measured, **TOLD)
    assert json.loads((tmp_path / "metrics.json").read_text()) == measured
    ownership.refuse_others(tmp_path, *ownership.EVALUATION)
    assert "where the model looked" in (tmp_path / "report.html").read_text()


def _full(*_, **__):
    raise OSError("the disk is full")
