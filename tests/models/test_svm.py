"""The SVMs are scikit-learn's, only faster; their files hold data and nothing that runs."""

import pickle
import tracemalloc

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from skops import io

from dfk.models import forensic, rbf
from dfk.models.svm import PENALTY, SVM
from tests.datasets import texture


def noise(count, size=12, seed=0):
    """Images without any order, whose duels often tie; the first rows of all are constant."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    images[:, :2] = 7
    return list(images), np.arange(count)


def textures(count, classes, size=24, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return [texture(label, classes, size, rng) for label in labels], labels


def rounded(count, classes, seed=0):
    """Images whose class is how coarsely their values are rounded: no pixel tells it alone."""
    images, labels = textures(count, 1, seed=seed)[0], np.arange(count) % classes
    return [image // 2**k * 2**k for image, k in zip(images, labels, strict=True)], labels


def fitted(kind="svm", classes=3, count=60, **options):
    images, labels = textures(count, classes, **options)
    return SVM.fit(images, labels, class_names=[f"c{k}" for k in range(classes)], kind=kind)


def reference(rows, labels, penalty, **options):
    svc = SVC(kernel="rbf", C=penalty, gamma=1 / rows.shape[1], **options)
    return make_pipeline(StandardScaler(), svc).fit(rows, labels)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_it_is_scikit_learns_svc_on_standardised_pixels(classes):
    (train, labels), (test, _) = noise(150, seed=1), noise(150, seed=2)
    labels = labels % classes
    rows, test_rows = np.reshape(train, (150, -1)), np.reshape(test, (150, -1))
    machine = SVM.fit(train, labels, class_names=list("abcde")[:classes], kind="svm")
    sklearn = reference(rows, labels, 1.0, break_ties=classes > 2)
    expected = sklearn.decision_function(test_rows)
    assert len(set(sklearn.predict(test_rows))) == classes
    if classes == 2:
        expected = np.stack([-expected, expected], axis=1)
    # libsvm stops within 1e-3 of the optimum, and rounding decides where.
    np.testing.assert_allclose(machine.decision(test), expected, atol=1e-4)
    np.testing.assert_array_equal(machine.decision(test).argmax(1), sklearn.predict(test_rows))


def test_on_the_studys_kind_of_images_it_is_scikit_learns_default_svc():
    train, labels = textures(200, 5)
    test, _ = textures(100, 5, seed=1)
    machine = SVM.fit(train, labels, class_names=list("01234"), kind="svm")
    sklearn = reference(np.reshape(train, (200, -1)), labels, 1.0)
    answers = sklearn.predict(np.reshape(test, (100, -1)))
    np.testing.assert_array_equal(machine.decision(test).argmax(axis=1), answers)
    assert set(answers) == set(range(5))


def test_only_ties_of_duels_differ_from_scikit_learns_default():
    (train, labels), (test, _) = noise(150, seed=1), noise(300, seed=2)
    machine = SVM.fit(train, labels % 5, class_names=list("abcde"), kind="svm")
    sklearn = reference(np.reshape(train, (150, -1)), labels % 5, 1.0)
    votes = np.round(machine.decision(test))
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    same = machine.decision(test).argmax(axis=1) == sklearn.predict(np.reshape(test, (300, -1)))
    assert same[~tied].all()
    assert not same[tied].all()


def test_on_forensic_features_it_is_scikit_learns_svc():
    train, labels = textures(60, 3)
    test, _ = textures(30, 3, seed=1)
    machine = SVM.fit(train, labels, class_names=list("abc"), kind="svm_forensic")
    # In float64: from float32 features scikit-learn would standardise in float32.
    rows, test_rows = (forensic.features(images).astype(float) for images in (train, test))
    sklearn = reference(rows, labels, PENALTY["svm_forensic"])
    expected = sklearn.decision_function(test_rows)
    np.testing.assert_allclose(machine.decision(test), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "draw", "classes"), [("svm", textures, 2), ("svm_forensic", rounded, 5)]
)
def test_it_learns_and_calibrates(kind, draw, classes):
    machine = SVM.fit(*draw(120, classes), class_names=list("01234")[:classes], kind=kind)
    test, labels = draw(60, classes, seed=1)
    calibrated, probabilities = machine.calibrated(test, labels)
    raw = machine.predict(test)
    np.testing.assert_array_equal(probabilities, calibrated.predict(test))
    for by_votes in (raw, probabilities):
        assert np.mean(by_votes.argmax(axis=1) == labels) > 0.9
    nll = [-np.log(p[np.arange(60), labels]).mean() for p in (raw, probabilities)]
    assert nll[1] < nll[0]
    assert probabilities.dtype == np.float32 and probabilities.shape == (60, classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", ["svm", "svm_forensic"])
def test_blocks_change_nothing(kind, monkeypatch):
    whole = fitted(kind)
    test, _ = textures(20, 3, seed=1)
    expected = whole.decision(test)
    monkeypatch.setattr(rbf, "_BLOCK_ROWS", 7)
    np.testing.assert_allclose(whole.decision(test), expected, atol=1e-6)
    np.testing.assert_allclose(fitted(kind).decision(test), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["svm", "svm_forensic"])
def test_the_progress_is_given_all_that_takes_long(kind, monkeypatch):
    monkeypatch.setattr(rbf, "_BLOCK_ROWS", 20)
    seen = []

    def progress(some, *, desc, unit):
        for one in some:
            seen.append(desc)
            yield one

    images, labels = textures(60, 3)
    machine = SVM.fit(images, labels, class_names=list("abc"), kind=kind, progress=progress)
    # Six of three blocks, and the images of one batch
    features = ["features"] if kind == "svm_forensic" else []
    assert seen == [*features, *["kernel"] * 6]
    seen.clear()
    machine.decision(images, progress)
    assert set(seen) == set(features)


def test_many_images_take_little_memory(monkeypatch):
    machine = fitted(size=16)
    monkeypatch.setattr(rbf, "_BLOCK_BYTES", 2**18)
    images = textures(1, 3, size=16)[0] * 5000  # 31 MB in float64
    tracemalloc.start()
    scores = machine.decision(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # BLAS may multiply the last block, which is smaller, in another order.
    assert scores.shape == (5000, 3) and np.ptp(scores, axis=0).max() < 1e-6
    assert peak < 4 * 2**20


@pytest.mark.parametrize("kind", ["svm", "svm_forensic"])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_loads_as_it_was_saved(kind, classes, tmp_path):
    machine = fitted(kind, classes).with_(temperature=0.3)
    machine.save(tmp_path / "m.skops")
    loaded = SVM.load(tmp_path / "m.skops")
    test, _ = textures(20, classes, seed=1)
    np.testing.assert_array_equal(loaded.decision(test), machine.decision(test))
    np.testing.assert_array_equal(loaded.predict(test), machine.predict(test))
    for name in ("couples", "kind", "class_names", "image_size", "temperature", "parameters"):
        assert getattr(loaded, name) == getattr(machine, name)
    assert loaded.image_size == ((24, 24) if kind == "svm" else None)


def test_a_file_of_before_answers_as_it_did(tmp_path):
    """By a softmax of scores, in which votes outweigh margins."""
    machine = fitted().with_(temperature=0.5)
    machine.save(tmp_path / "m.skops")
    state = io.load(tmp_path / "m.skops")
    before = {k: v for k, v in state.items() if k not in ("couples", "trained_on")}
    (tmp_path / "old.skops").write_bytes(io.dumps(before))
    loaded, (test, _) = SVM.load(tmp_path / "old.skops"), textures(20, 3, seed=1)
    expected = softmax(machine.decision(test) / 0.5, axis=1)
    np.testing.assert_allclose(loaded.predict(test), expected, rtol=1e-5)
    assert loaded.trained_on is None and not np.allclose(machine.predict(test), expected, atol=0.01)
    (tmp_path / "old.skops").write_bytes(io.dumps(state | {"couples": 2}))
    with pytest.raises(ValueError, match="neither of two ways"):
        SVM.load(tmp_path / "old.skops")


def test_the_file_holds_pixels_and_needs_no_trust(tmp_path):
    machine = fitted(count=200)
    machine.save(tmp_path / "m.skops")
    assert io.get_untrusted_types(file=tmp_path / "m.skops") == []
    vectors = io.load(tmp_path / "m.skops")["machine"]["vectors"]
    assert vectors.dtype == np.uint8 and vectors.shape[1] == 24 * 24 * 3
    # Of every class at least one, and they are images of the training set.
    assert {v.tobytes() for v in vectors} <= {i.tobytes() for i in textures(200, 3)[0]}
    count, width = vectors.shape
    assert machine.parameters == count * width + 2 * count + 3
    beside = 8 * (2 * count + 2 * width) + 10_000
    assert (tmp_path / "m.skops").stat().st_size < vectors.size + beside


class Evil:
    """What a forged file might make."""

    made = False

    def __setstate__(self, state):
        Evil.made = True

    def __reduce__(self):
        return setattr, (Evil, "made", True)


def test_a_file_that_could_run_code_is_refused(tmp_path):
    machine = fitted()
    path = tmp_path / "m.skops"
    path.write_bytes(io.dumps(vars(machine) | {"temperature": Evil()}))
    with pytest.raises(ValueError, match=r"m\.skops is refused.*Evil"):
        SVM.load(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match=r"m\.skops is damaged, or no SVM"):
        SVM.load(path)
    assert not Evil.made


def test_a_damaged_file_is_refused(tmp_path):
    machine, path = fitted(), tmp_path / "m.skops"
    machine.save(path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    state = io.loads(whole)
    parts = state["machine"]
    short = state | {"machine": parts | {"vectors": parts["vectors"][1:]}}
    forged = [state | {"kind": "other"}, state | {"class_names": ("a",)}, short, parts, [1]]
    for data in (b"", whole[:middle], changed, *map(io.dumps, forged)):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"m\.skops is damaged, or no SVM"):
            SVM.load(path)


def test_a_missing_file_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        SVM.load(tmp_path / "m.skops")


def test_pixels_of_another_size_are_refused_and_both_sizes_named():
    machine = fitted(size=24)
    images = [*textures(2, 3)[0], np.zeros((16, 20, 3), np.uint8)]
    with pytest.raises(ValueError, match=r"trained on 24 x 24, .* image of 20 x 16"):
        machine.predict(images)
    # As many pixels do not make it the same size.
    with pytest.raises(ValueError, match=r"trained on 24 x 24, .* image of 12 x 48"):
        machine.predict([np.zeros((48, 12, 3), np.uint8)])
    with pytest.raises(ValueError, match=r"trained on 24 x 24, .* image of 20 x 16"):
        SVM.fit(images, np.array([0, 1, 1]), class_names=("a", "b"), kind="svm")


def test_forensic_features_take_any_size():
    machine = fitted("svm_forensic", classes=2, count=80)
    images, labels = [], []
    for size in (20, 33):
        more, its = textures(20, 2, size=size, seed=size)
        images, labels = images + more, [*labels, *its]
    assert np.mean(machine.predict(images).argmax(axis=1) == labels) > 0.9


def test_every_class_needs_an_image():
    images, labels = textures(10, 2)
    with pytest.raises(ValueError, match="every class"):
        SVM.fit(images, labels, class_names=("a", "b", "c"), kind="svm")


def test_no_images_have_no_scores():
    assert fitted().predict([]).shape == (0, 3)
