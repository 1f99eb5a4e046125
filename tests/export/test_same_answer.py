"""One image, one answer: from Keras, the SavedModel, a TF1 session, and servers in processes."""

import base64
import json
import subprocess
import sys
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf

import dfk
from dfk.benchmarks.serving.client import Client
from dfk.data import decode
from dfk.inference.description import describe
from dfk.web.examination import Examiner
from tests.networks import CLASSES
from tests.pictures import BROKEN, GOOD

OUTPUTS = {"probabilities", "confidence", "label", "valid", "known"}


@pytest.fixture(scope="module")
def expected(exported):
    """What the `.keras` file answers for each image, float32 [N, C]."""
    model = keras.models.load_model(exported.parent / "model.keras", compile=False)
    images = [decode.decode(data).numpy().astype("float32") for data in GOOD.values()]
    answers = np.concatenate([model.predict_on_batch(image[None]) for image in images])
    assert len(np.unique(answers.round(3), axis=0)) == len(GOOD)  # Each has its own
    assert len(set(answers.argmax(axis=1))) > 1
    return answers


def _check(answers, expected):
    assert set(answers) == OUTPUTS
    probabilities = answers["probabilities"]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(answers["confidence"], probabilities.max(axis=1))
    labels = [CLASSES[k].encode() for k in expected.argmax(axis=1)]
    assert list(answers["label"]) == labels
    assert answers["valid"].all() and answers["valid"].dtype == bool
    assert probabilities.dtype == answers["confidence"].dtype == np.float32


@pytest.mark.parametrize("where", ["run", "export"])
def test_dfk_load(exported, expected, where):
    classifier = dfk.load(exported.parent if where == "run" else exported)
    predictions = classifier.predict([*GOOD.values(), BROKEN["bomb"]])
    assert "megapixels" in predictions.pop().error
    probabilities = np.stack([prediction.probabilities for prediction in predictions])
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
    labels = [CLASSES[k] for k in expected.argmax(axis=1)]
    assert [prediction.label for prediction in predictions] == labels


def test_the_examiner_of_a_saved_model(exported, expected):
    classifier = dfk.load(exported)
    assert describe(classifier)["image_sizes"] == [[16, 16], [24, 24]]
    shown = Examiner(classifier).examine(GOOD["png"])
    found = list(shown.probabilities.values())
    np.testing.assert_allclose(found, expected[list(GOOD).index("png")], rtol=0, atol=1e-5)
    assert shown.heat is None and "a SavedModel hides its layers" in shown.no_heat
    assert "the model looks at 16 x 16 and 24 x 24." in shown.warnings[0]


def test_the_saved_model(exported, expected):
    loaded = tf.saved_model.load(str(exported / "1"))
    answers = loaded.signatures["serving_default"](image_bytes=tf.constant([*GOOD.values()]))
    _check({key: value.numpy() for key, value in answers.items()}, expected)
    for data, row in zip(GOOD.values(), expected, strict=True):
        image = decode.decode(data)[None]
        answers = loaded.signatures["serve_images"](images=image)
        _check({key: value.numpy() for key, value in answers.items()}, row[None])


def test_a_session_by_signature_as_the_servers_do_it(exported, expected):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(exported / "1"))
        signatures = loaded.signature_def
        assert {"serving_default", "serve_images"} == set(signatures) - {"__saved_model_init_op"}
        signature = signatures["serving_default"]
        (key,) = signature.inputs
        assert (key, signature.inputs[key].dtype) == ("image_bytes", tf.string.as_datatype_enum)
        (key,) = signatures["serve_images"].inputs
        pixels = signatures["serve_images"].inputs[key]
        assert (key, pixels.dtype) == ("images", tf.uint8.as_datatype_enum)
        assert [dim.size for dim in pixels.tensor_shape.dim] == [-1, -1, -1, 3]
        assert set(signatures["serve_images"].outputs) == OUTPUTS
        outputs = {name: info.name for name, info in signature.outputs.items()}
        feed = {signature.inputs["image_bytes"].name: [*GOOD.values()]}
        _check(session.run(outputs, feed), expected)
        none = session.run(outputs, {signature.inputs["image_bytes"].name: []})
        assert none["probabilities"].shape == (0, len(CLASSES))


def test_a_server_over_grpc(server, expected):
    client = Client(server)
    _check(client.predict_bytes([*GOOD.values()]), expected)
    small = decode.decode(GOOD["png"]).numpy()
    _check(client.predict_images(np.stack([small, small])), expected[[0, 0]])
    client.close()


@pytest.mark.parametrize("named", [False, True], ids=["value", "by name"])
def test_a_server_over_rest(server, expected, named):
    files = [*list(GOOD.values())[:-1], BROKEN["text"]]
    values = [{"b64": base64.b64encode(data).decode()} for data in files]
    instances = [{"image_bytes": value} for value in values] if named else values
    *rows, last = _post(server, {"instances": instances})
    answers = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    answers["label"] = np.char.encode(answers["label"], "utf-8")
    for key in ("probabilities", "confidence"):
        answers[key] = answers[key].astype("float32")
    _check(answers, expected[:-1])
    assert last == {
        "probabilities": [0.0] * 3,
        "confidence": 0.0,
        "label": "",
        "valid": False,
        "known": False,
    }


def test_rest_takes_pixels(server, expected):
    image = decode.decode(GOOD["png"]).numpy().tolist()
    (row,) = _post(server, {"signature_name": "serve_images", "instances": [image]})
    np.testing.assert_allclose(row["probabilities"], expected[0], atol=1e-5)


def _post(server, body):
    url = f"http://{server.rest}/v1/models/{server.name}:predict"
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as response:
        return json.load(response)["predictions"]


ALONE = """
import pathlib, resource, sys
import numpy as np, tensorflow as tf

folder, images, answers = sys.argv[1:]
loaded = tf.saved_model.load(folder)
serve = loaded.signatures["serving_default"]
files = [path.read_bytes() for path in sorted(pathlib.Path(images).iterdir())]
small, bombs = files[:-2], files[-2:]
np.save(answers, serve(image_bytes=tf.constant(small))["probabilities"].numpy())
serve(image_bytes=tf.constant(small))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
valid = serve(image_bytes=tf.constant(bombs + bombs))["valid"].numpy()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert not valid.any()
assert grown < 50_000, f"{grown} KiB"  # Decoded, the smaller one takes 237,000
assert "dfk" not in sys.modules
"""


def test_a_process_with_nothing_but_tensorflow(exported, expected, tmp_path):
    names = [name for name in GOOD if name != "large"]
    files = [GOOD[name] for name in names] + [BROKEN["bomb"], BROKEN["81 megapixels"]]
    images = tmp_path / "images"
    images.mkdir()
    for number, data in enumerate(files):
        (images / f"{number:02}").write_bytes(data)
    answers = tmp_path / "answers.npy"
    command = [sys.executable, "-c", ALONE, str(exported / "1"), str(images), str(answers)]
    subprocess.run(command, check=True, cwd=tmp_path)
    kept = [list(GOOD).index(name) for name in names]
    np.testing.assert_allclose(np.load(answers), expected[kept], rtol=0, atol=1e-5)
