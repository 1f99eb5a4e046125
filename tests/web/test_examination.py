"""What the page shows of a file: predict's answer, the heat map, and the warnings."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dfk
from dfk import models
from dfk.evaluation import conformal
from dfk.inference import Classifier, explain
from dfk.web.examination import Examiner
from tests.networks import CLASSES, ensemble, network
from tests.pictures import BROKEN, GOOD, encode, noise


def _load(model, folder):
    model.save(folder / "model.keras")
    return dfk.load(folder)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return _load(network(16), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def examiner(classifier):
    return Examiner(classifier)


@pytest.fixture(scope="module")
def indifferent(tmp_path_factory):
    """Of a model that takes any size and looks at nothing."""
    model = network(None)
    kernel = models.network_of(model).get_layer("logits").kernel
    kernel.assign(np.zeros(kernel.shape))
    return Examiner(_load(model, tmp_path_factory.mktemp("indifferent")))


def _file(height, width, seed=0):
    return encode(noise(height, width, seed), "PNG")


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "16 bits"])
def test_the_same_bytes_give_the_probabilities_of_predict(kind, classifier, examiner, tmp_path):
    (tmp_path / "file").write_bytes(GOOD[kind])
    (expected,) = classifier.predict(tmp_path / "file")
    shown = examiner.examine(GOOD[kind])
    assert list(shown.probabilities) == list(CLASSES)
    assert list(shown.probabilities.values()) == expected.probabilities.tolist()
    assert shown.prediction.label == expected.label
    assert shown.prediction.confidence == expected.confidence


def test_the_heat_map_is_that_of_explain_at_the_size_of_the_image(classifier, examiner):
    image = noise(20, 28, 3)
    expected = explain.Explainer(classifier).explain(image)
    shown = examiner.examine(encode(image, "PNG"))
    np.testing.assert_array_equal(shown.heat, expected.overlay())
    assert shown.heat.shape == (20, 28, 3) and shown.no_heat == ""
    assert (shown.heat != image).any()
    np.testing.assert_array_equal(shown.image, image)


def test_the_heat_map_of_a_large_image_is_as_large_as_it_is_shown(examiner):
    image = noise(40, 2048, 5)
    shown = examiner.examine(encode(image, "PNG"))
    assert shown.image.shape == image.shape and shown.heat.shape == (20, 1024, 3)
    blue = shown.heat[..., 2].astype(int) - image[::2, ::2, 2]  # Heat is yellow, the rest dark.
    assert (
        blue.mean() < -5
        and np.corrcoef(shown.heat[..., 0].flat, image[::2, ::2, 0].flat)[0, 1] > 0.5
    )


def test_the_heat_map_of_a_part_of_the_image_says_so(tmp_path):
    network(None).save(tmp_path / "native.keras")
    shown = Examiner(dfk.load(tmp_path / "native.keras")).examine(encode(noise(40, 1200, 5), "PNG"))
    assert shown.image.shape == (40, 1200, 3) and shown.heat.shape == (40, 1024, 3)
    assert _of("The heat map is of a part: 1024 x 40 pixels from (88, 0)", shown)


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_broken_file_is_a_message_and_nothing_else(kind, classifier, examiner):
    shown = examiner.examine(BROKEN[kind])
    (expected,) = classifier.predict(BROKEN[kind])
    assert shown.prediction.error == expected.error != ""
    assert (shown.image, shown.probabilities, shown.heat, shown.warnings) == (None, {}, None, ())


def test_what_is_large_is_told_by_the_header(examiner):
    assert examiner.is_large(GOOD["large"]) and examiner.is_large(BROKEN["bomb"])
    assert examiner.is_large(encode(Image.new("RGB", (2**11, 2**9 + 1)), "GIF"))
    assert not examiner.is_large(encode(Image.new("RGB", (2**11, 2**9)), "WEBP"))
    for data in (GOOD["jpeg"], GOOD["bmp"], BROKEN["empty"], BROKEN["text"], GOOD["gif"][:20]):
        assert not examiner.is_large(data)


def test_an_explanation_that_there_is_not_names_no_file(tmp_path):
    model = models.RichNet(input_shape=(16, 16, 3), classes=3, class_names=CLASSES, units=(4,))
    shown = Examiner(_load(model, tmp_path)).examine(GOOD["png"])
    assert shown.no_heat.startswith("No heat map: Grad-CAM") and str(tmp_path) not in shown.no_heat


def test_threads_get_the_answers_that_one_gets(examiner):
    files = [_file(16 + i, 40 - i, seed=i) for i in range(8)]
    expected = [examiner.examine(data) for data in files]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(examiner.examine, files * 3))
    for one, other in zip(expected * 3, found, strict=True):
        assert one.probabilities == other.probabilities
        np.testing.assert_array_equal(one.heat, other.heat)


def test_an_image_that_the_model_resizes_is_warned_of(examiner):
    assert not _of("Resized", examiner.examine(_file(16, 16)))
    (warning,) = _of("Resized", examiner.examine(_file(30, 50)))
    assert "50 x 30" in warning and "16 x 16" in warning


def test_an_image_on_its_side_has_another_size(tmp_path):
    shape = {"classes": 3, "class_names": CLASSES, "filters": (4,), "dropout": (0,)}
    examiner = Examiner(_load(models.DeepFakeNet(input_shape=(16, 24, 3), **shape), tmp_path))
    (warning,) = _of("Resized", examiner.examine(_file(24, 16)))
    assert "16 x 24 pixels" in warning and "looks at 24 x 16." in warning


def test_at_its_own_size_an_image_is_not_resized(indifferent):
    assert not _of("Resized", indifferent.examine(_file(30, 50)))


def test_a_heat_map_without_heat_is_not_shown(indifferent):
    shown = indifferent.examine(GOOD["png"])
    assert shown.heat is None and "No heat map" in shown.no_heat and shown.probabilities


def test_of_an_ensemble_every_other_size_is_named_once(tmp_path):
    inner = ensemble(16, 24)
    outer = models.Ensemble([inner, network(16, seed=3)])  # An ensemble may be a member itself
    outer.save(tmp_path / "outer.keras")
    examiner = Examiner(dfk.load(tmp_path / "outer.keras"))
    (warning,) = _of("Resized", examiner.examine(_file(30, 50)))
    assert "the model looks at 16 x 16 and 24 x 24." in warning
    (warning,) = _of("Resized", examiner.examine(_file(16, 16, seed=1)))
    assert "the model looks at 24 x 24." in warning


def test_below_the_least_confidence_it_is_unsure(classifier):
    data = _file(16, 16, seed=4)
    confidence = Examiner(classifier).examine(data).prediction.confidence
    assert not _of("Unsure", Examiner(classifier, min_confidence=confidence).examine(data))
    stricter = float(np.nextafter(confidence, 1))
    shown = Examiner(classifier, min_confidence=stricter).examine(data)
    assert len(_of("Unsure", shown)) == 1 and shown.prediction.label in CLASSES


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_least_confidence_that_is_no_share_is_refused(share, classifier):
    with pytest.raises(ValueError, match=r"not within 0\.\.1"):
        Examiner(classifier, min_confidence=share)


def test_an_svm_answers_for_its_size_and_says_why_there_is_no_heat():
    images = [noise(16, 16, seed) for seed in range(4)]
    svm = models.SVM.fit(images, np.arange(4) % 2, class_names=("a", "b"), kind="svm")
    examiner = Examiner(Classifier(Path("svm"), svm.class_names, svm.predict, model=svm))
    shown = examiner.examine(encode(images[0], "PNG"))
    assert shown.heat is None and "SVM" in shown.no_heat and not _of("Resized", shown)
    assert set(shown.probabilities) == {"a", "b"}
    assert "cannot take an image of 20 x 10" in examiner.examine(_file(10, 20)).prediction.error


def _of(kind, shown):
    assert not shown.prediction.error
    return [warning for warning in shown.warnings if warning.startswith(kind)]


def test_the_crops_of_a_large_image_are_told(tmp_path):
    examiner = Examiner(_load(models.with_test_crop(network(None), 16), tmp_path))
    (warning,) = _of("Large", examiner.examine(_file(60, 20)))
    assert "20 x 60 pixels the model sees 4 crop(s) of 16 a side" in warning
    assert not _of("Large", examiner.examine(_file(16, 16)))


def test_a_recheck_is_that_of_predict_and_what_does_not_last_is_warned_of(classifier, examiner):
    data = [_file(20, 28, seed) for seed in range(12)]
    expected = classifier.predict(data, recheck=True)
    lasting = {"unsure": 0, "not": 0}
    for bytes_, found in zip(data, expected, strict=True):
        shown = examiner.examine(bytes_, rechecked=True)
        assert shown.prediction.recheck == found.recheck
        assert shown.prediction.label in CLASSES
        assert shown.prediction.doubt == found.doubt
        warned = any(x.startswith("It does not last") for x in shown.warnings)
        assert warned == (found.label == "unsure")
        lasting["unsure" if warned else "not"] += 1
    assert all(lasting.values()), lasting
    assert examiner.examine(data[0]).prediction.recheck is None


def test_what_is_perhaps_no_class_is_told(tmp_path):
    model = network(16)
    models.set_thresholds(model, {conformal.UNKNOWN: 1e3})
    shown = Examiner(_load(model, tmp_path)).examine(_file(16, 16))
    assert not shown.is_known and shown.prediction.label in CLASSES
    assert "In doubt: unknown." in shown.warnings
