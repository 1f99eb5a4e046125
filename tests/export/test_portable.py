"""ONNX, OpenVINO and LiteRT: the same answers, by a client that has nothing of dfk."""

import csv
import importlib.util
import io
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

from dfk import cli, export, models, runs
from dfk.data import decode
from dfk.errors import DfkError, UsageError
from dfk.evaluation import conformal
from dfk.export import client, dense, folding, portable
from dfk.models.classifier import image_classifier
from tests.networks import CLASSES, gated, network
from tests.pictures import BROKEN, GOOD, encode, noise

for _module in ("tf2onnx", "openvino", "ai_edge_litert"):
    pytest.importorskip(_module, reason="comes with the extra export")

FORMS = runs.FORMATS[1:]
# The client tells what is loaded in the end.
ALONE = """
import runpy, sys
del sys.argv[0]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    assert not {"dfk", "tensorflow", "keras"} & set(sys.modules)
"""
IMAGES = {
    **{name: data for name, data in GOOD.items() if name not in ("gif", "large", "1x1")},
    "larger than a crop": encode(noise(41, 90), "PNG"),
    **{name: data for name, data in BROKEN.items() if name != "81 megapixels"},
    "animated": encode(noise(9, 9), "GIF"),
}
# A gate looks at the whole image, in these formats at no side beyond 2,048 pixels.
REFUSED = {*BROKEN, "animated", "wide"}


@pytest.fixture(scope="module")
def model(narrow, few_counts, tmp_path_factory):
    """A file with a member of each kind, resized or in crops."""
    members = [
        network(16, 1),
        network(32, 2, make=models.VGG16, hidden=8, batch_norm=True),
        models.with_test_crop(
            network(None, 3, make=models.ResidualNet, filters=(4, 8), high_pass=True), 32
        ),
    ]
    rich = models.RichNet(classes=3, class_names=CLASSES, units=(4,), temperature=9.0, seed=4)
    members.append(models.with_test_crop(rich, 64))
    pair = models.Ensemble(members[:2], name="pair")
    ensemble = gated([pair, *members[2:]], temperature=0.5, name="ensemble")
    models.set_thresholds(ensemble, {conformal.UNKNOWN: 0.7})
    path = tmp_path_factory.mktemp("models") / "all kinds.keras"
    ensemble.save(path)
    return path


@pytest.fixture(scope="module", params=FORMS)
def made(request, model):
    """What is exported of it in each format."""
    return request.param, export.export(model, form=request.param)


def test_a_version_is_checked_and_whole(made, model):
    form, exported = made
    folder = exported.folder
    assert folder == model.parent / f"all kinds_{form}" / "1"
    assert exported.difference <= 1e-5 < exported.tolerance
    file = {"onnx": {"model.onnx"}, "litert": {"model.tflite"}}
    expected = {"client.py", "dfk.json", *file.get(form, {"model.xml", "model.bin"})}
    assert {path.name for path in folder.iterdir()} == expected
    assert runs.ownership.is_version(folder)
    assert not [*runs.ownership.strangers_in_version(folder)]
    assert runs.ownership.is_ours(folder.parent / "README.md")


def test_the_client_answers_as_the_model_and_names_what_is_broken(made, model, tmp_path):
    for name, data in IMAGES.items():
        (tmp_path / name).write_bytes(data)
    client = made[1].folder / "client.py"
    command = [sys.executable, "-I", "-W", "error", "-c", ALONE, client, *IMAGES]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert list(rows) == list(IMAGES)
    assert [n for n in IMAGES if rows[n]["error"]] == [n for n in IMAGES if n in REFUSED]
    loaded, known = keras.models.load_model(model, compile=False), set()
    # Pillow smooths colours of half the size in another way than TensorFlow.
    for name in set(IMAGES) - {*REFUSED, "jpeg", "webp"}:
        pixels = decode.decode(IMAGES[name]).numpy().astype("float32")
        (expected,) = loaded.predict_on_batch(pixels[None])
        row = rows[name]
        np.testing.assert_allclose(
            [float(row[c]) for c in CLASSES], expected, atol=made[1].tolerance, err_msg=name
        )
        assert row["label"] == CLASSES[expected.argmax()] and not row["error"]
        stands_out = conformal.centred_logit(expected) >= 0.7
        assert row["known"] == str(stands_out).lower()
        known.add(row["known"])
    assert known == {"true", "false"}


def test_what_is_counted_in_one_go_has_a_largest_size(few_counts):
    model = models.RichNet(classes=3, class_names=CLASSES, units=(4,), seed=0)
    for crop, side, most in ((None, 2048, 2e6), (64, None, 50e6)):
        net = models.with_test_crop(model, crop) if crop else model
        made = dense.dense_part(net, precision="float32", fold=True)
        facts = portable.Writer("onnx", "rich", net, made, 0).facts
        assert facts["largest_side"] == side and 1e6 < facts["max_pixels"] <= most
        data = io.BytesIO(encode(noise(8, 2049), "PNG"))
        if crop:
            assert client.read(data, facts).shape == (1, 8, 2049, 3)
        else:
            with pytest.raises(ValueError, match="2049 x 8 pixels are too many"):
                client.read(data, facts)


def test_metadata_is_in_the_file_as_in_dfk_json(made):
    form, exported = made
    told = json.loads((exported.folder / "dfk.json").read_text())
    assert told["class_names"] == list(CLASSES) and told["format"] == form
    assert told["thresholds"] == {conformal.UNKNOWN: 0.7}
    inside = {"onnx": _of_onnx, "openvino": _of_openvino, "litert": _of_litert}[form](exported)
    beyond = {"precision", "folded", "largest_difference"}
    assert inside.keys() == told.keys() - beyond
    assert json.loads(inside["class_names"]) == list(CLASSES)
    assert json.loads(inside["thresholds"]) == told["thresholds"]


def _of_onnx(exported):
    import onnx

    file = onnx.load(exported.folder / "model.onnx")
    return {x.key: x.value for x in file.metadata_props}


def _of_openvino(exported):
    import openvino

    file = openvino.Core().read_model(exported.folder / "model.xml")
    return {key: str(value.astype(str)) for key, value in file.get_rt_info()["dfk"].items()}


def _of_litert(exported):
    with zipfile.ZipFile(exported.folder / "model.tflite") as archive:
        return json.loads(archive.read("dfk.json"))


@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_answer_is_noticed(form, tmp_path, monkeypatch):
    network().save(tmp_path / "m.keras")
    right = folding._fold
    monkeypatch.setattr(folding, "_fold", lambda *x: [right(*x)[0], right(*x)[1] + 0.01])
    with pytest.raises(export.DifferenceError, match="--no_fold"):
        export.export(tmp_path / "m.keras", form=form)
    assert not list((tmp_path / f"m_{form}").iterdir())


@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_what_a_format_has_not_is_named(form, tmp_path, caplog, capfd):
    images = keras.Input((None, None, 3), name="images")
    x = keras.layers.GlobalAveragePooling2D()(ops.erfinv(images / 256))
    inner = keras.Model(images, keras.layers.Dense(3, name="logits")(x), name="network")
    shape = (None, None, 3)
    image_classifier(inner, input_shape=shape, class_names=CLASSES, name="m").save(
        tmp_path / "strange.keras"
    )
    with pytest.raises(
        DfkError, match=f"nothing was exported: strange has what {form} has not.*Erfinv"
    ):
        export.export(tmp_path / "strange.keras", form=form)
    assert not list((tmp_path / f"strange_{form}").iterdir()) and not caplog.text
    assert "Erfinv" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_installed_is_told_first(form, monkeypatch, capsys):
    there = importlib.util.find_spec
    lacking = portable.MODULES[form][0]
    monkeypatch.setattr(importlib.util, "find_spec", lambda x: (x != lacking and there(x)) or None)
    assert cli.main(["export", "unibuc-small", f"--format={form}"]) == 2
    told = capsys.readouterr().err
    assert f"needs {lacking}, which is not installed: pip install 'dfk-keras[export]'" in told


def test_only_a_saved_model_has_another_precision(tmp_path):
    with pytest.raises(UsageError, match="goes with --format=saved_model"):
        export.export(tmp_path / "none", form="onnx", precision="mixed_bfloat16")


def test_the_command_says_where(tmp_path, capfd):
    network().save(tmp_path / "m.keras")
    assert cli.main(["export", str(tmp_path / "m.keras"), "--format=openvino"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith(f"exported  {tmp_path}/m_openvino/1\n") and "of 0.0001 allowed" in out
    assert not err


def test_what_is_logged_after_an_export_is_seen(tmp_path):
    network(16).save(tmp_path / "m.keras")
    code = (
        "from dfk.system.messages import prepare_logging; prepare_logging()\n"
        "from absl import logging; from dfk import export\n"
        f"export.export({str(tmp_path / 'm.keras')!r}, form='openvino')\n"
        "logging.info('seen')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.splitlines()[-1] == "seen", done.stderr
