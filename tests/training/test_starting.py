"""Training that starts with the weights of another network."""

import json

import keras
import numpy as np
import pytest

from dfk import cli, models, runs, training
from dfk.errors import UsageError
from dfk.training import callbacks
from tests.experiments import fit, history, interrupt, short

FLAGS = ("--epochs=3", "--head_epochs=1", "--learning_rate=0.01", "--fine_tune_from=block3")


@pytest.fixture(scope="module")
def start(finished):
    """The folder of a finished run of three classes."""
    return finished[0].run_dir


def _network(run_dir):
    return models.network_of(keras.models.load_model(run_dir / runs.MODEL))


def test_the_head_trains_first_then_the_base_from_a_layer_on(start, data_dir, tmp_path, logged):
    flags = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}", f"--weights={start}", *FLAGS]
    assert cli.main(["train", *flags, "--batch_size=16", "--precision=float32"]) == 0
    run_dir = tmp_path / "deepfakenet"
    assert f"From --weights={start}/model.keras: --model=deepfakenet --image_size=16" in logged.text
    assert "32 of 32 arrays taken." in logged.text  # The same classes
    before, after = _network(start), _network(run_dir)
    for name, same in (("block2_conv2", True), ("block3_conv1", False), ("logits", False)):
        kernels = [network.get_layer(name).kernel.numpy() for network in (before, after)]
        assert np.array_equal(*kernels) == same, name
        np.testing.assert_allclose(*kernels, atol=0.2)  # It began where the run ended.
    rates = [row["learning_rate"] for row in history(run_dir)]
    assert rates == pytest.approx([0.01, 0.001, 0.001])
    flags = (run_dir / runs.FLAGS).read_text()
    assert f"--weights={start}/model.keras\n" in flags and "--image_size=16\n" in flags
    assert "--fine_tune_learning_rate=0.001\n" in flags
    known = json.loads((run_dir / runs.ENVIRONMENT).read_text())["weights"]
    assert known["file"] == f"{start}/model.keras" and len(known["sha256"]) == 64


def test_its_phases_resume_as_if_never_interrupted(start, data_dir, tmp_path, monkeypatch):
    whole, parts = (
        short(data_dir, tmp_path, f"--weights={start}/model.keras", *FLAGS, f"--experiment={name}")
        for name in ("whole", "parts")
    )
    expected = fit(whole)
    for epoch in (1, 2):  # As the second phase begins, and within it
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(callbacks.Progress, "on_epoch_begin", interrupt(epoch))
            fit(parts)
    for ours, theirs in zip(fit(parts).get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert history(parts.run_dir) == history(whole.run_dir)


def test_other_weights_under_the_same_name_are_another_run(start, data_dir, tmp_path, monkeypatch):
    file = tmp_path / "start.keras"
    file.write_bytes((start / runs.MODEL).read_bytes())
    settings = short(data_dir, tmp_path, f"--weights={file}", "--resume", *FLAGS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(callbacks.Progress, "on_epoch_begin", interrupt(1))
        training.run(settings)
    model = keras.models.load_model(file)
    model.set_weights([weight + 1 for weight in model.get_weights()])
    model.save(file)
    with pytest.raises(UsageError, match=r"weights in .*start\.keras have changed since"):
        training.run(settings)


def test_features_of_a_frozen_base_are_computed_once(start, data_dir, tmp_path, monkeypatch):
    flags = ["--epochs=2", "--head_epochs=1", "--fine_tune_from=", "--augment="]
    settings = short(data_dir, tmp_path, f"--weights={start}/model.keras", *flags)
    computed, of_images = [], training.phases.features.of_images
    monkeypatch.setattr(
        training.phases.features, "of_images", lambda *a: computed.append(a) or of_images(*a)
    )
    model = fit(settings)
    assert len(computed) == 1  # For both phases
    before = _network(start)
    for layer in models.network_of(model).layers:
        weights = zip(layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True)
        assert all(np.array_equal(*pair) for pair in weights) == (layer.name != "logits")


def test_classes_of_other_names_train_a_fresh_head(start, data_dir, tmp_path, logged):
    names = "--class_names=0:gan,1:vae,2:diffusion"
    settings = short(data_dir, tmp_path, f"--weights={start}/model.keras", names, "--limit=40")
    fit(settings)
    assert (
        "30 of 32 arrays taken; the head is fresh, for other classes than 0, 1, 2." in logged.text
    )
