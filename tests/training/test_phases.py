"""Averaged weights and optimizers, through real trainings on small images."""

import json

import keras
import numpy as np
import pytest

from dfk import models, runs, training
from dfk.training import callbacks, phases
from tests.experiments import FINISHED, history, interrupt, short


def test_what_is_saved_is_what_was_scored(finished, data_dir):
    """The best epoch's loss on the holdout, with averaged weights and their own statistics."""
    settings, metrics = finished
    model = keras.models.load_model(settings.run_dir / runs.MODEL)
    holdout = training.load_data(settings).splits["holdout"]
    logits = models.logits_of(model).predict(np.stack(holdout.images).astype("float32"), verbose=0)
    labels = np.eye(3)[holdout.labels]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)(labels, logits)
    best = min(row["holdout_loss"] for row in history(settings.run_dir))
    assert float(loss) == pytest.approx(best, rel=1e-4)
    assert metrics["temperature"] != 1.0


def _as_before(run_dir):
    """Makes a run what dfk left when it called the holdout what Keras calls it."""
    table = run_dir / runs.HISTORY
    table.write_text(table.read_text().replace("holdout_", "val_"))
    with np.load(run_dir / runs.CHECKPOINT) as file:
        arrays = dict(file)
    arrays["state"] = np.array(str(arrays["state"]).replace("holdout_", "val_"))
    np.savez(run_dir / runs.CHECKPOINT, **arrays)
    (run_dir / runs.TENSORBOARD / "holdout").rename(run_dir / runs.TENSORBOARD / "validation")


def test_a_resumed_average_of_before_ends_as_one_that_was_not_interrupted(
    finished, data_dir, tmp_path, monkeypatch
):
    settings, metrics = finished
    started = short(data_dir, tmp_path, *FINISHED)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Progress, "on_epoch_begin", interrupt(2))
        with pytest.raises(KeyboardInterrupt):
            training.run(started)
    _as_before(started.run_dir)
    resumed = training.run(started.with_(resume=True))
    assert json.dumps(resumed["per_class"]) == json.dumps(metrics["per_class"])
    assert resumed["nll"] == metrics["nll"]
    assert history(started.run_dir) == history(settings.run_dir)
    folders = {path.name for path in (started.run_dir / runs.TENSORBOARD).iterdir()}
    assert folders == {"train", "holdout", "validation"}


def test_smoothed_labels_cost_a_sure_answer(data_dir, tmp_path):
    """A fifth of a label is spread over both classes: nine tenths and one tenth."""
    labels, logits = np.array([[1.0, 0.0]]), np.log([[0.8, 0.2]])
    for share, expected in ((0, -np.log(0.8)), (0.2, -0.9 * np.log(0.8) - 0.1 * np.log(0.2))):
        settings = short(data_dir, tmp_path, f"--label_smoothing={share}")
        assert float(phases.loss_of(settings)(labels, logits)) == pytest.approx(expected, rel=1e-5)
