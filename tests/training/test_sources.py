"""What a run is made from: runs, files, and models that come with dfk."""

import shutil

import keras
import numpy as np
import pytest

from dfk import config, inference, models, runs, training
from dfk.errors import UsageError
from dfk.model_files import keras_files
from dfk.runs import locate
from dfk.runs.folder import _difference
from dfk.training import sources
from tests.datasets import write_kaggle


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Images of the classes that the shipped models know."""
    counts, classes = {"train": 60, "validation": 12}, tuple("01234")
    folder = tmp_path_factory.mktemp("data") / "kaggle"
    return write_kaggle(folder, counts=counts, classes=classes)


@pytest.fixture(scope="module")
def output_dir(data_dir, tmp_path_factory):
    """Where a network has been trained."""
    folder = tmp_path_factory.mktemp("runs")
    training.run(_config(data_dir, folder, "--experiment=mine", *NETWORK))
    return folder


NETWORK = ["--epochs=1", "--image_size=16", "--batch_size=16", "--precision=float32"]
ENSEMBLE = ["--model=ensemble", "--members=mine,unibuc-small", "--method=average"]


def _config(data_dir, output_dir, *flags):
    return config.parse([f"--data_dir={data_dir}", f"--output_dir={output_dir}", *flags])[0]


@pytest.fixture
def blend(data_dir, output_dir):
    """A finished ensemble of a run and a shipped model, trained once."""
    settings = _config(data_dir, output_dir, *ENSEMBLE, "--experiment=blend", "--resume")
    return settings, training.run(settings)


def test_a_run_and_a_shipped_model_make_an_ensemble(blend, data_dir, output_dir):
    settings, metrics = blend
    images = np.stack(training.load_data(settings).splits["validation"].images)
    parts = [inference.load(x).answer(images) for x in (output_dir / "mine", "unibuc-small")]
    model = keras.models.load_model(settings.run_dir / runs.MODEL)
    assert len(models.members_of(model)) == 2
    temperature = model.layers[-1].temperature
    powers = np.mean(parts, axis=0) ** (1 / temperature)
    expected = powers / powers.sum(axis=1, keepdims=True)
    answers = model.predict(images.astype("float32"), verbose=0)
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-6)
    assert list(metrics["members"]) == ["mine", "unibuc-small"]


def test_its_flags_repeat_it_in_another_folder_and_a_moved_one_is_resumed(blend, tmp_path):
    settings, metrics = blend
    flags = settings.run_dir / runs.FLAGS
    assert f"--members={settings.run.output_dir}/mine,unibuc-small\n" in flags.read_text()
    again = config.parse([f"--flagfile={flags}", f"--output_dir={tmp_path}/again"])[0]
    assert training.run(again)["nll"] == metrics["nll"]
    shutil.copytree(settings.run.output_dir, tmp_path / "moved")
    moved = _config(settings.data.data_dir, tmp_path / "moved", *ENSEMBLE, "--experiment=blend")
    with pytest.raises(UsageError, match="is there already"):
        training.run(moved)
    assert training.run(_resumed(moved)) == metrics
    (tmp_path / "moved" / "blend" / runs.METRICS).unlink()  # Killed before it had finished
    assert training.run(_resumed(moved))["nll"] == metrics["nll"]


def _resumed(settings):
    return config.parse([*settings.to_flags().splitlines(), "--resume"])[0]


def test_a_run_of_a_shipped_name_that_came_since_is_another_member(blend, tmp_path):
    settings, _ = blend
    shutil.copytree(settings.run.output_dir, tmp_path / "moved")
    shutil.copytree(tmp_path / "moved" / "mine", tmp_path / "moved" / "unibuc-small")
    moved = _config(
        settings.data.data_dir, tmp_path / "moved", *ENSEMBLE, "--experiment=blend", "--resume"
    )
    then = "mine,unibuc-small then, <output_dir>/mine,<output_dir>/unibuc-small now"
    with pytest.raises(UsageError, match=then):
        training.run(moved)


@pytest.mark.parametrize("order", [["run0", "run1"], ["run1", "run0"]])
def test_a_run_of_the_suite_wins_over_a_shipped_model(order, data_dir, tmp_path):
    """Wherever in the suite: who names it before it is there is told so."""
    (tmp_path / "run0.flags").write_text("\n".join(["--experiment=unibuc", *NETWORK]))
    (tmp_path / "run1.flags").write_text("\n".join(["--teacher=unibuc", *NETWORK]))
    suite = ",".join(f"{tmp_path}/{name}.flags" for name in order)
    flags = [f"--data_dir={data_dir}", f"--output_dir={tmp_path}/runs", f"--suite={suite}"]
    if order[0] == "run1":
        with pytest.raises(UsageError, match=r"no model at .*runs/unibuc;"):
            training.check(config.parse(flags))
        return
    _, student = training.check(config.parse(flags))
    assert student.fit.teacher == f"{tmp_path}/runs/unibuc"


def test_a_shipped_model_teaches(data_dir, tmp_path):
    flags = [*NETWORK, "--teacher=unibuc-small", "--experiment=student"]
    settings = _config(data_dir, tmp_path, *flags)
    loaded, load = [], keras_files.load
    sources._load.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras_files, "load", lambda path: loaded.append(path) or load(path))
        training.run(settings)
    # Once, between check and fit; the report looks at what was saved.
    assert loaded == [locate.FOLDER / "unibuc-small.keras", settings.run_dir / runs.MODEL]
    assert "--teacher=unibuc-small\n" in (settings.run_dir / runs.FLAGS).read_text()


def test_a_shipped_model_that_is_no_vgg16_is_refused_as_a_start(data_dir, tmp_path):
    flags = ["--model=vgg16", "--vgg16_weights=unibuc-small", "--image_size=32"]
    settings = _config(data_dir, tmp_path, *flags)
    with pytest.raises(UsageError, match=r"unibuc-small\.keras.*VGG16's convolutions"):
        training.check([settings])


def test_a_member_is_loaded_once_and_again_when_its_file_changes(output_dir, tmp_path):
    shutil.copytree(output_dir / "mine", tmp_path / "mine")
    settings = _config("x", tmp_path, "--model=ensemble", "--members=mine,mine")
    first, second = sources.members(settings)
    assert first is second
    models.set_temperature(first, 7.0)
    first.save(tmp_path / "mine" / runs.MODEL)
    assert sources.members(settings)[0] is not first


def test_of_several_seeds_a_file_is_the_same_for_all():
    flags = ["--data_dir=x", "--seeds=1,2", "--model=ensemble", "--members=a,b.keras,c/d"]
    assert [one.options.members for one in config.parse(flags)] == [
        (f"a-seed{seed}", "b.keras", "c/d") for seed in (1, 2)
    ]


def test_of_several_seeds_each_has_runs_of_its_own_and_a_shipped_model_is_that_of_all(tmp_path):
    (tmp_path / "a-seed1").mkdir()
    flags = ["--data_dir=x", f"--output_dir={tmp_path}", "--model=ensemble", "--members=a,unibuc"]
    given = config.parse([*flags, "--seeds=1,2"])
    first, second = (sources.named(one).options.members for one in given)
    assert first == (f"{tmp_path}/a-seed1", "unibuc")
    assert second == (f"{tmp_path}/a-seed2", "unibuc")  # Which is not there, and is missed
    upcoming = {tmp_path / "unibuc-seed1"}
    assert sources.named(given[0], upcoming).options.members[1] == f"{tmp_path}/unibuc-seed1"
    # Without --seeds, a name with a seed is a name like any other.
    (one,) = config.parse([*flags, "--seed=1", "--members=a,unibuc-seed1"])
    assert sources.named(one).options.members[1] == f"{tmp_path}/unibuc-seed1"


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--teacher={}"], "run"),
        (["--model=vgg16", "--vgg16_weights={}"], "run/model.keras"),
        (["--model=ensemble", "--members={},unibuc"], "run"),
    ],
)
def test_another_run_is_the_same_in_a_moved_output_folder(flags, name):
    def given(output_dir, source):
        return _config("x", output_dir, *(flag.format(source) for flag in flags))

    before = given("old", f"old/{name}").to_flags()
    assert _difference(before, given("new", f"new/{name}")) == ""
    assert "then, " in _difference(before, given("new", f"old/{name}"))
