"""A model that is fitted at once: a run as any other, that combines, and fits into memory."""

import keras
import numpy as np
import pytest

from dfk import config, models, training
from dfk.errors import UsageError
from dfk.system import hardware
from dfk.training import closed_form
from tests.datasets import write_kaggle
from tests.experiments import short

FISHER = ("--model=fisher", "--image_size=16", "--augment=flip")

pytestmark = pytest.mark.usefixtures("few_counts")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return write_kaggle(tmp_path_factory.mktemp("images"), counts={"train": 90, "validation": 30})


@pytest.fixture
def settings(data_dir, tmp_path):
    return short(data_dir, tmp_path, *FISHER, "--feature_draws=1")


def test_it_leaves_a_run_that_combines_and_that_its_flags_repeat(settings, data_dir, tmp_path):
    metrics = training.run(settings)
    assert metrics["accuracy"] > 0.35  # Of five classes
    assert (metrics["epochs"], metrics["model"]) == (1, "fisher")
    head = models.network_of(keras.models.load_model(settings.run_dir / "model.keras")).layers[-1]
    assert np.isfinite(head.kernel).all() and np.ptp(head.kernel) > 0

    (again,) = config.parse([f"--flagfile={settings.run_dir}/config.flags", "--experiment=again"])
    training.run(again)
    files = [run.run_dir / "predictions.csv" for run in (settings, again)]
    assert files[0].read_bytes() == files[1].read_bytes()

    both = ["--model=ensemble", f"--members={settings.run.experiment},again"]
    (joined,) = config.parse([f"--data_dir={data_dir}", f"--output_dir={tmp_path}", *both])
    assert training.run(joined)["accuracy"] == pytest.approx(metrics["accuracy"])


def test_what_does_not_fit_into_memory_is_refused_first(settings, monkeypatch):
    monkeypatch.setattr(hardware, "available_bytes", lambda: 2**20)
    with pytest.raises(UsageError, match=r"the discriminant of .* available are 0.0 GiB"):
        training.run(settings)
    assert not settings.run_dir.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs=3"], "fisher"),
        (["--mixup_alpha=1"], "no effect without a --model that learns by gradients"),
        (["--class_weight=0:2"], "no effect without a --model that learns by gradients"),
    ],
)
def test_flags_that_it_does_not_heed_are_refused(data_dir, tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        training.run(short(data_dir, tmp_path, *FISHER, *flags))


def test_what_goes_unused_is_said(data_dir, tmp_path, caplog):
    settings = short(data_dir, tmp_path, *FISHER)
    data = training.load_data(settings)
    closed_form.check(settings, data)
    assert "--augment and --train_crop go unused" in caplog.text
    caplog.clear()
    closed_form.check(settings.with_(feature_draws=1), data)
    assert not caplog.text
