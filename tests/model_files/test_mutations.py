"""Small real files with bytes and fields changed: they answer, or one line says why not."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfk
from dfk import models
from dfk.errors import UsageError
from dfk.model_files import keras_files
from tests.networks import save_tiny

CHECKS = {
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
    "deadline": None,
    "derandomize": True,
}
IMAGE = np.zeros((16, 16, 3), np.uint8)
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3),
    st.just([]), st.just({}), st.just([[]]), st.just({"class_name": "Dense"}),
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    save_tiny(folder / "m.keras", ("a", "b"), seed=0)
    images = [np.full((16, 16, 3), 40 * i, np.uint8) for i in range(6)]
    svm = models.SVM.fit(images, np.arange(6) % 2, class_names=("a", "b"), kind="svm")
    svm.save(folder / "m.skops")
    return folder


def _answers_or_says_why(path):
    try:
        found = dfk.load(path)
    except UsageError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    (prediction,) = found.predict(IMAGE)
    assert prediction.probabilities.shape == (2,)


@settings(max_examples=40, **CHECKS)
@given(st.sampled_from(["m.keras", "m.skops"]), st.data())
def test_bytes_are_changed_or_cut_off(files, tmp_path, name, data):
    whole = bytearray((files / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    (tmp_path / name).write_bytes(whole[:cut])
    _answers_or_says_why(tmp_path / name)


@settings(max_examples=40, **CHECKS)
@given(st.sampled_from([("m.keras", keras_files.CONFIG), ("m.skops", "schema.json")]), st.data())
def test_fields_are_replaced(files, tmp_path, which, data):
    name, entry = which
    with zipfile.ZipFile(files / name) as archive:
        parts = {x: archive.read(x) for x in archive.namelist()}
    known = json.loads(parts[entry])
    places = list(_places(known))
    holder, key = places[data.draw(st.integers(0, len(places) - 1))]
    holder[key] = data.draw(JUNK)
    parts[entry] = json.dumps(known)
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for x, content in parts.items():
            archive.writestr(x, content)
    _answers_or_says_why(tmp_path / name)


def _places(value):
    """Every key of every dictionary and every index of every list in it, with its holder."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@settings(max_examples=25, **CHECKS)
@given(st.data())
def test_weights_are_changed_or_cut_off(files, tmp_path, data):
    with zipfile.ZipFile(files / "m.keras") as archive:
        whole = bytearray(archive.read(keras_files.WEIGHTS))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.weights.h5"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    shape = {"input_shape": (16, 16, 3), "classes": 2, "filters": (4,), "dropout": (0,)}
    try:
        models.check_weights(path)
        models.DeepFakeNet(weights=path, **shape)
    except UsageError as error:
        assert "\n" not in str(error)
