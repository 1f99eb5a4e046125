"""An ensemble combines what its members answer, learns on a holdout, and touches no member."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from dfk.config import ENSEMBLE_METHODS
from dfk.evaluation.calibration import fit_temperature
from dfk.models import (
    DeepFakeNet,
    Ensemble,
    class_names_of,
    cross_fit_ensemble,
    fit_ensemble,
    logits_of,
    member_weights_of,
    members_of,
)

ROOT = Path(__file__).parents[2]
IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 24, 20, 3)).astype("float32")


def _member(side: int | None, seed: int, spread: float) -> keras.Model:
    """A member whose statistics are of no batch and whose logits have a standard deviation."""
    kwargs = {
        "input_shape": (side, side, 3),
        "classes": 3,
        "class_names": ("a", "b", "c"),
        "filters": (4, 4),
        "dropout": (0.5, 0.5),
    }
    model, draw = DeepFakeNet(**kwargs, seed=seed), np.random.default_rng(seed)
    model.set_weights([abs(w + draw.normal(0, 0.3, w.shape)) for w in model.get_weights()])
    logits = np.array(logits_of(model)(IMAGES))
    kernel, bias = model.get_layer("network").get_layer("logits").weights
    factor = spread / logits.std(axis=0).mean()
    kernel.assign(kernel * factor)
    bias.assign(-logits.mean(axis=0) * factor)  # So that each class is the answer to some image
    return model


@pytest.fixture(scope="module")
def members() -> list[keras.Model]:
    """Three members that take images at 16 and 12 pixels and at their own size."""
    return [_member(16, 1, 1.0), _member(12, 2, 2.0), _member(None, 3, 0.5)]


@pytest.fixture(scope="module")
def fitted(members) -> dict[str, keras.Model]:
    """An ensemble per method, fitted on a holdout."""
    probabilities, labels = _holdout((2.0, 0.5, 1.5))
    return {
        method: fit_ensemble(
            Ensemble(members, method=method, seed=1),
            _evidence(method, probabilities),
            labels,
            {0: 1.9},
        )
        for method in ENSEMBLE_METHODS
    }


def _holdout(strengths, sharpness=1.0, n=300, seed=0) -> tuple[list[np.ndarray], np.ndarray]:
    """What members of some strength, calibrated at `sharpness` 1, answer; and the truth."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, n)
    logits = [s * (s * np.eye(3)[labels] + draw.normal(size=(n, 3))) for s in strengths]
    return [softmax(sharpness * x, axis=1).astype("float32") for x in logits], labels


def _evidence(method: str, probabilities: list[np.ndarray]) -> list[np.ndarray]:
    """With statistics that tell nothing behind it, where a gate looks at them."""
    draw = np.random.default_rng(len(probabilities[0]))
    statistics = draw.normal(size=(len(probabilities[0]), 388)).astype("float32")
    return [*probabilities, *([statistics] if method == "gated" else [])]


def _misled(probabilities: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The same, but as certain of another class on the images `where`."""
    return np.where(where[:, None], np.roll(probabilities, 1, axis=1), probabilities)


def _answer(model: keras.Model, probabilities: list[np.ndarray]) -> np.ndarray:
    """What an ensemble makes of its members' probabilities."""
    head, combine = model.layers[-1], model.get_layer("network").get_layer("combine")
    method = "gated" if len(combine.inputs) > len(probabilities) else "other"
    logits = combine(_evidence(method, probabilities))
    return np.array(head(logits))


def _nll(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return -np.log(probabilities[np.arange(len(labels)), labels]).mean()


def _numbers(models: list[keras.Model]) -> list[np.ndarray]:
    return [weight.copy() for model in models for weight in model.get_weights()]


@pytest.mark.parametrize("count", [2, 3])
def test_average_is_the_mean_of_members_of_different_image_sizes(members, count):
    members = members[:count]
    expected = np.mean([model(IMAGES) for model in members], axis=0)
    assert np.std([model(IMAGES) for model in members], axis=0).max() > 0.1
    outputs = Ensemble(members, method="average")(IMAGES)
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_confidence_leans_towards_the_member_that_is_certain(members):
    first, second = (np.array(model(IMAGES), np.float64) for model in members[:2])
    certainty = [1 + (p * np.log(p)).sum(axis=1) / np.log(3) for p in (first, second)]
    share = (certainty[0] / (certainty[0] + certainty[1]))[:, None]
    outputs = Ensemble(members[:2])(IMAGES)
    np.testing.assert_allclose(outputs, share * first + (1 - share) * second, rtol=1e-4)


def test_the_temperature_is_of_the_blend(members):
    blend = np.array(Ensemble(members, method="average")(IMAGES))
    outputs = Ensemble(members, method="average", temperature=2.0)(IMAGES)
    np.testing.assert_allclose(outputs, softmax(np.log(blend) / 2, axis=1), rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_of_equally_certain_members_the_better_one_is_given_the_greater_weight(members, count):
    answers, labels = _holdout((2.0,) * count)
    answers[0] = _misled(answers[0], np.arange(len(labels)) % 3 == 0)
    weights = member_weights_of(fit_ensemble(Ensemble(members[:count]), answers, labels))
    assert list(weights) == [f"member{i}_deepfakenet" for i in range(count)]
    assert sum(weights.values()) == pytest.approx(1)
    first, *others = weights.values()
    assert first < min(others) / 2


def test_thresholds_are_chosen_on_answers_to_images_that_were_not_learned_from(members):
    probabilities, labels = _holdout((1.0, 0.5), n=60)
    average = Ensemble(members[:2], method="average")
    fitted, unseen = cross_fit_ensemble(average, probabilities, labels)
    # There is nothing to learn but the temperature.
    np.testing.assert_allclose(unseen, _answer(fitted, probabilities), rtol=1e-4)
    stacker = Ensemble(members[:2], method="stacked", seed=1)
    fitted, unseen = cross_fit_ensemble(stacker, probabilities, labels)
    assert unseen.dtype == np.float32 and unseen.shape == (60, 3)
    assert _nll(unseen, labels) > _nll(_answer(fitted, probabilities), labels) + 0.01


def test_weights_follow_their_members(members):
    probabilities, labels = _holdout((3.0, 1.0))
    model = Ensemble(members[:2])
    straight = member_weights_of(fit_ensemble(model, probabilities, labels)).values()
    turned = member_weights_of(fit_ensemble(model, probabilities[::-1], labels)).values()
    np.testing.assert_allclose([*turned], [*straight][::-1], rtol=1e-3)


def test_a_sharp_member_is_not_taken_for_a_good_one(members):
    """The scale of the blend is learned with the weights; else the sharp one would win."""
    (sharp, flat), labels = _holdout((2.0, 2.0), n=600)
    sharp, flat = (softmax(k * np.log(p), axis=1) for k, p in ((2.0, sharp), (0.5, flat)))
    fitted = fit_ensemble(Ensemble(members[:2]), [sharp, flat], labels)
    first, second = member_weights_of(fitted).values()
    assert second > first


def test_class_weights_favour_the_member_that_knows_the_class(members):
    answers, labels = _holdout((2.0, 2.0))
    # Equally certain, but one is often wrong about the rest and the other about class 0.
    fails, zero = np.arange(len(labels)) % 3 == 0, labels == 0
    probabilities = [_misled(answers[0], fails & ~zero), _misled(answers[1], fails & zero)]
    model = Ensemble(members[:2])
    plain = member_weights_of(fit_ensemble(model, probabilities, labels))
    weighted = member_weights_of(fit_ensemble(model, probabilities, labels, {0: 20.0}))
    assert weighted["member0_deepfakenet"] > plain["member0_deepfakenet"] + 0.1


def test_the_temperature_calibrates_without_class_weights(members):
    probabilities, labels = _holdout((2.0, 2.0), sharpness=4.0)
    model = Ensemble(members[:2], method="average")
    fitted = fit_ensemble(model, probabilities, labels, {0: 20.0})
    expected = fit_temperature(np.log(np.mean(probabilities, axis=0)), labels)
    assert fitted.layers[-1].temperature == pytest.approx(expected, rel=1e-3)
    before, after = _answer(model, probabilities), _answer(fitted, probabilities)
    assert _nll(after, labels) < _nll(before, labels) - 0.01


@pytest.mark.parametrize("method", ENSEMBLE_METHODS)
def test_what_is_fitted_is_better_than_its_members_on_other_images(fitted, method):
    probabilities, labels = _holdout((2.0, 0.5, 1.5), n=3000, seed=1)
    blend = _nll(_answer(fitted[method], probabilities), labels)
    assert blend < min(_nll(p, labels) for p in probabilities)


def test_the_stacker_learns_what_no_average_can(members):
    """Members that name the next class: as wrong as can be, and as informative."""
    probabilities, labels = _holdout((3.0, 3.0))
    probabilities = [np.roll(p, 1, axis=1) for p in probabilities]
    fitted = fit_ensemble(Ensemble(members[:2], method="stacked", seed=1), probabilities, labels)
    assert (_answer(fitted, probabilities).argmax(axis=1) == labels).mean() > 0.95
    assert member_weights_of(fitted) == {}


def test_the_stacker_does_not_learn_noise(members):
    draw = np.random.default_rng(0)
    noise, labels = list(draw.dirichlet(np.ones(3), (2, 60))), draw.integers(0, 3, 60)
    fitted = fit_ensemble(Ensemble(members[:2], method="stacked", seed=1), noise, labels)
    noise, labels = list(draw.dirichlet(np.ones(3), (2, 2000))), draw.integers(0, 3, 2000)
    assert _nll(_answer(fitted, noise), labels) < np.log(3) + 0.05


def test_a_tiny_holdout_is_enough(members):
    probabilities, labels = _holdout((1.0, 1.0), n=2)
    fitted = fit_ensemble(Ensemble(members[:2], method="stacked", seed=1), probabilities, labels)
    assert np.isfinite(fitted(IMAGES)).all()


def test_fitting_repeats_and_leaves_its_model_alone(members):
    probabilities, labels = _holdout((3.0, 1.0), n=60)
    model = Ensemble(members[:2], method="stacked", seed=1)
    before, answer = model.get_weights(), model(IMAGES)
    first = fit_ensemble(model, probabilities, labels)
    second = fit_ensemble(model, probabilities, labels, {0: 1.0, 1: 1.0, 2: 1.0})
    assert all(map(np.array_equal, before, model.get_weights()))
    np.testing.assert_array_equal(model(IMAGES), answer)
    np.testing.assert_array_equal(first(IMAGES), second(IMAGES))
    assert first.layers[-1].temperature != model.layers[-1].temperature


@pytest.mark.parametrize("method", ENSEMBLE_METHODS)
def test_fitting_and_training_move_nothing_in_a_member(members, fitted, method):
    model, before = fitted[method], _numbers(members)
    assert all(map(np.array_equal, before, _numbers(members_of(model))))
    np.testing.assert_array_equal(model(IMAGES, training=True), model(IMAGES))
    assert all(map(np.array_equal, before, _numbers(members_of(model))))
    assert all(map(np.array_equal, before, _numbers(members)))


def test_training_the_ensemble_itself_trains_the_combiner_alone(members):
    model = Ensemble(members, method="stacked", seed=1)
    combine = model.get_layer("network").get_layer("combine")
    frozen, free = _numbers(members_of(model)), combine.get_weights()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(IMAGES, np.array([0, 1, 2, 0, 1, 2]))
    assert all(map(np.array_equal, frozen, _numbers(members_of(model))))
    assert not any(map(np.array_equal, free, combine.get_weights()))


@pytest.mark.parametrize("method", ENSEMBLE_METHODS)
def test_a_plain_call_is_inference(fitted, method):
    np.testing.assert_array_equal(fitted[method](IMAGES), fitted[method](IMAGES, training=False))


@pytest.mark.parametrize("method", ENSEMBLE_METHODS)
def test_members_that_are_sure_or_uniform_give_no_nan(fitted, method):
    sure, uniform = np.eye(3, dtype="float32"), np.full((3, 3), 1 / 3, "float32")
    for answers in ([sure] * 3, [uniform] * 3, [sure, uniform, sure[::-1]]):
        blend = _answer(fitted[method], answers)
        np.testing.assert_allclose(blend.sum(axis=1), 1, rtol=1e-5)


def test_it_runs_in_a_graph_of_unknown_shapes(fitted):
    model = fitted["confidence"]
    spec = tf.TensorSpec([None, None, None, 3], tf.float32)
    np.testing.assert_allclose(
        tf.function(model, input_signature=[spec])(IMAGES), model(IMAGES), atol=1e-5
    )


def test_members_are_models_of_their_own(members, fitted):
    for member, frozen in zip(members, members_of(fitted["stacked"]), strict=True):
        np.testing.assert_array_equal(frozen(IMAGES), member(IMAGES))


def test_an_ensemble_can_be_a_member(members, fitted):
    outer = Ensemble([fitted["confidence"], members[0]], method="average")
    expected = (np.array(fitted["confidence"](IMAGES)) + np.array(members[0](IMAGES))) / 2
    np.testing.assert_allclose(outer(IMAGES), expected, rtol=1e-4)
    assert member_weights_of(outer) == {"member0_ensemble": 0.5, "member1_deepfakenet": 0.5}


def test_members_are_read_from_files_and_runs(members, tmp_path):
    (tmp_path / "run").mkdir()
    members[0].save(tmp_path / "run" / "model.keras")
    members[1].save(tmp_path / "other.keras")
    model = Ensemble([tmp_path / "run", str(tmp_path / "other.keras")])
    np.testing.assert_allclose(model(IMAGES), Ensemble(members[:2])(IMAGES), atol=1e-6)


def test_what_cannot_be_a_member_is_refused(members, tmp_path):
    with pytest.raises(ValueError, match=f"there is no model at {tmp_path}/none; with dfk come"):
        Ensemble([members[0], tmp_path / "none"])
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(ValueError, match=r"unfinished holds no model\.keras"):
        Ensemble([members[0], tmp_path / "unfinished"])
    (tmp_path / "svm").mkdir()
    (tmp_path / "svm" / "model.skops").touch()
    for path in (tmp_path / "svm", tmp_path / "svm" / "model.skops"):
        with pytest.raises(ValueError, match="is an SVM; only Keras models"):
            Ensemble([members[0], path])
    with pytest.raises(ValueError, match="network is no dfk model"):
        Ensemble([members[0], members[1].get_layer("network")])
    with pytest.raises(ValueError, match="at least 2 members, got 1"):
        Ensemble(members[:1])
    with pytest.raises(ValueError, match="unknown method 'median'; there are confidence, av"):
        Ensemble(members, method="median")


def test_members_of_other_classes_are_refused(members):
    other = DeepFakeNet(filters=(4,), dropout=(0.1,), classes=3, class_names=("a", "c", "b"))
    with pytest.raises(ValueError, match=r"\['a', 'b', 'c'\].*\['a', 'c', 'b'\]"):
        Ensemble([members[0], other])


@pytest.mark.parametrize(
    ("count", "images", "n", "classes"), [(1, 5, 5, 3), (2, 4, 5, 3), (2, 5, 5, 2), (2, 1, 1, 3)]
)
def test_arrays_that_do_not_fit_are_refused(members, count, images, n, classes):
    answers = [np.full((images, classes), 1 / classes)] * count
    with pytest.raises(ValueError, match="expected 2 arrays of probabilities of shape"):
        fit_ensemble(Ensemble(members[:2]), answers, np.zeros(n, int))


_ELSEWHERE = """
import sys
import dfk
import keras, numpy as np
assert keras.backend.backend() == sys.argv[2]
for method in ("average", "confidence", "stacked", "gated"):
    model = keras.models.load_model(f"{sys.argv[1]}/{method}.keras")
    assert model.layers[-1].class_names == ("a", "b", "c")
    images = np.load(sys.argv[1] + "/images.npy")
    np.save(f"{sys.argv[1]}/{method}.npy", keras.ops.convert_to_numpy(model(images)))
"""


# JAX adds up in another order; in which one TensorFlow does depends on the CPU.
@pytest.mark.parametrize(
    ("backend", "tolerance"),
    [("tensorflow", 1e-6), pytest.param("jax", 1e-4, marks=pytest.mark.slow)],
)
def test_a_saved_ensemble_answers_the_same_in_another_process(fitted, backend, tolerance, tmp_path):
    pytest.importorskip(backend)
    np.save(tmp_path / "images.npy", IMAGES)
    for method, model in fitted.items():
        model.save(tmp_path / f"{method}.keras")
    subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, tmp_path, backend],
        env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        check=True,
    )
    for method, model in fitted.items():
        np.testing.assert_allclose(
            np.load(tmp_path / f"{method}.npy"), model(IMAGES), atol=tolerance
        )
        assert class_names_of(model) == ("a", "b", "c")
