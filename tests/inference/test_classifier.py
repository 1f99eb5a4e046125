"""What a classifier answers, for every kind of model and of input."""

import dataclasses
import io
import os
import pickle
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import dfk
from dfk import cli, inference, models
from dfk.data.limits import Limits, Memory
from dfk.errors import UsageError
from dfk.inference import batching
from tests.datasets import save, texture
from tests.pictures import encode, jpeg_that_claims, noise

CLASSES = ("gan", "real life", "vae")


def _model(**options):
    return models.DeepFakeNet(classes=3, class_names=CLASSES, filters=(4, 4), dropout=(0, 0),
                              seed=1, **options)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that resizes, one that does not, an SVM, and images of two sizes."""
    folder = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    _model(input_shape=(16, 16, 3)).save(folder / "resizing.keras")
    _model(input_shape=(None, None, 3)).save(folder / "native.keras")
    pixels = [texture(i % 3, 3, 16, rng) for i in range(12)]
    labels = np.arange(12) % 3
    svm = models.SVM.fit(pixels, labels, class_names=CLASSES, kind="svm")
    svm.save(folder / "svm.skops")
    for i in range(7):
        save(texture(i % 3, 3, 16 if i % 2 else 20, rng), folder / f"{i}.png")
    return folder


def _paths(folder):
    return [folder / f"{i}.png" for i in range(7)]


@pytest.fixture(scope="module", params=["resizing.keras", "native.keras"])
def network(folder, request):
    return dfk.load(folder / request.param)


def test_a_network_answers_what_keras_answers(network, folder):
    found = network.predict(_paths(folder), batch_size=2)
    for path, prediction in zip(_paths(folder), found, strict=True):
        pixels = np.asarray(Image.open(path), np.float32)
        expected = network.model.predict(pixels[None], verbose=0)[0]
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)
        assert prediction.label == CLASSES[expected.argmax()]
        assert prediction.confidence == pytest.approx(expected.max(), abs=1e-6)
        assert prediction.error == ""


def test_paths_bytes_and_arrays_give_the_same(network, folder):
    paths = _paths(folder)
    by_path = network.predict(map(str, paths))
    by_bytes = network.predict([path.read_bytes() for path in paths])
    by_array = network.predict([np.asarray(Image.open(path)) for path in paths])
    for one, two, three in zip(by_path, by_bytes, by_array, strict=True):
        np.testing.assert_array_equal(one.probabilities, two.probabilities)
        np.testing.assert_array_equal(one.probabilities, three.probabilities)


def test_one_image_or_a_block_of_them(network, folder):
    pixels = np.stack([np.asarray(Image.open(path)) for path in _paths(folder)[1::2]])
    assert [len(network.predict(x)) for x in (pixels, pixels[0], _paths(folder)[0])] == [3, 1, 1]
    assert network.predict([]) == []


def test_a_bad_image_has_an_error_and_does_not_disturb_the_others(network, folder, tmp_path):
    good = _paths(folder)
    os.mkfifo(tmp_path / "pipe.png")
    bad = [
        (b"", "the file is empty"),
        (b"text", "no PNG"),
        (good[0].read_bytes()[:-30], "damaged"),
        (tmp_path / "none.png", "cannot be read: No such file"),
        (tmp_path, "cannot be read: it is a folder"),
        (tmp_path / "pipe.png", "no regular file"),
        ("nul\0.png", "cannot be read: embedded null byte"),
        (np.zeros((4, 4, 2), np.uint8), "expected pixels [H, W, 3] in 0..255, got uint8 [4, 4, 2]"),
        (np.full((4, 4, 3), 0.5), "got floats in 0..1: multiply by 255"),
        (np.zeros((0, 4, 3), np.uint8), "got uint8 [0, 4, 3]"),
    ]
    mixed = [x for pair in zip([b for b, _ in bad], good * 2, strict=False) for x in pair]
    found = network.predict(mixed)
    assert len(found) == len(mixed)
    for prediction, (_, message) in zip(found[::2], bad, strict=True):
        assert message in prediction.error
        assert (prediction.label, prediction.confidence) == ("", 0.0)
        assert not prediction.probabilities.any()
    alone = network.predict((good * 2)[: len(bad)])
    for prediction, expected in zip(found[1::2], alone, strict=True):
        assert prediction.error == ""
        np.testing.assert_allclose(prediction.probabilities, expected.probabilities, atol=1e-6)


def test_an_image_too_small_or_too_large_for_a_network_is_an_error(folder, monkeypatch):
    native = dfk.load(folder / "native.keras")
    images = [np.zeros(shape, np.uint8) for shape in [(1, 1, 3), (16, 16, 3), (1, 20_000, 3)]]
    errors = [prediction.error for prediction in native.predict(images)]
    assert errors[0] == "the model cannot take an image of 1 x 1 pixels: it needs 4 a side"
    assert errors[1] == "" and "20000 x 1 pixels" in errors[2]
    resized = dfk.load(folder / "resizing.keras").predict(images)
    assert [prediction.error for prediction in resized] == ["", "", ""]
    monkeypatch.setattr("dfk.system.hardware.available_bytes", lambda: 2**19)
    (prediction,) = native.predict(np.zeros((100, 100, 3), np.uint8))
    assert re.fullmatch(
        r"100 x 100 pixels would need about 0\.0 GiB with this model, 0\.0 GiB are available; crop "
        "the image, or free memory",
        prediction.error,
    )


def test_more_pixels_than_any_image_may_have(folder):
    native = dfk.load(folder / "resizing.keras")
    limited = dataclasses.replace(native, limits=native.limits._replace(max_pixels=99))
    (prediction,) = limited.predict(np.zeros((10, 10, 3), np.uint8))
    assert prediction.error == "10 x 10 pixels, more than 0 megapixels"


def test_what_there_is_no_memory_for_is_refused_by_its_header(folder, monkeypatch):
    claims = jpeg_that_claims(7000, 7000)
    monkeypatch.setattr("dfk.system.hardware.available_bytes", lambda: 2**31)
    monkeypatch.setattr("dfk.data.decode.reason", lambda data: pytest.fail("it was decoded"))
    native = dfk.load(folder / "native.keras")
    good = folder / "1.png"
    found = native.predict([good, claims, good])
    assert "7000 x 7000 pixels would need about" in found[1].error
    assert "2.0 GiB are available" in found[1].error
    assert [found[0].error, found[2].error] == ["", ""]


def test_a_call_takes_as_many_images_as_share_its_memory(monkeypatch):
    limits = Limits(memory=Memory(1000))
    assert limits.at_once(1024, 1024, 32) == 1 and limits.at_once(100, 100, 32) == 32
    assert limits.at_once(512, 512, 32) == 4
    assert limits.at_once(512, 512, 32, ready=3) == 3
    monkeypatch.setattr("dfk.system.hardware.available_bytes", lambda: 2**20)
    assert limits.at_once(512, 512, 32) == 1


def test_less_than_min_confidence_is_unknown(network, folder):
    plain = network.predict(_paths(folder))
    bound = sorted(p.confidence for p in plain)[3]
    for before, after in zip(
        plain, network.predict(_paths(folder), min_confidence=bound), strict=True
    ):
        assert after.label == (before.label if before.confidence >= bound else "unknown")
        assert after.confidence == before.confidence


def test_an_svm_answers_as_it_does_itself_and_says_which_size_it_needs(folder):
    classifier = dfk.load(folder / "svm.skops")
    found = classifier.predict(_paths(folder))
    pixels = [np.asarray(Image.open(path)) for path in _paths(folder)[1::2]]
    expected = models.SVM.load(folder / "svm.skops").predict(pixels)
    np.testing.assert_allclose([p.probabilities for p in found[1::2]], expected, atol=1e-6)
    assert all("20 x 20 pixels: an svm compares pixels" in p.error for p in found[::2])


def test_a_stream_is_answered_while_it_lasts(folder):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield (folder / "1.png").read_bytes()

    stream = dfk.load(folder / "resizing.keras").predict_stream(endless(), batch_size=4)
    assert next(stream).error == ""
    stream.close()
    assert taken < 4 + 4 * (os.cpu_count() or 1)


def test_windows_are_bounded_in_number_and_in_bytes(monkeypatch):
    sizes = [np.zeros((i + 1, 1, 3), np.uint8) for i in range(20)]
    assert [len(w) for w in batching.windows(sizes, 4)] == [16, 4]
    same = ["an error", *[np.zeros((2, 2, 3), np.uint8)] * 9]
    assert [len(w) for w in batching.windows(same, 4)] == [5, 4, 1]
    monkeypatch.setattr(batching, "_WINDOW_BYTES", 24)
    assert [len(w) for w in batching.windows(same, 4)] == [3, 2, 2, 2, 1]


def test_the_predict_function_can_be_pickled_and_loads_once(folder):
    inference.loaded.cache_clear()
    predict = pickle.loads(pickle.dumps(inference.make_predict_fn(folder / "resizing.keras")))
    first, second = (predict([_paths(folder)[1]])[0] for _ in range(2))
    assert first.label == second.label in CLASSES
    assert inference.loaded.cache_info().misses == 1


def test_dfk_load_does_not_import_tensorflow_before_it_is_used():
    code = "import sys, dfk; assert 'tensorflow' not in sys.modules; assert callable(dfk.load)"
    subprocess.run([sys.executable, "-c", code], check=True)


# What is found, and what is refused


def test_a_run_is_its_model_or_its_latest_saved_model(folder, tmp_path):
    run = tmp_path / "run"
    for version in ("1", "2", "10"):
        (run / "saved_model" / version).mkdir(parents=True)
        (run / "saved_model" / version / "saved_model.pb").write_bytes(b"")
    latest = run / "saved_model" / "10"
    assert [inference.find_model(p) for p in (run, run / "saved_model", latest)] == [latest] * 3
    assert inference.find_model(run / "saved_model" / "2").name == "2"
    (run / "model.keras").write_bytes((folder / "resizing.keras").read_bytes())
    assert dfk.load(run).path == run / "model.keras"


def _foreign(path):
    images = keras.Input((None, None, 3))
    keras.Model(images, keras.layers.GlobalAveragePooling2D()(images)).save(path)


def _lambda(path):
    images = keras.Input((None, None, 3))
    keras.Model(images, keras.layers.Lambda(lambda x: x)(images)).save(path)


def _saved_model(path):
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"junk")
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "dfk.json").write_text('{"class_names": ["a", "b"]}')


REFUSED = {
    "none": (lambda path: None, "there is no model at"),
    "empty": (lambda path: path.mkdir(), "holds no model.keras"),
    "x.png": (lambda path: path.write_bytes(b""), "is no model: give a run's folder"),
    "text.keras": (lambda path: path.write_text("x"), "cannot be loaded as a Keras model"),
    "text.skops": (lambda path: path.write_text("x"), "damaged, or no SVM"),
    "foreign.keras": (_foreign, "none of dfk's"),
    "lambda.keras": (_lambda, "cannot be loaded as a Keras model"),
    "saved": (_saved_model, "is damaged, or no SavedModel of dfk"),
}


@pytest.mark.parametrize(("name", "make", "message"), [(n, *x) for n, x in REFUSED.items()])
def test_what_is_no_model_is_refused(name, make, message, tmp_path):
    make(tmp_path / name)
    with pytest.raises(UsageError, match=message):
        dfk.load(tmp_path / name)


def test_a_run_that_is_not_finished_says_so(tmp_path):
    (tmp_path / "config.flags").write_text("--seed=0\n")
    with pytest.raises(UsageError, match="continue it with --resume"):
        dfk.load(tmp_path)


def test_a_keras_file_cut_off_anywhere_is_refused(folder, tmp_path):
    data = (folder / "resizing.keras").read_bytes()
    for tenth in range(1, 10):
        (tmp_path / "cut.keras").write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(UsageError, match="cannot be loaded"):
            dfk.load(tmp_path / "cut.keras")


def test_a_png_in_memory(folder):
    file = io.BytesIO()
    Image.open(folder / "1.png").save(file, "PNG")
    assert dfk.load(folder / "resizing.keras").predict(file.getvalue())[0].label in CLASSES


def test_an_answer_that_is_no_number_is_an_error_of_its_size_alone(tmp_path):
    def answer(images):
        value = np.nan if images.shape[1] == 3 else 0.5
        return np.full((len(images), 2), value, np.float32)

    classifier = inference.Classifier(tmp_path, ("a", "b"), answer)
    found = classifier.predict([np.zeros((side, 4, 3), np.uint8) for side in (3, 4)])
    assert found[0].error == "the model cannot take an image of 4 x 3 pixels"
    assert (found[1].label, found[1].error) == ("a", "")


def test_images_of_which_crops_are_averaged_are_counted(tmp_path, capsys):
    models.with_test_crop(_model(input_shape=(None, None, 3)), 16).save(tmp_path / "model.keras")
    for name, size in (("a", (16, 16)), ("b", (40, 16)), ("c", (60, 60))):
        (tmp_path / f"{name}.png").write_bytes(encode(noise(*size), "PNG"))
    assert cli.main(["predict", str(tmp_path / "model.keras"), str(tmp_path), "--format=csv"]) == 0
    told = "Images larger than 16 x 16: 2; the logits of up to 9 crops of each are averaged."
    assert told in capsys.readouterr().err


def test_what_only_crops_of_are_seen_needs_memory_for_them_alone(tmp_path, monkeypatch):
    plain = _model(input_shape=(None, None, 3))
    plain.save(tmp_path / "plain.keras")
    models.with_test_crop(plain, 16).save(tmp_path / "cropping.keras")
    monkeypatch.setattr("dfk.system.hardware.available_bytes", lambda: 2**24)
    image = np.zeros((600, 600, 3), np.uint8)
    (refused,), (answered,) = (
        dfk.load(tmp_path / f"{name}.keras").predict(image) for name in ("plain", "cropping")
    )
    assert "would need about" in refused.error and not answered.error


def test_features_are_what_the_logits_are_made_of(folder):
    for name in ("resizing", "native"):
        classifier = dfk.load(folder / f"{name}.keras")
        given = [*_paths(folder), b"junk"]
        features = classifier.features(given, batch_size=3)
        assert features.shape == (8, 4) and features.dtype == np.float32
        assert np.isnan(features[7]).all() and np.isfinite(features[:7]).all()
        looking = models.features_of(classifier.model)
        with Image.open(given[1]) as image:
            expected = looking(np.float32(image)[None])
        np.testing.assert_allclose(features[1:2], expected, rtol=1e-5)
        plain, with_them = (x.predict(given) for x in (classifier, classifier.with_features()))
        for a, b in zip(plain, with_them, strict=True):
            assert (a.label, a.error, a.features) == (b.label, b.error, None)
            np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-6)
        assert classifier.features([]).shape == (0, 4)


def test_an_svm_has_no_features(folder):
    with pytest.raises(UsageError, match="SVM"):
        dfk.load(folder / "svm.skops").features(_paths(folder))


def test_a_saved_model_has_no_features(exported):
    with pytest.raises(UsageError, match="SavedModel"):
        dfk.load(exported).features([noise(16, 16, 1)])
