"""A bug of dfk's own shows as one: no command takes its ValueError for a user's mistake."""

import pytest

from dfk import cli, models
from dfk.inference import Classifier
from dfk.inference.explain import Explainer
from dfk.training import features, fitting, optimizers, phases
from tests.datasets import write_kaggle
from tests.networks import network


class PlantedError(ValueError):
    """What TensorFlow, Keras or NumPy raise where dfk uses them wrongly."""


def _raise(*arguments, **named):
    raise PlantedError("planted")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    counts = {"train": 40, "validation": 8}
    return write_kaggle(tmp_path_factory.mktemp("data") / "kaggle", counts=counts)


@pytest.mark.parametrize(
    ("place", "name", "flags"),
    [
        (phases, "make_dataset", []),
        (optimizers, "make", []),
        (fitting, "fit_temperature", []),
        (fitting.models.SVM, "fit", ["--model=svm"]),
        (features, "make_dataset", ["--model=rich", "--feature_draws=1"]),
        (models, "memory", []),
    ],
)
def test_in_training(place, name, flags, data_dir, tmp_path, monkeypatch):
    network = "--model=svm" not in flags
    flags = [*flags, *["--image_size=0", "--epochs=1", "--augment=flip"] * network]
    monkeypatch.setattr(place, name, _raise)
    with pytest.raises(PlantedError, match="planted"):
        cli.main(["train", f"--data_dir={data_dir}", f"--output_dir={tmp_path}", *flags])


@pytest.mark.parametrize(
    ("command", "place", "name"),
    [
        ("predict", Classifier, "_prediction"),
        ("explain", Explainer, "_map"),
        ("evaluate", Classifier, "_call"),
    ],
)
def test_in_scoring(command, place, name, data_dir, tmp_path, monkeypatch):
    network(16).save(tmp_path / "tiny.keras")
    labels = "--class_map=0:cat,1:cat,2:dog,3:dog,4:cat"
    given = [f"--data_dir={data_dir}", labels] if command == "evaluate" else [str(data_dir)]
    monkeypatch.setattr(place, name, _raise)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlantedError, match="planted"):
        cli.main([command, str(tmp_path / "tiny.keras"), *given])


def test_within_a_model(data_dir, tmp_path, monkeypatch):
    """Where an SVM says what it needs, it says so by an error of dfk's own."""
    monkeypatch.setattr(models.SVM, "duels", _raise)
    flags = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}", "--model=svm_forensic"]
    with pytest.raises(PlantedError, match="planted"):
        cli.main(["train", *flags])
