"""Versions that appear whole, files that a server reads, refusals, the command."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

import dfk
from dfk import cli, config, export, models, training
from dfk.errors import UsageError
from dfk.evaluation import conformal
from dfk.export import serving_files
from dfk.runs import ownership
from tests.datasets import write_kaggle
from tests.networks import CLASSES, network
from tests.pictures import noise


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    """A model with BatchNormalization, saved by itself."""
    path = tmp_path_factory.mktemp("models") / "tiny.keras"
    network().save(path)
    return path


def test_a_version_holds_what_a_server_reads(exported):
    beside = ownership.BESIDE
    assert {path.name for path in exported.iterdir()} == {"1", *beside}
    version = exported / "1"
    assert {"saved_model.pb", "variables", "assets.extra", "model.py"} <= {
        path.name for path in version.iterdir()
    }
    told = json.loads((version / "assets.extra" / "dfk.json").read_text())
    assert told["name"] == "my_ensemble"  # What a URL can hold
    assert told["class_names"] == list(CLASSES)
    assert told["image_sizes"] == [[16, 16], [24, 24]]
    assert told["thresholds"] == {}
    assert 0 <= told["largest_difference"] <= 1e-5
    # Whoever runs the server may read it.
    assert version.stat().st_mode & 0o755 == 0o755 & ~_umask()


def test_warm_up_has_a_record_per_signature_and_batch_size(exported):
    path = exported / "1" / "assets.extra" / "tf_serving_warmup_requests"
    seen = set()
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        ((key, value),) = request.inputs.items()
        seen.add((request.model_spec.signature_name, key, len(tf.make_ndarray(value))))
    keys = {"serving_default": "image_bytes", "serve_images": "images"}
    assert seen == {(s, k, n) for s, k in keys.items() for n in serving_files.BATCH_SIZES}


def test_the_server_is_configured_for_the_model(exported):
    text = (exported / "models.config").read_text()
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (entry,) = parsed.model_config_list.config
    assert (entry.name, entry.base_path) == ("my_ensemble", "/models/my_ensemble")
    batching = (exported / "1" / "batching_params.pbtxt").read_text()
    sizes = [line for line in batching.splitlines() if line.startswith("allowed_batch_sizes")]
    assert sizes == [f"allowed_batch_sizes: {n}" for n in serving_files.BATCH_SIZES]
    assert f"max_execution_batch_size {{ value: {serving_files.BATCH_SIZES[-1]} }}" in batching


def test_versions_are_counted_and_those_of_dfk_pruned(keras_file, tmp_path, logged):
    for others in ("1", "7.old"):
        (tmp_path / others).mkdir()
    made = export.export(keras_file, tmp_path)
    assert made.folder == tmp_path / "2"
    shutil.copytree(made.folder, tmp_path / "3")
    (tmp_path / "3" / "notes.txt").write_text("mine")
    shutil.copytree(made.folder, tmp_path / "9")
    assert export.export(keras_file, tmp_path, keep_versions=2).folder == tmp_path / "10"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"1", "3", "9", "10", "7.old", *ownership.BESIDE}
    assert "Kept in" in logged.text and "1, 3" in logged.text


@pytest.mark.parametrize("name", ownership.BESIDE)
def test_what_others_wrote_beside_the_versions_is_not_replaced(keras_file, tmp_path, name):
    (tmp_path / name).write_text('model_config_list { config { name: "theirs" } }')
    with pytest.raises(UsageError, match=f"{name} is there and dfk did not write it"):
        export.export(keras_file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_compact_file_replaces_nothing(keras_file, tmp_path, capsys):
    (tmp_path / "a.keras").write_text("mine")
    assert cli.main(["export", str(keras_file), f"--compact={tmp_path / 'a.keras'}"]) == 2
    assert "a.keras is there already" in capsys.readouterr().err
    assert (tmp_path / "a.keras").read_text() == "mine"


def test_a_server_that_polls_never_sees_half_a_version(keras_file, tmp_path):
    seen, done = {}, threading.Event()

    def poll():
        while not done.is_set():
            for path in tmp_path.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    listing = _listing(path)
                    # One that is gone by now may have been listed while it was renamed.
                    if path.name.isdecimal() and path.exists():
                        seen.setdefault(path.name, []).append(listing)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        for number in (1, 2):
            export.export(keras_file, tmp_path, keep_versions=1)
            end = time.monotonic() + 30
            while str(number) not in seen and time.monotonic() < end:
                time.sleep(0.01)
        whole = _listing(tmp_path / "2")
    finally:
        done.set()
        poller.join()
    assert set(seen) == {"1", "2"}
    assert all(listing == whole for listings in seen.values() for listing in listings)


def _listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_beside_the_file_unless_told_otherwise(keras_file):
    assert export.export(keras_file).folder == keras_file.parent / "tiny_saved_model" / "1"


@pytest.mark.parametrize(
    ("options", "difference", "advice"),
    [
        ({}, 1.1e-5, "--no_fold"),
        ({"fold": False}, float("nan"), "weights may be broken"),
        ({"precision": "mixed_bfloat16"}, 0.06, "--precision=float32"),
    ],
)
def test_a_model_that_would_answer_differently_is_refused(
    keras_file, tmp_path, monkeypatch, options, difference, advice
):
    monkeypatch.setattr(export.check, "largest_difference", lambda *_: difference)
    with pytest.raises(export.DifferenceError, match=f"more than .*{advice}"):
        export.export(keras_file, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_wrong_fold_is_noticed(keras_file, tmp_path, monkeypatch):
    from dfk.export import folding

    right = folding._fold

    def wrong(convolution, norm):
        kernel, bias = right(convolution, norm)
        return [kernel, bias + 0.01]

    monkeypatch.setattr(folding, "_fold", wrong)
    with pytest.raises(export.DifferenceError, match="--no_fold"):
        export.export(keras_file, tmp_path)


def test_a_wrong_known_is_noticed(keras_file, tmp_path, monkeypatch):
    monkeypatch.setattr(export.signatures, "_centred_logit", lambda x: x[:, 0] - 2)
    with pytest.raises(export.DifferenceError, match="by nan"):
        export.export(keras_file, tmp_path)


def test_what_a_model_carries_is_exported_by_the_names_that_are_asked_for(tmp_path):
    model = network()
    record = {"sizes": [[9, 9], [9, 9]], "crop": 0, "formats": [{"GIF": 2}] * 3, "demo": False}
    models.set_trained_on(model, record)
    models.set_thresholds(model, {conformal.UNKNOWN: 50.0})
    model.save(tmp_path / "m.keras")
    names = {"cat": "gan", "übung": "vae"}
    folder = export.export(tmp_path / "m.keras", class_names=names).folder
    loaded = dfk.load(folder)
    assert loaded.class_names == ("gan", "dog", "vae") and loaded.trained_on == record
    (found,) = loaded.predict(noise(20, 10))
    assert found.doubt == "10x20: trained on 9x9; unknown"
    small = tmp_path / "small.keras"
    arguments = ["export", str(tmp_path / "m.keras"), f"--compact={small}"]
    assert cli.main([*arguments, "--class_names=cat:gan,übung:vae"]) == 0
    assert (dfk.load(small).class_names, dfk.load(small).trained_on) == (loaded.class_names, record)
    with pytest.raises(UsageError, match="names mouse; the classes are cat"):
        export.export(tmp_path / "m.keras", class_names={"mouse": "gan"})


def test_bfloat16_saves_two_bytes_a_weight(keras_file, tmp_path):
    plain = export.export(keras_file, tmp_path / "a")
    small = export.export(keras_file, tmp_path / "b", precision="mixed_bfloat16")
    assert 1e-5 < small.difference < 0.05

    # The weights are constants of the graph.
    sizes = [(made.folder / "saved_model.pb").stat().st_size for made in (plain, small)]
    convolutions = sum(
        np.prod(layer.kernel.shape)
        for layer in models.network_of(keras.models.load_model(keras_file)).layers
        if isinstance(layer, keras.layers.Conv2D)
    )
    assert sizes[0] - sizes[1] == pytest.approx(2 * convolutions, abs=3000)
    assert convolutions > 3000
    loaded = tf.saved_model.load(str(small.folder))
    answers = loaded.signatures["serve_images"](images=tf.zeros([2, 9, 9, 3], tf.uint8))
    assert answers["probabilities"].dtype == tf.float32
    np.testing.assert_allclose(answers["probabilities"].numpy().sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none", "there is no model at"),
        (lambda folder: _file(folder, "model.skops").parent, "is an SVM"),
        (lambda folder: _file(folder, "model.skops"), "is an SVM"),
        (lambda folder: _file(folder, "saved_model.pb").parent, "is a SavedModel; only Keras"),
        (lambda folder: _file(folder, "config.flags").parent, "holds no model.keras"),
        (lambda folder: _file(folder, "notes.txt"), "is no model"),
        (lambda folder: _file(folder, "model.keras"), "cannot be loaded as a Keras model"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(make, message, tmp_path, capfd):
    assert cli.main(["export", str(make(tmp_path))]) == 2
    out, err = capfd.readouterr()
    assert message in err and err.startswith("dfk: ") and err.count("\n") == 1 and not out


def test_a_model_of_others_is_refused(tmp_path):
    import keras

    inputs = keras.Input((None, None, 3))
    other = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    other.save(tmp_path / "other.keras")
    with pytest.raises(UsageError, match="none of dfk's"):
        export.export(tmp_path / "other.keras")


def _file(folder, name):
    (folder / name).write_text("x")
    return folder / name


def test_the_command_says_where_and_how_well(keras_file, tmp_path, capfd):
    arguments = ["export", str(keras_file), f"--output_dir={tmp_path}", "--no_fold"]
    assert cli.main(arguments) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"exported  {tmp_path}/1\n")
    assert "largest difference" in out and "of 1e-05 allowed" in out
    assert "draft" not in err


@pytest.mark.parametrize(
    "arguments", [[], ["x", "--precision=float16"], ["x", "--keep_versions=0"], ["x", "--folded"]]
)
def test_wrong_arguments_are_one_line(arguments, capsys):
    assert cli.main(["export", *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("dfk: ") and "dfk export --help" in err and not out


def test_help_does_not_wait_for_tensorflow():
    script = (
        "import sys; from dfk.cli import main; code = main(['export', '--help']); "
        "sys.exit(code or 3 * bool({'tensorflow', 'keras', 'grpc'} & set(sys.modules)))"
    )
    root = Path(export.__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root, capture_output=True)


def test_a_run_exports_at_its_end_and_makes_up_for_it(tmp_path, logged):
    data_dir = write_kaggle(tmp_path / "data", counts={"train": 40, "validation": 10}, size=16)
    arguments = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}", "--image_size=8"]
    (settings,) = config.parse([*arguments, "--epochs=1", "--export"])
    metrics = training.run(settings)
    folder = settings.run_dir / "saved_model"
    assert export.versions(folder) == [1]
    assert "largest difference" in logged.text
    # Eight images of the demo, and the run's own ten.
    assert "on 18 images" in logged.text
    (folder / "1").rename(tmp_path / "lost")
    (resumed,) = config.parse([*arguments, "--epochs=1", "--export", "--resume"])
    assert training.run(resumed) == metrics
    assert export.versions(folder) == [1]


@pytest.mark.parametrize("model", ["svm", "svm_forensic"])
def test_an_svm_cannot_be_exported_and_is_told_before_it_is_trained(model, tmp_path):
    with pytest.raises(UsageError, match="--export: TF Serving serves only Keras models"):
        config.parse([f"--data_dir={tmp_path}", f"--model={model}", "--export"])


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.slow
def test_a_rich_model_is_exported_with_the_least_size_that_it_takes(tmp_path):
    models.RichNet(classes=3, class_names=CLASSES, units=(4,), seed=0).save(tmp_path / "rich.keras")
    exported = export.export(tmp_path / "rich.keras")
    assert exported.difference <= 1e-5
    images = [noise(side, side + 3, side) for side in (8, 7, 40)]
    kept, small, large = dfk.load(exported.folder).predict(images)
    assert "cannot take an image of 10 x 7" in small.error and not kept.error
    expected = dfk.load(tmp_path / "rich.keras").predict(images[2:])[0]
    np.testing.assert_allclose(large.probabilities, expected.probabilities, atol=1e-5)
