"""Heat maps: on the thing that decides, weighted as the ensemble weighed its members."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

import dfk
from dfk import cli, models
from dfk.errors import ImageError, UsageError
from dfk.inference import Classifier, explain, panels
from tests import corpus, declared
from tests.pictures import encode

NAMES = ("flat", "bright")


def _network(seed=0, **options):
    shape = {"classes": 2, "class_names": NAMES, "filters": (4, 4), "dropout": (0, 0)}
    return models.DeepFakeNet(seed=seed, **{"input_shape": (None, None, 3), **shape, **options})


def _looking_for_brightness():
    """A network whose class 1 is how much of the image is bright."""
    model = _network(filters=(1,), dropout=(0,))
    network = models.network_of(model)
    for name in ("block1_conv1", "block1_conv2"):
        kernel = np.zeros(network.get_layer(name).kernel.shape, np.float32)
        kernel[1, 1] = 1 / kernel.shape[2]
        network.get_layer(name).set_weights([kernel])
    network.get_layer("logits").set_weights([np.float32([[-1, 1]]), np.float32([0.1, 0])])
    return model


def _load(model, path):
    model.save(path)
    return dfk.load(path)


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    return _load(_looking_for_brightness(), tmp_path_factory.mktemp("model") / "bright.keras")


def _spot():
    """A black image, its lower right corner white."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[20:, 36:] = 255
    return image


def test_the_heat_lies_on_what_decides(bright):
    found = explain.Explainer(bright).explain(_spot())
    (heat,) = found.heats
    assert (found.label, heat.name, heat.weight) == ("bright", "bright", 1.0)
    assert heat.map.shape == (32, 48) and heat.map.dtype == np.float32
    assert heat.map.max() == 1 and heat.map[24:, 40:].min() > 0.9
    assert not heat.map[:16].any() and not heat.map[:, :32].any()


def test_images_are_taken_as_predict_takes_them(bright):
    explainer = explain.Explainer(bright)
    heat = explainer.explain(_spot()).heats[0].map
    for same in (Image.fromarray(_spot()), io.BytesIO(encode(_spot(), "PNG")), _spot() * 1.0):
        np.testing.assert_array_equal(explainer.explain(same).heats[0].map, heat)
    with pytest.raises(ImageError, match="multiply by 255"):
        explainer.explain(_spot() / 255)


def test_where_nothing_speaks_for_the_label_nothing_is_hot(bright):
    image = np.zeros((64, 64, 3), np.uint8)
    image[:6, :6] = 255  # Seen by the network, but it speaks against the label.
    found = explain.Explainer(bright).explain(image)
    assert found.label == "flat" and not found.heats[0].map.any()
    np.testing.assert_array_equal(found.overlay(), found.image)


def test_label_and_confidence_are_those_of_predict(tmp_path):
    classifier = _load(_network(input_shape=(16, 16, 3)), tmp_path / "m.keras")
    image = np.asarray(corpus.picture())
    (expected,) = classifier.predict(image)
    found = explain.Explainer(classifier).explain(image)
    assert (found.label, found.confidence) == (expected.label, expected.confidence)
    assert found.heats[0].map.shape == image.shape[:2]


def test_members_weigh_what_the_layer_weighed_them_on_that_image(tmp_path):
    members = [_network(1, input_shape=(16, 16, 3)), _looking_for_brightness()]
    ensemble = models.Ensemble(members)
    blend = models.network_of(ensemble).get_layer("combine").get_layer("blend")
    blend.log_weights.assign([0.0, np.log(3.0)])
    classifier = _load(ensemble, tmp_path / "both.keras")
    explainer, weights = explain.Explainer(classifier), []
    for image in (_spot(), np.asarray(corpus.picture())):
        whole, *parts = explainer.explain(image).heats
        answers = [member.predict(image[None].astype("float32"), verbose=0) for member in members]
        expected = np.asarray(blend.weights_for(answers))[0]
        weights.append([part.weight for part in parts])
        np.testing.assert_allclose(weights[-1], expected, rtol=1e-4)
        mean = sum(w * part.map for w, part in zip(expected, parts, strict=True))
        np.testing.assert_allclose(whole.map, mean / mean.max(), rtol=1e-3, atol=1e-5)
    assert abs(weights[0][0] - weights[1][0]) > 1e-3
    assert [part.name for part in parts] == ["deepfakenet 1", "deepfakenet 2"]


def test_a_gate_weighs_members_by_the_image(tmp_path):
    ensemble = models.Ensemble([_network(seed) for seed in (1, 2)], method="gated", seed=0)
    blend = models.network_of(ensemble).get_layer("combine").get_layer("blend")
    draw = np.random.default_rng(0)
    blend.look.assign(draw.normal(size=blend.look.shape) / 50)
    blend.log_weights.assign(draw.normal(size=blend.log_weights.shape))
    explainer = explain.Explainer(_load(ensemble, tmp_path / "m.keras"))
    found = []
    for image in (_spot(), np.asarray(corpus.picture())):
        statistics = models.statistics_of(ensemble)(image[None])
        expected = np.asarray(blend.weights_for([statistics]))[0]
        weights = [heat.weight for heat in explainer.explain(image).heats[1:]]
        np.testing.assert_allclose(weights, expected, rtol=1e-3)
        found.append(weights[0])
    assert abs(found[0] - found[1]) > 1e-3


@pytest.mark.parametrize("method", ["average", "stacked"])
def test_without_weights_members_count_alike(method, tmp_path):
    members = [_network(seed) for seed in (1, 2)]
    ensemble = models.Ensemble(members, method=method, seed=0)
    found = explain.Explainer(_load(ensemble, tmp_path / "m.keras")).explain(_spot())
    assert [heat.weight for heat in found.heats] == [1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (models.VGG16, {"input_shape": (32, 32, 3), "hidden": 4}),
        (models.ResidualNet, {"filters": (4, 8)}),
    ],
)
def test_other_networks_can_be_explained(build, options, tmp_path):
    model = build(classes=2, seed=0, **options)
    found = explain.Explainer(_load(model, tmp_path / "other.keras")).explain(_spot())
    assert found.heats[0].map.shape == _spot().shape[:2]
    assert np.isfinite(found.heats[0].map).all()


def test_the_picture_holds_image_heat_and_members(bright):
    heats = [explain.Heat("x", w, np.zeros((10, 20), np.float32)) for w in (1.0, 0.3, 0.7)]
    image = np.full((10, 20, 3), 90, np.uint8)
    shown = np.asarray(explain.Explanation(image, "gan", 0.875, heats).picture())
    assert shown.shape == (28 + 150, 4 * 300, 3)
    assert (shown[28:] == 90).all()
    captions = shown[:28].reshape(28, 4, 300, 3)
    assert (captions.min(axis=(0, 2, 3)) < 100).all()  # There is text in each
    other = np.asarray(explain.Explanation(image, "gan", 0.5, heats).picture())
    assert (other[:28] != shown[:28]).any() and (other[:28, 300:] == shown[:28, 300:]).all()


def test_a_long_caption_goes_on_in_another_line():
    image = np.full((10, 20, 3), 90, np.uint8)
    shown = np.asarray(panels.side_by_side([(image, "where it lies in the image " * 3)]))
    lines = (shown.shape[0] - 150 - 8) // 20
    assert lines == 3 and (shown[-150:] == 90).all()
    captions = shown[:-150]
    assert (captions[:, -4:] == 255).all() and (captions[4 + 40 :].min() < 100)


def test_a_member_that_is_no_cnn_has_no_heat(tmp_path):
    members = [_network(1), models.RichNet(classes=2, class_names=NAMES, units=(4,), seed=0)]
    ensemble = models.Ensemble(members, method="average")
    found = explain.Explainer(_load(ensemble, tmp_path / "m.keras")).explain(_spot())
    assert [heat.weight for heat in found.heats] == [1.0, 0.5]
    assert found.unseen == {"rich": 0.5}
    np.testing.assert_array_equal(found.heats[0].map, found.heats[1].map)
    alone = dataclasses.replace(found, unseen={})
    assert found.picture().tobytes() != alone.picture().tobytes()


def test_a_rich_model_is_refused(tmp_path):
    model = models.RichNet(classes=2, class_names=NAMES, units=(4,), seed=0)
    with pytest.raises(UsageError, match="cannot be explained"):
        explain.Explainer(_load(model, tmp_path / "rich.keras"))


def test_what_has_no_layers_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be explained"):
        explain.Explainer(Classifier(tmp_path, NAMES, answer=None))


def test_the_command_writes_a_picture_per_image(bright, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        Image.fromarray(_spot()).save(tmp_path / name)
    Image.fromarray(_spot()).save(tmp_path / "b.png", exif=declared.exif(Make="Canon"))
    (tmp_path / "c.png").write_bytes(b"")
    Image.fromarray(_spot()[:1, :1]).save(tmp_path / "small.png")
    arguments = ["explain", str(bright.path), str(tmp_path), f"--output_dir={tmp_path / 'out'}"]
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["label"] for row in rows] == ["bright", "bright", "", ""]
    assert rows[2]["error"] == "the file is empty" and "1 x 1 pixels" in rows[3]["error"]
    assert [row["claims"] for row in rows] == ["", 'EXIF Make "Canon"', "", ""]
    assert "1 of 4 images have claims; claims can be forged or stripped" in err
    assert "2 of 4 images could not be read" in err
    pictures = sorted((tmp_path / "out").iterdir())
    assert [str(path) for path in pictures] == [row["picture"] for row in rows[:2]]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (2 * 288, 28 + 192)


def test_a_picture_is_never_written_over_what_others_made(bright, tmp_path, capsys):
    folder, long = tmp_path / "out", "图" * 80  # 240 bytes, of the 255 that a name may have
    for name in (f"{long}.png", "b.png", "tab\tand\x1b[2J.png"):
        Image.fromarray(_spot()).save(tmp_path / name)
    arguments = ["explain", str(bright.path), str(tmp_path), f"--output_dir={folder}"]
    for _ in range(2):  # Its own pictures it writes again.
        assert cli.main(arguments) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert sorted(str(path) for path in folder.iterdir()) == sorted(r["picture"] for r in rows)
    assert rows[2]["picture"].startswith(f"{folder}/0002-图图") and "\x1b" not in rows[1]["picture"]
    foreign = folder / "0007-holiday.png"
    foreign.write_bytes((tmp_path / "b.png").read_bytes())
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert cli.main(arguments) == 2
    assert f"{foreign} is there and dfk did not write it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_refused_call_leaves_no_folder(bright, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / "empty"), f"--output_dir={tmp_path / 'out'}"]
    assert cli.main(["explain", str(bright.path), *arguments]) == 1
    assert not (tmp_path / "out").exists()


def test_the_heat_of_a_large_image_is_of_its_middle_and_the_answer_of_all(bright, tmp_path, capsys):
    image = np.zeros((1100, 2000, 3), np.uint8)
    image[500:600, 950:1050] = 255
    image[:30, :30] = 255  # Outside of the middle
    found = explain.Explainer(bright).explain(image)
    assert found.image.shape == (1024, 1024, 3) and found.heats[0].map.shape == (1024, 1024)
    np.testing.assert_array_equal(found.image, image[38:1062, 488:1512])
    assert found.part == "1024 x 1024 pixels from (488, 38), the middle of 2000 x 1100"
    (answer,) = bright.predict(image)
    assert (found.label, found.confidence) == (answer.label, answer.confidence)
    hot = np.argwhere(found.heats[0].map > 0.9)
    assert (hot >= 400).all() and (hot <= 600).all()
    Image.fromarray(image).save(tmp_path / "large.png")
    arguments = [str(bright.path), str(tmp_path / "large.png"), f"--output_dir={tmp_path}/out"]
    assert cli.main(["explain", *arguments]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["part"] == found.part and row["error"] == ""


def test_a_model_that_resizes_shows_all_of_a_large_image_smaller(tmp_path):
    resizing = _load(_network(input_shape=(16, 16, 3)), tmp_path / "resizing.keras")
    found = explain.Explainer(resizing).explain(np.zeros((500, 2048, 3), np.uint8))
    assert found.image.shape == (250, 1024, 3) and found.part == ""
    assert found.heats[0].map.shape == (250, 1024)


def test_a_member_that_resizes_looks_at_all_of_what_is_shown_in_part(tmp_path):
    members = [_network(seed=1), _network(seed=2, input_shape=(16, 16, 3))]
    both = _load(models.Ensemble(members), tmp_path / "both.keras")
    found = explain.Explainer(both).explain(np.zeros((40, 1200, 3), np.uint8))
    assert {heat.map.shape for heat in found.heats} == {(40, 1024)} and "(88, 0)" in found.part


def test_what_there_is_no_memory_for_is_not_explained(bright, monkeypatch):
    monkeypatch.setattr("dfk.system.hardware.available_bytes", lambda: 2**16)
    with pytest.raises(ValueError, match="are available"):
        explain.Explainer(bright).explain(np.zeros((300, 300, 3), np.uint8))


@pytest.fixture(scope="module")
def cropping(tmp_path_factory):
    """What looks for brightness in crops of 32 pixels."""
    model = models.with_test_crop(_looking_for_brightness(), 32)
    return _load(model, tmp_path_factory.mktemp("cropping") / "cropping.keras")


def test_the_heat_of_what_is_averaged_is_of_the_crop_that_is_most_for_the_label(cropping):
    image = np.zeros((96, 160, 3), np.uint8)
    image[64:, 128:] = 255
    found = explain.Explainer(cropping).explain(image)
    assert found.label == "bright" and (found.image == 255).all()
    assert found.part == (
        "32 x 32 pixels from (128, 64), of 9 crops of 160 x 96 the one that is most for the label"
    )
    assert found.heats[0].map.shape == (32, 32)
    framed = (found.whole == (255, 0, 0)).all(axis=-1)
    rows, columns = (np.flatnonzero(framed.any(axis=axis)) for axis in (1, 0))
    assert framed.any() and rows.min() in (61, 62, 63) and columns.min() in (125, 126, 127)
    assert (
        found.picture().height
        > explain.Explanation(
            found.image[:8], "x", 1.0, [explain.Heat("x", 1.0, found.heats[0].map[:8])]
        )
        .picture()
        .height
    )
    small = explain.Explainer(cropping).explain(image[-32:, -32:])
    assert small.part == "" and small.whole is None
    (answer,) = cropping.predict(image)
    assert (found.label, found.confidence) == (answer.label, answer.confidence)


def test_members_that_resize_show_the_part_of_one_that_averages_crops(tmp_path):
    members = [_network(2, input_shape=(16, 16, 3)), models.with_test_crop(_network(1), 32)]
    both = _load(models.Ensemble(members), tmp_path / "both.keras")
    found = explain.Explainer(both).explain(np.asarray(corpus.picture().resize((90, 70))))
    assert {heat.map.shape for heat in found.heats} == {(32, 32)} and "of 9 crops" in found.part
