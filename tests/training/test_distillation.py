"""A student learns from labels and from a teacher, which itself stays as it is."""

import shutil

import keras
import numpy as np
import pytest

from dfk import config, models, runs, training
from dfk.errors import UsageError
from dfk.training import distillation, features, phases
from tests.experiments import FINISHED, short
from tests.networks import network

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 255, (12, 16, 16, 3)).astype("float32")
LABELS = np.eye(3, dtype="float32")[np.arange(12) % 3]


def _loss(labels, logits):
    return keras.losses.CategoricalCrossentropy(from_logits=True)(labels, logits)


@pytest.fixture
def teacher():
    return network(16, seed=3)


def _student(teacher, share, **optimizer):
    student = distillation.Student(
        models.network_of(network(16, dropout=(0, 0, 0))), teacher, share
    )
    student.compile(
        keras.optimizers.Adam(**optimizer), keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    return student


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_teacher_takes_its_share_of_the_labels_in_training_only(teacher, share):
    student = _student(teacher, share, learning_rate=0.0)
    logits = student(IMAGES, training=True)
    labels = (1 - share) * LABELS + share * np.asarray(teacher(IMAGES))
    loss = student.train_on_batch(IMAGES, LABELS)
    assert float(loss) == pytest.approx(float(_loss(labels, logits)), rel=1e-4)
    scored = student.evaluate(IMAGES, LABELS, batch_size=12, verbose=0)
    assert scored == pytest.approx(float(_loss(LABELS, student(IMAGES, training=False))), rel=1e-4)


def test_a_student_without_labels_comes_to_answer_as_its_teacher(teacher):
    student = _student(teacher, 1.0, learning_rate=0.01)
    before = [np.array(v) for v in teacher.variables]
    nothing = np.zeros_like(LABELS)
    for _ in range(150):
        student.train_on_batch(IMAGES, nothing)
    answers = keras.ops.softmax(student(IMAGES, training=True))
    np.testing.assert_allclose(answers, teacher(IMAGES), atol=0.05)
    for was, now in zip(before, teacher.variables, strict=True):
        np.testing.assert_array_equal(was, now)


def test_the_students_weights_are_its_own(teacher):
    own = models.network_of(network(16))
    student = distillation.Student(own, teacher, 0.5)
    assert [v.path for v in student.variables] == [v.path for v in own.variables]
    assert all(a is b for a, b in zip(student.variables, own.variables, strict=True))


def test_of_a_pair_the_teacher_sees_the_clean_view(teacher):
    """And with it the student's loss is that of the clean answers, on the degraded images."""
    student = _student(teacher, 1.0, learning_rate=0.0)
    clean = IMAGES[::-1]
    loss = student.train_on_batch(np.concatenate([IMAGES, clean], axis=-1), LABELS)
    expected = _loss(np.asarray(teacher(clean)), student(IMAGES, training=True))
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


@pytest.fixture(scope="module")
def output_dir(finished, tmp_path_factory):
    """Where a teacher has been trained."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(finished[0].run_dir, folder / "teacher")
    return folder


def test_a_run_names_a_run_beside_it_as_its_teacher(finished, data_dir, output_dir):
    _, plain = finished
    flags = (*FINISHED, "--experiment=taught", "--teacher=teacher", "--teacher_share=0.9")
    taught = short(data_dir, output_dir, *flags)
    metrics = training.run(taught)
    assert metrics["parameters"] == plain["parameters"]
    assert metrics["nll"] != plain["nll"]
    flags = (taught.run_dir / runs.FLAGS).read_text()
    assert f"--teacher={output_dir}/teacher\n" in flags
    # It is deployed without the teacher.
    model = keras.models.load_model(taught.run_dir / runs.MODEL)
    assert model.count_params() == plain["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["", "teacher"])
def test_a_rich_model_learns_on_features_as_on_images(
    data_dir, output_dir, teacher, tmp_path, monkeypatch
):
    """Also as a student, which hears beside the features what its teacher answers to the image."""
    given = ["--model=rich", "--augment="]
    given += [f"--teacher={output_dir / teacher}", "--teacher_share=0.9"] if teacher else []
    kernels = []
    for name in ("ahead", "every_epoch"):
        settings = short(data_dir, tmp_path, *given, f"--experiment={name}")
        settings.run_dir.mkdir()
        data = training.load_data(settings)
        model = models.build(settings, data.class_names, precision="float32")
        assert features.stay_the_same(settings) == (name == "ahead")
        phases.fit_phases(settings, data, model)
        kernels.append(model.get_weights())
        monkeypatch.setattr(features, "stay_the_same", lambda config: False)
    for ahead, every_epoch in zip(*kernels, strict=True):
        np.testing.assert_allclose(ahead, every_epoch, rtol=1e-3, atol=1e-4)


def test_behind_the_features_of_a_draw_stands_the_answer_to_it(few_counts, data_dir, output_dir):
    """Mirroring changes no count, so the counts tell which image was drawn, mirrored or not."""
    given = ["--model=rich", "--augment=flip", "--feature_draws=1", "--image_size=0"]
    settings = short(data_dir, output_dir, *given, "--limit=40")
    data = training.load_data(settings)
    model = models.build(settings, data.class_names, precision="float32")
    teacher = network(seed=3)
    _, found = features.of_images(settings, data, model, teacher)
    vectors = np.stack(found.splits["train"].images)
    head = features.head_of(settings, model, answers=3)
    told = features.answers_of(head, 3).predict(vectors, verbose=0)
    images = np.stack(data.splits["train"].images).astype("float32")
    whole, counts = len(images), vectors[:, 0, 0, :-3]
    drawn = [np.abs(counts[:whole] - one).max(axis=1).argmin() for one in counts[whole:]]
    answers = [teacher.predict(x, verbose=0) for x in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(told[:whole], answers[0], atol=1e-4)
    plain, mirrored = (np.abs(told[whole:] - one[drawn]).max(axis=1) < 1e-4 for one in answers)
    assert (plain | mirrored).all() and not plain.all() and not mirrored.all()


def test_behind_the_features_of_a_degraded_draw_stands_the_answer_to_the_clean_image(
    few_counts, data_dir, output_dir
):
    given = ["--model=rich", "--augment=noise=90", "--feature_draws=1", "--image_size=0"]
    settings = short(
        data_dir, output_dir, *given, "--limit=40", "--teacher=teacher", "--teacher_sees=clean"
    )
    data = training.load_data(settings)
    model = models.build(settings, data.class_names, precision="float32")
    _, found = features.of_images(settings, data, model, network(seed=3))
    vectors = np.stack(found.splits["train"].images)[:, 0, 0]
    whole = len(data.splits["train"])
    first, drawn = np.split(vectors, [whole])
    away = np.abs(drawn[:, None, -3:] - first[:, -3:]).max(axis=-1)
    order = away.argmin(axis=1)
    assert away.min(axis=1).max() < 1e-4 and len(drawn) > 20
    assert np.abs(drawn[:, :-3] - first[order, :-3]).max(axis=1).min() > 0.1  # Noise is counted.


def test_of_several_seeds_each_has_the_teacher_of_its_own():
    parsed = config.parse(["--data_dir=x", "--seeds=1,2", "--teacher=unibuc"])
    assert [one.fit.teacher for one in parsed] == ["unibuc-seed1", "unibuc-seed2"]
    (one, _) = config.parse(["--data_dir=x", "--seeds=1,2", "--teacher=a/b"])
    assert one.fit.teacher == "a/b"


@pytest.mark.parametrize("teacher", ["gone", "svm", "other"])
def test_a_teacher_that_cannot_teach_is_refused_with_its_path(data_dir, tmp_path, teacher):
    folder = tmp_path / teacher
    if teacher == "svm":
        folder.mkdir()
        (folder / "model.skops").touch()
    if teacher == "other":
        folder.mkdir()
        network(16).save(folder / "model.keras")
    reason = {
        "gone": "there is no model",
        "svm": "is an SVM",
        "other": "knows the classes cat, dog",
    }
    settings = short(data_dir, tmp_path, "--experiment=x", f"--teacher={teacher}")
    with pytest.raises(UsageError, match=reason[teacher]) as error:
        training.run(settings)
    assert str(folder) in str(error.value)


def test_an_svm_that_is_to_be_trained_before_is_refused_as_a_teacher(data_dir, tmp_path):
    svm = short(data_dir, tmp_path, "--model=svm")
    with pytest.raises(UsageError, match="is an SVM"):
        training.check([svm, short(data_dir, tmp_path, "--experiment=x", "--teacher=svm")])
    later = svm.with_(model="deepfakenet")
    training.check([later, short(data_dir, tmp_path, "--experiment=x", "--teacher=svm")])


@pytest.mark.parametrize("model", ["svm", "ensemble"])
def test_what_is_no_network_has_no_teacher(model):
    members = ["--members=a,b"] if model == "ensemble" else []
    with pytest.raises(UsageError, match="--teacher"):
        config.parse(["--data_dir=x", f"--model={model}", "--teacher=a", *members])
