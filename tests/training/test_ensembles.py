"""What a gate learns from: the holdout as it is, and degraded, whatever sizes its images have."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from dfk import cli, models, runs, training
from dfk.errors import UsageError
from dfk.models import combiners
from dfk.training import ensembles
from tests.experiments import short


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Two classes of images of three sizes, larger than what a gate looks at needs."""
    folder, draw = tmp_path_factory.mktemp("sizes"), np.random.default_rng(0)
    for label in "ab":
        for split, count in (("train", 30), ("validation", 6)):
            (folder / split / label).mkdir(parents=True)
            for i in range(count):
                height, width = ((16, 16), (24, 16), (20, 28))[i % 3]
                pixels = draw.normal(90 + 60 * (label == "b"), 20, (height, width, 3))
                image = Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))
                image.save(folder / split / label / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def settings(data_dir, tmp_path_factory):
    """A gated ensemble of two small networks, to be fitted; fewer rounds do."""
    folder = tmp_path_factory.mktemp("runs")
    for name, side in (("one", 16), ("two", 0)):
        shape = {"classes": 2, "class_names": ("a", "b"), "filters": (4,), "dropout": (0,)}
        model = models.DeepFakeNet(input_shape=(side or None, side or None, 3), seed=side, **shape)
        (folder / name).mkdir()
        model.save(folder / name / runs.MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combiners, "_ROUNDS", 2)
        flags = "--model=ensemble", "--members=one,two", "--method=gated", "--experiment=gate"
        yield short(data_dir, folder, *flags)


@pytest.fixture(scope="module")
def metrics(settings):
    return training.run(settings)


def test_the_run_says_how_its_members_weigh_on_clean_and_on_degraded_images(metrics, settings):
    for weights in (metrics["members"], metrics["members_degraded"]):
        assert list(weights) == ["one", "two"] and sum(weights.values()) == pytest.approx(1)
    saved = json.loads((settings.run_dir / runs.METRICS).read_text())
    assert saved["members_degraded"] == metrics["members_degraded"]


def test_what_it_saves_answers_for_images_of_many_sizes(metrics, settings):
    model = keras.models.load_model(settings.run_dir / runs.MODEL)
    split = training.load_data(settings).splits["validation"]
    answers = [model.predict_on_batch(x[None].astype("float32"))[0] for x in split.images]
    assert (np.argmax(answers, axis=1) == split.labels).mean() == metrics["accuracy"]


def test_a_draw_is_of_the_same_images_for_all_members(settings):
    holdout = training.load_data(settings).splits["holdout"]
    same = [models.load_member(settings.run_dir.parent / "two")] * 2
    model = models.Ensemble(same, method="gated")
    views = ensembles.evidence(settings, model, holdout, draws=2)
    for one, two, statistics in views:
        np.testing.assert_array_equal(one, two)
        assert statistics.shape == (len(holdout), 388)
    clean, first, second = (view[-1] for view in views)
    expected = [models.statistics_of(model)(x[None])[0] for x in holdout.images]
    np.testing.assert_allclose(clean, expected, rtol=1e-4, atol=1e-4)
    for one, other in ((clean, first), (clean, second), (first, second)):
        assert (np.abs(one - other).max(axis=1) > 1e-3).mean() > 0.8


def test_dfk_info_has_its_weights(metrics, settings, capsys):
    assert cli.main(["info", str(settings.run_dir), "--format=json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert sum(known["member_weights"].values()) == pytest.approx(1)


def test_images_that_a_gate_cannot_look_at_are_refused(settings, tmp_path):
    draw = np.random.default_rng(0)
    for split, count in (("train", 20), ("validation", 2)):
        for label in "ab":
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (7, 9, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / label / f"{i}.png")
    small = short(
        *(tmp_path, settings.run_dir.parent, "--model=ensemble", "--members=one,one"),
        *("--method=gated", "--experiment=small"),
    )
    with pytest.raises(UsageError, match="at least 8 pixels a side; the smallest here has 7"):
        training.run(small)
