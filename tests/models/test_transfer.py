"""A network starts with another's weights, and with a head of its own where classes differ."""

import keras
import numpy as np
import pytest

from dfk import models
from dfk.errors import UsageError
from dfk.models import starts
from dfk.models.deepfakenet import DeepFakeNet
from dfk.models.residual import ResidualNet
from dfk.models.rich import RichNet
from dfk.runs import locate
from tests.networks import network
from tests.pictures import noise

IMAGES = np.stack([noise(24, 24, seed) for seed in range(3)]).astype("float32")
SMALL = {"filters": (4, 6), "high_pass": True}


@pytest.fixture(scope="module")
def residual():
    """A network of classes `cat`, `dog`, `übung`, as if trained."""
    return network(None, 1, ResidualNet, **SMALL)


@pytest.fixture(scope="module")
def folder(residual, tmp_path_factory):
    """It as a run, a file, a file of weights, and as a member of an ensemble."""
    folder = tmp_path_factory.mktemp("starts")
    (folder / "run").mkdir()
    residual.save(folder / "run" / "model.keras")
    residual.save(folder / "file.keras")
    residual.save_weights(folder / "arrays.weights.h5")
    inner = models.Ensemble([network(16), residual], name="inner")
    models.Ensemble([network(20), inner]).save(folder / "ensemble.keras")
    return folder


def _logits(model):
    return models.logits_of(model).predict_on_batch(IMAGES)


@pytest.mark.parametrize("name", ["run", "file.keras", "ensemble.keras"])
def test_same_classes_keep_the_head_in_whatever_order(name, folder, residual):
    again = ResidualNet(weights=folder / name, classes=3)
    assert models.class_names_of(again) == models.class_names_of(residual)
    np.testing.assert_allclose(_logits(again), _logits(residual), rtol=1e-5)
    # Another order, and another of Unicode's forms
    turned = ResidualNet(
        weights=folder / name, classes=3, class_names=("u\u0308bung", "cat", "dog")
    )
    np.testing.assert_allclose(_logits(turned), _logits(residual)[:, [2, 0, 1]], rtol=1e-5)


@pytest.mark.parametrize("name", ["run", "arrays.weights.h5", "ensemble.keras"])
@pytest.mark.parametrize("names", [("cat", "dog"), ("cat", "dog", "owl", "fox")])
def test_others_get_a_fresh_one_and_it_is_said(name, names, folder, residual, logged):
    shape = SMALL if name.endswith(".h5") else {}
    other = ResidualNet(weights=folder / name, classes=len(names), class_names=names, **shape)
    ours, theirs = (models.network_of(model) for model in (other, residual))
    total = 0
    for layer in theirs.layers:
        total += len(layer.weights)
        for here, there in zip(ours.get_layer(layer.name).weights, layer.weights, strict=True):
            same = here.shape == there.shape and np.array_equal(here, there)
            assert same == (layer.name != "logits"), here.path
    assert f"{total - 2} of {total} arrays taken; the head is fresh" in logged.text


def test_as_many_classes_of_other_names_are_others(folder, residual):
    names = ("cat", "dog", "owl")
    other = ResidualNet(weights=folder / "run", classes=3, class_names=names)
    kernels = [models.network_of(m).get_layer("logits").kernel for m in (other, residual)]
    assert not np.array_equal(*kernels)
    # A file of weights does not tell names: as many are the same.
    arrays = folder / "arrays.weights.h5"
    same = ResidualNet(weights=arrays, classes=3, class_names=names, **SMALL)
    np.testing.assert_allclose(_logits(same), _logits(residual), rtol=1e-5)


def test_without_a_top_it_takes_the_base_alone(folder, residual):
    base = ResidualNet(weights=folder / "run", include_top=False, pooling="avg")
    expected = keras.Model(
        residual.input, models.network_of(residual)(residual.input)
    )  # Its logits are of these features.
    head = models.network_of(residual).get_layer("logits")
    logits = base.predict_on_batch(IMAGES) @ head.kernel.numpy() + head.bias.numpy()
    np.testing.assert_allclose(logits, expected.predict_on_batch(IMAGES), rtol=1e-4, atol=1e-5)


def test_shipped_names_are_weights_too():
    small = models.ResidualNet(weights="unibuc-small", classes=5)
    shipped = keras.models.load_model(locate.FOLDER / "unibuc-small.keras")
    np.testing.assert_array_equal(
        models.network_of(small)(IMAGES), models.network_of(shipped)(IMAGES)
    )
    members = starts.networks_in(locate.FOLDER / "unibuc.keras")
    assert [x.name for x in members] == ["member0_residual", "member1_rich", "member2_residual"]


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras, of others' weights
@pytest.mark.parametrize(
    ("build", "name", "options", "message"),
    [
        (DeepFakeNet, "run", {}, "run holds residual, and no weights of deepfakenet"),
        (ResidualNet, "run", {"filters": (4, 8)}, r"filters=\(4, 6\), not with \(4, 8\)"),
        (ResidualNet, "run", {"high_pass": False}, "high_pass=True, not with False"),
        (ResidualNet, "arrays.weights.h5", {"filters": (4, 8)}, "they do not fit"),
        (ResidualNet, "gone", {}, "no model at .*gone"),
        (ResidualNet, "gone.h5", {}, r"gone\.h5"),
        (RichNet, "damaged.keras", {}, "cannot be loaded as a Keras model"),
    ],
)
def test_what_does_not_fit_is_refused(build, name, options, message, folder):
    (folder / "damaged.keras").write_bytes((folder / "file.keras").read_bytes()[:900])
    with pytest.raises(UsageError, match=message):
        build(weights=folder / name, classes=3, **options)


def test_a_file_that_names_code_makes_nothing(folder, tmp_path):
    import zipfile

    evil = tmp_path / "evil.keras"
    with zipfile.ZipFile(folder / "file.keras") as old, zipfile.ZipFile(evil, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename == "config.json":
                data = data.replace(b'"class_name": "ReLU"', b'"class_name": "Lambda"')
            new.writestr(entry, data)
    with pytest.raises(UsageError, match="Lambda"):
        ResidualNet(weights=evil, classes=3)
