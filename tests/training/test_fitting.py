"""Every model of the study through the same door, on small images."""

import contextlib
import json
import shutil

import keras
import numpy as np
import pytest

from dfk import config, models, runs, training
from dfk.errors import UsageError
from dfk.system import hardware
from dfk.training import callbacks, checks, features, fitting
from tests.datasets import write_kaggle
from tests.experiments import fit, history, interrupt, short

pytestmark = pytest.mark.usefixtures("narrow", "few_counts")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Images of VGG16's least size."""
    folder = tmp_path_factory.mktemp("data")
    return write_kaggle(
        folder, counts={"train": 60, "validation": 20}, classes=("0", "1", "2"), size=32
    )


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory):
    """Where the tests of this file leave their runs, members of ensembles among them."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def members(data_dir, output_dir):
    """Two finished runs of networks that take images of different sizes."""
    for name, size in (("small", 16), ("large", 24)):
        settings = short(data_dir, output_dir, f"--experiment={name}", f"--image_size={size}")
        training.run(settings)
    return output_dir


@pytest.mark.parametrize("model", ["svm", "svm_forensic"])
def test_an_svm_leaves_a_run_like_any_other(data_dir, output_dir, model):
    metrics = training.run(short(data_dir, output_dir, f"--model={model}"))
    run_dir = output_dir / model
    assert metrics["accuracy"] > 0.6
    assert {"model.skops", "metrics.json", "predictions.csv", "report.html"} <= {
        path.name for path in run_dir.iterdir()
    }
    split = training.load_data(short(data_dir, output_dir)).splits["validation"]
    loaded = models.SVM.load(run_dir / runs.SVM_MODEL)
    accuracy = (loaded.predict(split.images).argmax(axis=1) == split.labels).mean()
    assert accuracy == metrics["accuracy"]


def test_deepfakenet2_uses_what_its_row_lists(data_dir, tmp_path):
    training.run(short(data_dir, tmp_path))  # Row 2, which it goes on from
    settings = short(
        *(data_dir, tmp_path, "--flagfile=configs/deepfakenet2.flags", "--epochs=2"),
        *("--train_crop=16", "--class_weight=2:2.7", "--sampling=balanced"),
        *("--cutmix_alpha=1", "--mixup_alpha=0.2"),
    )
    assert training.run(settings)["experiment"] == "deepfakenet2"
    network = models.network_of(keras.models.load_model(settings.run_dir / runs.MODEL))
    rescale = network.get_layer("rescale")
    assert (rescale.scale, rescale.offset) == (2 / 255, -1)


@pytest.fixture(scope="module")
def fine_tuned(narrow, data_dir, output_dir):
    """VGG16 from given weights: their model, and the flags and the folder of a finished run."""
    base = keras.applications.VGG16(weights=None, include_top=False)
    base.save_weights(output_dir / "base.weights.h5")
    flags = [
        *("--model=vgg16", "--image_size=32", f"--vgg16_weights={output_dir}/base.weights.h5"),
        *("--epochs=3", "--head_epochs=1", "--learning_rate=1e-3", "--fine_tune_from=block5"),
        "--limit=30",
    ]
    settings = short(data_dir, output_dir, "--experiment=fine_tuned", *flags)
    training.run(settings)
    return base, flags, settings.run_dir


def test_vgg16_with_given_weights_trains_its_head_first(fine_tuned):
    base, _, run_dir = fine_tuned
    network = models.network_of(keras.models.load_model(run_dir / runs.MODEL))
    kernel = lambda model, name: model.get_layer(name).kernel.numpy()  # noqa: E731
    np.testing.assert_array_equal(kernel(network, "block4_conv3"), kernel(base, "block4_conv3"))
    assert not np.array_equal(kernel(network, "block5_conv1"), kernel(base, "block5_conv1"))
    rows = (run_dir / runs.HISTORY).read_text().splitlines()
    rates = [float(row.split(",")[-1]) for row in rows[1:]]
    assert rates == pytest.approx([1e-3, 1e-5, 1e-5])


def test_phases_resume_as_if_never_interrupted(fine_tuned, data_dir, tmp_path, monkeypatch):
    """Interrupted as the second phase begins, and again within it."""
    _, flags, run_dir = fine_tuned
    settings = short(data_dir, tmp_path, "--experiment=fine_tuned", *flags)
    for epoch in (1, 2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(callbacks.Progress, "on_epoch_begin", interrupt(epoch))
            fit(settings)
    _assert_same(fit(settings), keras.models.load_model(run_dir / runs.MODEL))
    assert history(settings.run_dir) == history(run_dir)


def _assert_same(model, other):
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_features_computed_once_train_the_head_as_the_base_in_every_epoch(
    fine_tuned, data_dir, tmp_path, monkeypatch
):
    flags = [*fine_tuned[1], "--epochs=2", "--head_epochs=2", "--augment="]
    flags += ["--class_weight=1:2", "--ema=0.9"]
    computed, of_images = [], features.of_images
    monkeypatch.setattr(features, "of_images", lambda *a: computed.append(a) or of_images(*a))
    settings = short(data_dir, tmp_path, "--experiment=once", *flags)
    fit(settings)
    assert len(computed) == 1
    monkeypatch.setattr(features, "stay_the_same", lambda config: False)
    plain = short(data_dir, tmp_path, "--experiment=plain", *flags)
    fit(plain)
    histories = [
        np.loadtxt(run.run_dir / runs.HISTORY, delimiter=",", skiprows=1)
        for run in (settings, plain)
    ]
    np.testing.assert_allclose(*histories, rtol=1e-3)


def test_a_rich_model_counts_draws_of_each_image_beside_it(data_dir, tmp_path):
    """Mirroring changes no count: whatever is drawn, an image's features stay with its label."""
    flags = ["--flagfile=configs/rich.flags", "--batch_size=16", "--augment=flip"]
    settings = short(data_dir, tmp_path, *flags, "--feature_draws=2")
    assert features.stay_the_same(settings)
    data = training.load_data(settings)
    model = models.build(settings, data.class_names, precision="float32")
    plain, found = features.of_images(settings, data, model)
    assert (plain.input.augment, plain.input.image_size) == ((), 0)
    whole, drawn = data.splits["train"], found.splits["train"]
    assert len(found.splits["holdout"]) == len(data.splits["holdout"])
    assert len(drawn) == len(whole) + 2 * (len(whole) // 16 * 16)
    table = np.stack(drawn.images)[:, 0, 0]
    own, others = table[: len(whole)], table[len(whole) :]
    distances = np.abs(others[:, None] - own).max(axis=2)
    assert distances.min(axis=1).max() < 1e-3
    assert (drawn.labels[: len(whole)] == whole.labels).all()
    assert (drawn.labels[len(whole) :] == whole.labels[distances.argmin(axis=1)]).all()


def test_draws_are_crops_and_those_that_do_not_fit_are_refused(data_dir, tmp_path):
    flags = ["--flagfile=configs/rich.flags", "--batch_size=16", "--feature_draws=1", "--epochs=1"]
    with pytest.raises(UsageError, match="--train_crop=99 does not fit"):
        training.run(short(data_dir, tmp_path, *flags, "--train_crop=99"))
    settings = short(data_dir, tmp_path, *flags, "--train_crop=12", "--experiment=crops")
    data = training.load_data(settings)
    model = models.build(settings, data.class_names, precision="float32")
    _, found = features.of_images(settings, data, model)
    whole, drawn = found.splits["train"].images[0], found.splits["train"].images[-1]
    assert whole.shape == drawn.shape
    assert all(np.abs(drawn - image).max() > 1e-3 for image in found.splits["train"].images[:-1])


def test_features_that_do_not_fit_into_memory_are_refused_first(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "available_bytes", lambda: 8 * 2**30)
    flags = ["--flagfile=configs/rich.flags", "--feature_draws=10000", "--augment=flip"]
    settings = short(data_dir, tmp_path, *flags)
    with pytest.raises(UsageError, match="available are 8 GiB"):
        training.run(settings)


def test_the_head_resumes_on_its_features(fine_tuned, data_dir, tmp_path, monkeypatch):
    flags = [*fine_tuned[1], "--epochs=2", "--head_epochs=2", "--augment="]
    whole, parts = (
        short(data_dir, tmp_path, f"--experiment={name}", *flags) for name in ("whole", "parts")
    )
    expected = fit(whole)

    def at_the_end(*_):
        raise KeyboardInterrupt

    # Within the phase, and as its last epoch has ended
    for stop, action in (("on_epoch_begin", interrupt(1)), ("on_train_end", at_the_end)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(callbacks.Progress, stop, action)
            fit(parts)
    _assert_same(fit(parts), expected)
    assert history(parts.run_dir) == history(whole.run_dir)


def test_vgg16_whose_weights_are_missing_is_refused_before_any_image_is_read(tmp_path):
    flags = ["--model=vgg16", "--image_size=32", "--vgg16_weights=gone.h5"]
    settings = short("no/such/folder", tmp_path, *flags)
    with pytest.raises(UsageError, match=r"gone\.h5.*no such file"):
        training.run(settings)


def test_vgg16_goes_on_from_a_run(fine_tuned, data_dir, output_dir):
    _, _, run_dir = fine_tuned
    flags = ["--image_size=32", "--vgg16_weights=fine_tuned", "--head_epochs=0", "--limit=30"]
    settings = short(
        *(data_dir, output_dir, "--model=vgg16", "--experiment=further", *flags),
        *("--fine_tune_from=block5", "--learning_rate=1e-3"),
    )
    training.run(settings)
    before, after = (
        models.network_of(keras.models.load_model(folder / runs.MODEL))
        for folder in (run_dir, settings.run_dir)
    )
    for name, same in (("block4_conv3", True), ("block5_conv1", False), ("hidden", False)):
        kernels = [network.get_layer(name).kernel.numpy() for network in (before, after)]
        assert np.array_equal(*kernels) == same, name
        np.testing.assert_allclose(*kernels, atol=5e-3)  # It began where the run ended.
    flags = (settings.run_dir / runs.FLAGS).read_text()
    assert f"--vgg16_weights={run_dir / runs.MODEL}\n" in flags


@pytest.mark.parametrize(
    ("first", "message"), [("vgg16", None), ("svm", "is a run of --model=svm")]
)
def test_vgg16_goes_on_from_a_run_of_its_suite(data_dir, tmp_path, first, message):
    (tmp_path / "one.flags").write_text(
        f"--model={first}" + ("\n--vgg16_weights=none" if first == "vgg16" else "")
    )
    (tmp_path / "two.flags").write_text("--model=vgg16\n--vgg16_weights=one")
    suite = f"--suite={tmp_path}/one.flags,{tmp_path}/two.flags"
    configs = config.parse([suite, f"--data_dir={data_dir}", f"--output_dir={tmp_path}/runs"])
    refused = pytest.raises(UsageError, match=message) if message else contextlib.nullcontext()
    with refused:
        training.check(configs)


@pytest.mark.parametrize("method", ["average", "confidence", "stacked"])
def test_an_ensemble_answers_as_the_model_it_saves(data_dir, members, method):
    settings = short(
        *(data_dir, members, "--model=ensemble", "--members=small,large", f"--method={method}"),
        *(f"--experiment={method}", "--class_weight=0:1.9,2:1.7"),
    )
    metrics = training.run(settings)
    split = training.load_data(settings).splits["validation"]
    model = keras.models.load_model(settings.run_dir / runs.MODEL)
    probabilities = model.predict(np.stack(split.images).astype("float32"), verbose=0)
    assert (probabilities.argmax(axis=1) == split.labels).mean() == metrics["accuracy"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert list(metrics["members"]) == ([] if method == "stacked" else ["small", "large"])


def test_an_ensembles_flags_repeat_it_elsewhere(data_dir, members, tmp_path):
    flags = [*("--model=ensemble", "--members=small,large"), "--experiment=blend", "--resume"]
    first = training.run(short(data_dir, members, *flags))
    saved = [f"--flagfile={members}/blend/{runs.FLAGS}", f"--output_dir={tmp_path}/again"]
    again = training.run(config.parse(saved)[0])
    assert again["accuracy"] == first["accuracy"] and again["nll"] == first["nll"]
    shutil.copytree(members, tmp_path / "moved")  # A moved folder is no other experiment.
    assert training.run(short(data_dir, tmp_path / "moved", *flags)) == first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("small,gone", "no model at .*gone"),
        ("small,machine", "is an SVM"),
        ("small", "at least 2 members"),
        ("./elsewhere/a,small", "no model at elsewhere/a"),
    ],
)
def test_members_that_cannot_be_combined_are_refused(data_dir, members, given, message):
    (members / "machine").mkdir(exist_ok=True)
    (members / "machine" / "model.skops").touch()
    with pytest.raises(UsageError, match=message):
        training.run(
            short(data_dir, members, "--model=ensemble", f"--members={given}", "--overwrite")
        )


def test_class_weights_of_unknown_classes_are_refused_and_leave_no_run(data_dir, tmp_path):
    settings = short(data_dir, tmp_path, "--class_weight=7:2")
    with pytest.raises(UsageError, match="names 7; the classes are 0, 1, 2"):
        training.run(settings)
    assert not settings.run_dir.exists()


def test_a_kernel_matrix_that_does_not_fit_is_refused(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("dfk.system.hardware.available_bytes", lambda: 2 * 8 * 50**2)
    with pytest.raises(UsageError, match="an SVM of 54 images needs"):
        training.run(short(data_dir, tmp_path, "--model=svm"))


def test_pixels_that_do_not_fit_are_refused(data_dir, tmp_path, monkeypatch):
    """Those of 54 images of 16 x 16, three times, beside the matrix."""
    needed = 8 * 54**2 + 3 * 54 * 16 * 16 * 3
    monkeypatch.setattr("dfk.system.hardware.available_bytes", lambda: 2 * needed - 1)
    with pytest.raises(UsageError, match=r"an SVM of 54 images needs .* and their pixels"):
        training.run(short(data_dir, tmp_path, "--model=svm"))


@pytest.mark.parametrize("flags", [["--image_size=16"], ["--image_size=0", "--train_crop=12"]])
def test_a_batch_that_cannot_fit_is_refused(data_dir, tmp_path, monkeypatch, flags):
    monkeypatch.setattr("dfk.system.hardware.available_bytes", lambda: 1e6)
    pixels = 256 if "--image_size=16" in flags else 144
    with pytest.raises(UsageError, match=f"a batch of 16 images of {pixels} pixels needs about"):
        training.run(short(data_dir, tmp_path, *flags))


@pytest.mark.parametrize(("members", "message"), [("one,gone", "gone"), ("one,one", "is an SVM")])
def test_a_suite_is_checked_before_its_first_run(data_dir, tmp_path, members, message):
    ensemble = f"--model=ensemble\n--members={members}"
    for name, text in (("one", "--model=svm"), ("two", ensemble)):
        (tmp_path / f"{name}.flags").write_text(text)
    suite = f"--suite={tmp_path}/one.flags,{tmp_path}/two.flags"
    arguments = [suite, f"--data_dir={data_dir}", f"--output_dir={tmp_path}/runs"]
    with pytest.raises(UsageError, match=message):
        training.check(config.parse(arguments))
    assert not (tmp_path / "runs").exists()


def test_a_suite_fills_the_table(data_dir, tmp_path, capsys):
    from dfk import cli

    for name, text in (("one", "--model=svm"), ("two", "--model=deepfakenet")):
        (tmp_path / f"{name}.flags").write_text(text)
    suite = f"--suite={tmp_path}/one.flags,{tmp_path}/two.flags"
    arguments = [suite, f"--data_dir={data_dir}", f"--output_dir={tmp_path}/runs", "--epochs=1"]
    assert cli.main(["train", *arguments, "--image_size=16"]) == 0
    rows = json.loads((tmp_path / "runs" / "results.json").read_text())
    assert [row["experiment"] for row in rows] == ["one", "two"]
    out = capsys.readouterr().out
    assert "| one " in out and "p: McNemar's, by Holm, against " in out
    assert f"page    {tmp_path}/runs/index.html" in out


def test_the_least_image_follows_from_the_flags_members_and_teacher(tmp_path):
    deep = config.parse(["--data_dir=demo", "--model=residual", "--filters=4,4,4,4,4"])[0]
    assert checks.smallest_image(deep) == 16
    file = tmp_path / "deep.keras"
    native = deep.with_(image_size=0)
    models.build(native, ("a", "b"), precision="float32").save(file)
    student = config.parse(["--data_dir=demo", "--model=rich", f"--teacher={file}"])[0]
    assert checks.smallest_image(student) == 16
    both = config.parse(["--data_dir=demo", "--model=ensemble", f"--members={file},{file}"])[0]
    assert checks.smallest_image(both) == 16


@pytest.mark.parametrize(
    ("flags", "side"),
    [
        ([], 32),
        (["--train_crop=16"], 32),  # A network that minds no size is tested on all of an image.
        (["--test_crop=24"], 24),
        (["--train_crop=16", "--test_crop=24"], 24),
    ],
)
def test_what_a_network_is_tested_on_follows_from_what_it_learned_on(flags, side, data_dir):
    settings = short(data_dir, "runs", "--image_size=0", *flags)
    assert fitting._test_crop(settings, training.load_data(settings)) == side


def test_vgg16_is_tested_on_crops_as_large_as_those_that_it_learned_on(data_dir):
    flags = ["--model=vgg16", "--vgg16_weights=none", "--image_size=0"]
    settings = short(data_dir, "runs", *flags, "--train_crop=16")
    assert fitting._test_crop(settings, training.load_data(settings)) == 16


def test_a_run_averages_crops_of_what_is_larger(data_dir, tmp_path):
    training.run(short(data_dir, tmp_path, "--image_size=0", "--test_crop=16"))
    model = keras.models.load_model(tmp_path / "deepfakenet" / runs.MODEL)
    assert models.crops_of(model).side == 16
