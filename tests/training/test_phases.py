"""Schedules, averaged weights and optimizers, through real trainings on small images."""

import json

import keras
import numpy as np
import pytest

from dfk import config, models, runs, training
from dfk.training import callbacks, phases
from tests.datasets import write_kaggle


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    counts = {"train": 90, "validation": 12}
    return write_kaggle(tmp_path_factory.mktemp("data") / "kaggle", counts=counts)


def _config(data_dir, output_dir, *more):
    given = ["--epochs=3", "--batch_size=16", "--image_size=16", "--precision=float32"]
    given += ["--schedule=cosine", "--ema=0.9", "--augment=flip", "--learning_rate=0.02"]
    return config.parse([f"--data_dir={data_dir}", f"--output_dir={output_dir}", *given, *more])[0]


@pytest.fixture(scope="module")
def averaged(data_dir, tmp_path_factory):
    settings = _config(data_dir, tmp_path_factory.mktemp("runs"))
    return settings, training.run(settings)


def _history(settings):
    header, *rows = (settings.run_dir / runs.HISTORY).read_text().splitlines()
    return [dict(zip(header.split(","), map(float, row.split(",")), strict=True)) for row in rows]


def test_the_rate_falls_along_a_cosine(averaged):
    settings, _ = averaged
    rates = [row["learning_rate"] for row in _history(settings)]
    assert rates == pytest.approx([0.02, 0.015, 0.005])


def test_what_is_saved_is_what_was_scored(averaged, data_dir):
    """The best epoch's loss on the holdout, with averaged weights and their own statistics."""
    settings, metrics = averaged
    model = keras.models.load_model(settings.run_dir / runs.MODEL)
    holdout = training.load_data(settings).splits["holdout"]
    logits = models.logits_of(model).predict(np.stack(holdout.images).astype("float32"), verbose=0)
    labels = np.eye(5)[holdout.labels]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)(labels, logits)
    best = min(row["holdout_loss"] for row in _history(settings))
    assert float(loss) == pytest.approx(best, rel=1e-4)
    assert metrics["temperature"] != 1.0


def _as_before(run_dir):
    """Makes a run what dfk left when it called the holdout what Keras calls it."""
    history = run_dir / runs.HISTORY
    history.write_text(history.read_text().replace("holdout_", "val_"))
    with np.load(run_dir / runs.CHECKPOINT) as file:
        arrays = dict(file)
    arrays["state"] = np.array(str(arrays["state"]).replace("holdout_", "val_"))
    np.savez(run_dir / runs.CHECKPOINT, **arrays)
    (run_dir / runs.TENSORBOARD / "holdout").rename(run_dir / runs.TENSORBOARD / "validation")


def test_a_resumed_average_of_before_ends_as_one_that_was_not_interrupted(
    averaged, data_dir, tmp_path, monkeypatch
):
    settings, metrics = averaged
    started = _config(data_dir, tmp_path)
    with monkeypatch.context() as patch:
        begin = callbacks.Progress.on_epoch_begin

        def interrupted(self, epoch, logs=None):
            begin(self, epoch, logs)
            if epoch == 2:
                raise KeyboardInterrupt

        patch.setattr(callbacks.Progress, "on_epoch_begin", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.run(started)
    _as_before(started.run_dir)
    resumed = training.run(_config(data_dir, tmp_path, "--resume"))
    assert json.dumps(resumed["per_class"]) == json.dumps(metrics["per_class"])
    assert resumed["nll"] == metrics["nll"]
    assert _history(started) == _history(settings)
    folders = {path.name for path in (started.run_dir / runs.TENSORBOARD).iterdir()}
    assert folders == {"train", "holdout"}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weight_decay_spares_what_normalises(data_dir, tmp_path, monkeypatch, optimizer):
    settings = _config(data_dir, tmp_path, f"--optimizer={optimizer}", "--weight_decay=0.1")
    optimizer = phases._optimizer(settings, 0.1)
    network = models.network_of(models.ResidualNet(classes=3, filters=(4, 8), seed=0))
    optimizer.build(network.trainable_variables)
    before = {v.path: np.array(v) for v in network.trainable_variables}
    optimizer.apply([0 * v for v in network.trainable_variables])
    changed = {v.path for v in network.trainable_variables if not np.array_equal(v, before[v.path])}
    kernels = {path for path in before if path.endswith("kernel")}
    assert changed == kernels


def test_smoothed_labels_cost_a_sure_answer(data_dir, tmp_path):
    """A fifth of a label is spread over both classes: nine tenths and one tenth."""
    labels, logits = np.array([[1.0, 0.0]]), np.log([[0.8, 0.2]])
    for share, expected in ((0, -np.log(0.8)), (0.2, -0.9 * np.log(0.8) - 0.1 * np.log(0.2))):
        settings = _config(data_dir, tmp_path, f"--label_smoothing={share}")
        assert float(phases._loss(settings)(labels, logits)) == pytest.approx(expected, rel=1e-5)
