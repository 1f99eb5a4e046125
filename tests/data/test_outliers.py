"""Images of no class: how they are found, cut, shown, and what a network makes of them."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from dfk import models, runs, training
from dfk.data import outliers
from dfk.data.catalog import UNLABELLED, Catalog, DataError, Split
from dfk.data.pipeline import make_dataset
from dfk.errors import UsageError
from dfk.training import callbacks, features
from tests.datasets import save
from tests.experiments import interrupt, short
from tests.pictures import noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty images of noise in two sizes, larger and smaller than those of the classes."""
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(20):
        save(noise(*((40, 30) if i % 2 else (12, 20)), seed=i), folder / f"{i}.png")
    return folder


def _catalog(shapes):
    images = [np.full((*shape, 3), 7, np.uint8) for shape in shapes]
    names = [f"{i}" for i in range(len(images))]
    labels = np.arange(len(images), dtype=np.int32) % 2
    split = Split(ids=names, paths=names, labels=labels, origins=names, images=images)
    return Catalog(("a", "b"), {"train": split})


def _add(data, folder, **given):
    given = {"on_bad_image": "fail", "cache_gib": 1.0, "windows": True, "seed": 0, **given}
    return outliers.add(data, str(folder), **given)


def test_a_tenth_is_set_aside_and_the_others_come_as_often_as_a_class(folder):
    data = _add(_catalog([(16, 16)] * 100), folder, windows=False)
    found, aside = data.splits["outliers"], data.splits["unknown"]
    assert len(aside) == 2 and len(found) == 50
    assert len(set(found.paths)) == 18 and not set(found.paths) & set(aside.paths)
    assert {*found.labels.tolist(), *aside.labels.tolist()} == {UNLABELLED}


def test_windows_have_the_sizes_of_the_training_images_and_differ(folder):
    shapes = [(16, 16), (24, 20)] * 30
    data = _add(_catalog(shapes), folder)
    found = data.splits["outliers"]
    assert set(found.shapes) == set(shapes)
    assert len({image.tobytes() for image in found.images}) == len(found) == 30
    again = _add(_catalog(shapes), folder).splits["outliers"]
    assert all((a == b).all() for a, b in zip(found.images, again.images, strict=True))
    # What is set aside is scored as predict scores it.
    assert set(data.splits["unknown"].shapes) == {(12, 20)}


def test_a_window_is_a_part_of_its_image(folder):
    found = _add(_catalog([(10, 10)] * 40), folder).splits["outliers"]
    for path, window in zip(found.paths, found.images, strict=True):
        image = tf.io.decode_image(path.read_bytes()).numpy()
        parts = np.lib.stride_tricks.sliding_window_view(image, (10, 10, 3))
        assert (parts == window).all(axis=(-1, -2, -3)).any()


def test_a_class_that_is_left_out_stays_the_unknown_one(folder):
    data = _catalog([(16, 16)] * 40)
    data.splits["unknown"] = data.splits["train"].take([0])
    data = _add(data, folder)
    assert len(data.splits["unknown"]) == 1
    assert len(set(data.splits["outliers"].paths)) == 20


def test_joined_they_train_beside_the_others(folder):
    data = outliers.joined(_add(_catalog([(16, 16)] * 40), folder))
    train = data.splits["train"]
    assert len(train) == 60 and (train.labels[40:] == UNLABELLED).all()
    given = {"split": train, "classes": 2, "batch_size": 60}
    ((_, labels),) = make_dataset(training=True, **given).take(1)
    assert sorted(map(tuple, labels.numpy())) == sorted(
        [(0.0, 1.0)] * 20 + [(1.0, 0.0)] * 20 + [(0.5, 0.5)] * 20
    )
    ((_, labels),) = make_dataset(**given)  # What is scored has no label.
    assert (labels.numpy()[40:] == 0).all()


@pytest.mark.parametrize("there", [None, 0, 9])
def test_too_few_are_refused_before_an_image_is_opened(tmp_path, there):
    for i in range(there or 0):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    folder = tmp_path if there is not None else tmp_path / "nowhere"
    with pytest.raises(UsageError, match="no such folder" if there is None else "10 are needed"):
        outliers.check(str(folder))


def test_those_that_cannot_be_read_are_named(tmp_path, folder):
    for i in range(12):
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    save(noise(20, 20), tmp_path / "good.png")
    with pytest.raises(DataError, match=r"7\.png"):
        _add(_catalog([(16, 16)] * 40), tmp_path)
    with pytest.raises(DataError, match="1 of its 13 images can be read"):
        _add(_catalog([(16, 16)] * 40), tmp_path, on_bad_image="skip")


def test_draws_of_features_keep_that_they_have_no_label(data_dir, tmp_path, folder, few_counts):
    given = ["--model=rich", "--image_size=0", "--augment=flip", "--feature_draws=1"]
    settings = short(data_dir, tmp_path, *given, f"--outliers={folder}")
    data = outliers.joined(training.load_data(settings))
    model = models.build(settings, data.class_names, precision="float32")
    _, found = features.of_images(settings, data, model)
    labels, count = found.splits["train"].labels, len(data.splits["train"])
    assert (labels < 0).sum() > (labels[:count] < 0).sum() > 0
    assert (labels[count:] >= 0).any()


def test_a_network_learns_to_answer_them_evenly(data_dir, tmp_path, folder):
    """Noise is nothing like the textures of the classes; without it, it gets a name."""
    found = {}
    for name, given in {"without": [], "with": [f"--outliers={folder}"]}.items():
        settings = short(
            data_dir, tmp_path, "--epochs=6", "--augment=", f"--experiment={name}", *given
        )
        training.run(settings)
        metrics = json.loads((tmp_path / name / runs.METRICS).read_text())
        found[name] = metrics.get("open_set")
    assert found["without"] is None
    assert found["with"]["kind"] == "outliers" and found["with"]["excluded"] == str(folder)
    assert found["with"]["n_unknown"] == 2
    assert found["with"]["scores"]["probability"]["auroc"] > 0.9
    report = (tmp_path / "with" / runs.REPORT).read_text()
    assert "Images of no class" in report


def test_other_outliers_are_another_run(data_dir, tmp_path, folder, monkeypatch):
    mine = shutil.copytree(folder, tmp_path / "mine")
    settings = short(data_dir, tmp_path, f"--outliers={mine}", "--epochs=2", "--resume")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(callbacks.Progress, "on_epoch_begin", interrupt(1))
        training.run(settings)
    save(noise(12, 20, seed=99), mine / "0.png")
    with pytest.raises(UsageError, match=r"images in .*mine have changed since"):
        training.run(settings)


def test_a_teacher_knows_none(data_dir, tmp_path, folder):
    with pytest.raises(UsageError, match="no --teacher"):
        short(data_dir, tmp_path, f"--outliers={folder}", "--teacher=teacher")
