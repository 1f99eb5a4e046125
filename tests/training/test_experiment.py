"""One experiment on small images: what it leaves, how it resumes, how it fails."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

import dfk
from dfk import config, runs, training
from dfk.data.catalog import DataError
from dfk.data.pipeline import make_dataset
from dfk.errors import UsageError
from dfk.training.callbacks import DivergenceError
from tests.datasets import write_kaggle
from tests.experiments import FINISHED, history, interrupt, short


def test_a_run_leaves_what_the_contract_lists(finished):
    settings, metrics = finished
    left = {path.name for path in settings.run_dir.iterdir()}
    assert left == {
        *("config.flags", "environment.json", "model.keras", "history.csv", "tensorboard"),
        *("metrics.json", "predictions.csv", "submission.csv", "report.html", ".dfk-run"),
    }
    assert json.loads((settings.run_dir / runs.METRICS).read_text()) == metrics
    assert {"split", "n", "accuracy", "accuracy_ci95", "macro_f1", "per_class", "nll"} <= set(
        metrics
    )
    assert {"confusion_matrix", "ece", "wall_time_s", "train_images_per_s"} <= set(metrics)
    assert [(row["format"], row["n"]) for row in metrics["resaved"]] == [
        ("JPEG 95", 37),
        ("JPEG 75", 37),
    ]


def test_the_model_carries_what_it_was_trained_on(finished):
    settings, _ = finished
    assert dfk.load(settings.run_dir).trained_on == {
        "sizes": [[16, 16], [16, 16]],
        "crop": 0,
        "formats": [{"PNG": count} for count in (27, 27, 26)],
        "demo": False,
    }


def test_history_has_a_row_per_epoch(finished):
    settings, _ = finished
    rows = history(settings.run_dir)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.02, 0.015, 0.005])
    assert set(rows[0]) == {
        *("epoch", "loss", "accuracy", "holdout_loss", "holdout_accuracy", "learning_rate")
    }


def test_the_saved_model_scores_what_the_predictions_say(finished, data_dir):
    settings, metrics = finished
    rows = _read(settings.run_dir / runs.PREDICTIONS)
    accuracy = np.mean([row["label"] == row["predicted"] for row in rows])
    assert metrics["n"] == len(rows) == 37
    assert metrics["accuracy"] == pytest.approx(accuracy)
    model = keras.models.load_model(settings.run_dir / runs.MODEL)
    model.compile(metrics=["accuracy"], loss="categorical_crossentropy")
    split = training.load_data(settings).splits["validation"]
    dataset = make_dataset(split=split, classes=3, batch_size=16)
    evaluated = model.evaluate(dataset, return_dict=True, verbose=0)
    assert evaluated["accuracy"] == pytest.approx(accuracy)
    assert evaluated["loss"] == pytest.approx(metrics["nll"], rel=1e-4)


def test_predictions_are_the_models_probabilities_in_the_order_of_the_split(finished):
    settings, _ = finished
    model = keras.models.load_model(settings.run_dir / runs.MODEL)
    split = training.load_data(settings).splits["validation"]
    rows = _read(settings.run_dir / runs.PREDICTIONS)
    assert [row["image_id"] for row in rows] == list(split.ids)
    expected = model.predict(np.stack(split.images).astype("float32"), verbose=0)
    written = np.array([[float(row[name]) for name in "012"] for row in rows])
    np.testing.assert_allclose(written, expected, atol=1e-5)
    assert [float(row["confidence"]) for row in rows] == pytest.approx(written.max(axis=1))


def test_the_submission_names_every_test_image(finished):
    settings, _ = finished
    rows = _read(settings.run_dir / runs.SUBMISSION)
    assert len(rows) == 7
    assert all(set(row) == {"image_id", "label"} and row["label"] in "012" for row in rows)


def test_the_model_is_float32_and_carries_its_contract(finished):
    settings, metrics = finished
    model = keras.models.load_model(settings.run_dir / runs.MODEL)
    head = model.layers[-1]
    assert head.class_names == ("0", "1", "2")
    assert head.temperature == metrics["temperature"] != 1.0
    layers = model._flatten_layers()
    assert {layer.compute_dtype for layer in layers} == {"float32"}
    odd = np.random.default_rng(0).uniform(0, 255, (2, 11, 23, 3))  # Any H and W
    np.testing.assert_allclose(model.predict(odd, verbose=0).sum(axis=1), 1, rtol=1e-5)


def test_the_saved_flags_repeat_the_run(finished, tmp_path):
    settings, metrics = finished
    (again,) = config.parse(
        [f"--flagfile={settings.run_dir / runs.FLAGS}", f"--output_dir={tmp_path}"]
    )
    assert again.run.experiment == settings.run.experiment
    repeated = training.run(again)
    times = ("wall_time_s", "train_images_per_s")
    assert {k: v for k, v in repeated.items() if k not in times} == {
        k: v for k, v in metrics.items() if k not in times
    }


def test_an_existing_folder_is_refused_or_answered(finished, data_dir):
    settings, metrics = finished
    output_dir = settings.run.output_dir
    with pytest.raises(UsageError, match="--resume continues it"):
        training.run(short(data_dir, output_dir, *FINISHED))
    again = short(data_dir, output_dir, *FINISHED, "--resume")
    assert training.run(again) == metrics
    with pytest.raises(UsageError, match=r"--learning_rate=0\.02 then, 0\.1 now"):
        training.run(again.with_(learning_rate=0.1))


def test_a_run_of_an_older_dfk_lacks_the_flags_that_came_later(finished, data_dir, tmp_path):
    settings, metrics = finished
    shutil.copytree(settings.run_dir, tmp_path / settings.run.experiment)
    flags = tmp_path / settings.run.experiment / runs.FLAGS
    older = [line for line in flags.read_text().splitlines() if not line.startswith("--label_")]
    flags.write_text("\n".join(older) + "\n")
    resumed = short(data_dir, tmp_path, *FINISHED, "--resume")
    assert training.run(resumed) == metrics
    with pytest.raises(UsageError, match=r"--label_smoothing=0\.0 then, 0\.1 now"):
        training.run(resumed.with_(label_smoothing=0.1))


def test_a_foreign_folder_is_never_deleted(data_dir, tmp_path):
    (tmp_path / "deepfakenet").mkdir()
    (tmp_path / "deepfakenet" / "thesis.txt").write_text("mine")
    for flag in ("--resume", "--overwrite"):
        with pytest.raises(UsageError, match="is no run"):
            training.run(short(data_dir, tmp_path, flag))
    assert (tmp_path / "deepfakenet" / "thesis.txt").read_text() == "mine"


def test_overwrite_starts_anew_and_keeps_what_others_left(data_dir, tmp_path, logged):
    settings = short(data_dir, tmp_path, "--overwrite")
    with runs.prepared(settings, {"data": {"fingerprint": "of other images"}}):
        (settings.run_dir / "thesis.txt").write_text("mine")
        (settings.run_dir / "predictions.csv").write_text("stale")
    training.run(settings)
    assert (settings.run_dir / "thesis.txt").read_text() == "mine"
    assert "thesis.txt" in logged.text
    assert _read(settings.run_dir / runs.PREDICTIONS)[0]["label"]
    report = (settings.run_dir / runs.REPORT).read_text()
    assert f"--flagfile={settings.run_dir}/config.flags" in report
    assert [path.name for path in tmp_path.iterdir()] == ["deepfakenet"]


def test_a_run_that_another_process_is_at_is_left_alone(finished):
    settings, _ = finished
    with runs.locked(settings.run_dir), pytest.raises(UsageError, match="another process"):
        training.run(settings.with_(overwrite=True))
    assert (settings.run_dir / runs.MODEL).is_file()


def test_changed_images_are_not_resumed_on(data_dir, tmp_path):
    settings = short(data_dir, tmp_path, "--resume")
    with runs.prepared(settings, {"data": {"fingerprint": "of other images"}}):
        pass
    with pytest.raises(UsageError, match="have changed"):
        training.run(settings)


def test_a_nan_stops_the_run_and_says_what_to_try(data_dir, tmp_path):
    with pytest.raises(DivergenceError, match=r"epoch 1, step \d+.*--learning_rate"):
        training.run(short(data_dir, tmp_path, "--learning_rate=1e38"))


def test_bad_images_are_reported_before_anything_is_written(tmp_path):
    folder = write_kaggle(tmp_path / "data", counts={"train": 40}, classes=("0", "1"))
    next((folder / "train").iterdir()).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train\.csv:"):
        training.run(short(folder, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--augment=blurr"], "no augmentation 'blurr'.* the presets none, light, forensic"),
        (["--image_size=0", "--train_crop=17"], "does not fit"),
        (["--train_crop=7"], "at least 8 pixels"),
        (["--image_size=4"], "at least 8 pixels"),
    ],
)
def test_flags_that_do_not_fit_are_refused(data_dir, tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        training.run(short(data_dir, tmp_path, *flags))


def test_crops_train_a_model_that_is_tested_on_whole_images(data_dir, tmp_path):
    flags = ["--image_size=0", "--train_crop=12", "--augment=forensic"]
    settings = short(data_dir, tmp_path, *flags)
    assert training.run(settings)["n"] == 37
    recorded = (settings.run_dir / "config.flags").read_text().splitlines()
    assert "--augment=flip=0.5,turn=0.75,degrade=0.5" in recorded  # What the preset was then
    assert training.run(settings.with_(resume=True))["n"] == 37


def test_images_of_several_sizes(tmp_path):
    folder = write_kaggle(tmp_path / "data", counts={"train": 40, "validation": 10}, size=16)
    odd = sorted((folder / "validation").iterdir())[3]
    Image.open(odd).resize((11, 20)).save(odd)
    metrics = training.run(short(folder, tmp_path / "runs", "--image_size=0"))
    assert metrics["n"] == 10
    odd = sorted((folder / "train").iterdir())[3]
    Image.open(odd).resize((11, 20)).save(odd)
    settings = short(folder, tmp_path / "runs", "--experiment=mixed")
    with pytest.raises(UsageError, match=r"2 sizes, from .*: train on crops .* --train_crop"):
        training.run(settings.with_(image_size=0))
    assert training.run(settings.with_(resume=True, experiment="resized"))["n"] == 10


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Images of 40 x 24 and of 16 x 16 pixels, and one of 9 x 30."""
    folder = write_kaggle(tmp_path_factory.mktemp("mixed"), counts={"train": 40, "validation": 6})
    for i, path in enumerate(sorted(folder.rglob("*.png"))[::2]):
        Image.open(path).resize((40, 24) if i else (9, 30)).save(path)
    return folder


def test_crops_of_images_of_several_sizes(mixed, tmp_path, logged, monkeypatch):
    flags = ["--image_size=0", "--train_crop=12", "--augment=forensic", "--epochs=2"]
    settings = short(mixed, tmp_path / "memory", *flags)
    assert training.run(settings)["n"] == 6
    padded = "1 of 35 training images are smaller than --train_crop=12 (down to 9 x 30) and are pad"
    assert padded in logged.text
    # Decoded again whenever they are used, and interrupted, it ends the same.
    other = short(mixed, tmp_path / "files", "--cache_gib=0", *flags)
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr("dfk.training.callbacks.StopAtNaN.on_epoch_begin", interrupt(at=1))
        training.run(other)
    training.run(other.with_(resume=True))
    assert history(other.run_dir) == history(settings.run_dir)
    answers = [run.run_dir / runs.PREDICTIONS for run in (other, settings)]
    assert answers[0].read_bytes() == answers[1].read_bytes()


def test_small_images_are_named_if_asked_for(mixed, tmp_path):
    flags = ["--image_size=0", "--train_crop=12", "--on_small_image=fail"]
    with pytest.raises(
        DataError, match=r"^train.csv:\d+: is 9 x 30 pixels, smaller than --train_cr"
    ):
        training.run(short(mixed, tmp_path, *flags))


@pytest.mark.parametrize("draws", [[], ["--feature_draws=1", "--train_crop=12", "--augment=turn"]])
def test_features_of_images_of_several_sizes(mixed, tmp_path, draws):
    flags = ["--model=rich", "--image_size=0", "--augment=", *draws]
    assert training.run(short(mixed, tmp_path, *flags))["n"] == 6


def test_two_classes_and_no_validation_split(tmp_path):
    folder = write_kaggle(tmp_path / "data", counts={"train": 40}, classes=("cat", "dog"))
    metrics = training.run(short(folder, tmp_path / "runs"))
    assert [row["class"] for row in metrics["per_class"]] == ["cat", "dog"]
    assert metrics["n"] == 4


def _read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
