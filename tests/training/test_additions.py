"""A class is added to a finished run, to an ensemble, and twice."""

import dataclasses
import json
import types

import numpy as np
import pytest

from dfk import config, models, runs, training
from dfk.errors import UsageError
from tests.datasets import save, texture
from tests.experiments import short
from tests.networks import save_tiny
from tests.pictures import noise

COUNT = 12


@pytest.fixture(scope="module")
def new_images(tmp_path_factory):
    """Images unlike the gratings of the other classes: noise."""
    folder = tmp_path_factory.mktemp("new")
    for i in range(COUNT):
        save(noise(20, 24, seed=i), folder / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """No features are stored from one test to the next."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dfk" / "features"


def _settings(data_dir, base, new_images, output_dir, *flags) -> config.Config:
    flags = (f"--base={base}", f"--new_class=new:{new_images}", "--experiment=more", *flags)
    return short(data_dir, output_dir, "--model=added", *flags)


def test_a_run_gets_a_class(finished, data_dir, new_images, tmp_path, cache, logged):
    base, scores = finished
    settings = _settings(data_dir, base.run_dir, new_images, tmp_path)
    metrics = training.run(settings)
    assert [row["class"] for row in metrics["per_class"]] == ["0", "1", "2", "new"]
    assert metrics["n"] == scores["n"] + 2
    model = models.load_member(tmp_path / "more" / runs.MODEL)
    assert models.class_names_of(model) == ("0", "1", "2", "new")
    assert model.layers[-1].trained_on["formats"][3] == {"PNG": COUNT - 2}
    old = models.load_member(base.run_dir)
    draw = np.random.default_rng(1)
    images = np.stack([texture(i % 3, 3, 16, draw) for i in range(9)]).astype("float32")
    before, after = (x.predict(images, verbose=0) for x in (old, model))
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    unlike = np.stack([noise(20, 24, seed=i) for i in range(90, 98)]).astype("float32")
    assert (model.predict(unlike, verbose=0).argmax(axis=1) == 3).mean() > 0.5
    assert "found of the new: new" in logged.text
    environment = json.loads((tmp_path / "more" / runs.ENVIRONMENT).read_text())
    assert environment["data"]["images"]["holdout"] == 9 + COUNT - 2
    # Again: nothing is computed of the old images, and the weights are the same.
    assert len(list(cache.iterdir())) == 2
    training.run(settings.with_(overwrite=True))
    assert logged.text.count("Taking the features of") == 2
    again = models.load_member(tmp_path / "more" / runs.MODEL)
    for first, second in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_stored_features_that_are_damaged_are_made_anew(
    finished, data_dir, new_images, tmp_path, cache, logged
):
    settings = _settings(data_dir, finished[0].run_dir, new_images, tmp_path)
    training.run(settings)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    training.run(settings.with_(overwrite=True))
    assert "Taking the features of" not in logged.text


def test_an_ensemble_gets_a_class_in_each_member(data_dir, new_images, tmp_path):
    members = [
        models.load_member(save_tiny(tmp_path / f"{i}.keras", ("0", "1", "2"), i)) for i in (1, 2)
    ]
    base = tmp_path / "both.keras"
    models.Ensemble(members).save(base)
    metrics = training.run(_settings(data_dir, base, new_images, tmp_path))
    model = models.load_member(tmp_path / "more")
    assert [m.name for m in models.members_of(model)] == [
        "member0_deepfakenet",
        "member1_deepfakenet",
    ]
    assert models.class_names_of(model)[-1] == "new" and metrics["parameters"] > 0
    assert all(models.class_names_of(m)[-1] == "new" for m in models.members_of(model))


def test_what_cannot_be_added_is_refused_before_images_are_read(
    data_dir, new_images, tmp_path, monkeypatch
):
    monkeypatch.setattr(training.experiment.images, "load", None)
    base = save_tiny(tmp_path / "base.keras", ("0", "1"), 0)
    with pytest.raises(UsageError, match=r"base .*knows the classes 0, 1; the data has 0, 1, 2"):
        training.run(_settings(data_dir, base, new_images, tmp_path))
    with pytest.raises(UsageError, match="there is such a class already"):
        settings = _settings(data_dir, base, new_images, tmp_path)
        options = dataclasses.replace(settings.options, new_class=(f"2:{new_images}",))
        training.run(dataclasses.replace(settings, options=options))
    with pytest.raises(UsageError, match="what this run makes"):
        training.run(_settings(data_dir, "more", new_images, tmp_path))


def test_features_that_do_not_fit_are_refused(
    finished, data_dir, new_images, tmp_path, monkeypatch
):
    settings = _settings(data_dir, finished[0].run_dir, new_images, tmp_path)
    data = training.load_data(settings)
    # Only there: the base is loaded too, unless an earlier test has, and fits.
    little = types.SimpleNamespace(available_bytes=lambda: 10**4)
    monkeypatch.setattr(training.additions, "hardware", little)
    with pytest.raises(UsageError, match=r"features of .* images need"):
        training.additions.fit(settings, data)
