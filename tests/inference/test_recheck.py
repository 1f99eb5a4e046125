"""What is said of an image once it was scored again as it may be delivered."""

import csv
import dataclasses
import json

import numpy as np
import pytest

import dfk
from dfk import cli, inference
from dfk.data.limits import Limits
from dfk.errors import UsageError
from dfk.inference import recheck
from tests.networks import CLASSES, network, save_tiny
from tests.pictures import GOOD, encode, noise


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "native.keras"
    network(side=None).save(path)
    return dfk.load(path)


IMAGES = [noise(20 + i % 3, 24, seed=i) for i in range(12)]


def _by_hand(classifier, image):
    """The geometric mean of the label's probability, and the deliveries that get another."""
    given = [image, *(deliver(image) for deliver in recheck.DELIVERIES.values())]
    rows = np.stack([x.probabilities for x in map(lambda x: classifier.predict(x)[0], given)])
    named = rows[0].argmax()
    others = zip(recheck.DELIVERIES, rows[1:], strict=True)
    score = rows[:, named].prod() ** (1 / len(rows))
    return score, [name for name, row in others if row.argmax() != named]


def test_the_score_is_the_labels_mean_over_what_is_delivered(classifier):
    plain = classifier.predict(IMAGES)
    found = classifier.predict(IMAGES, recheck=True, batch_size=5)
    for before, after, image in zip(plain, found, IMAGES, strict=True):
        score, others = _by_hand(classifier, image)
        assert after.recheck == pytest.approx(score, abs=1e-5)
        assert after.label == (before.label if after.recheck >= recheck.LEAST else "unsure")
        assert after.doubt == "; ".join(f"another class ({name})" for name in others)
        np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-6)
    labels = [x.label for x in found]
    assert 0 < labels.count("unsure") < len(labels) and any(x.doubt for x in found)
    assert {x.recheck for x in plain} == {None}


def test_each_kind_of_delivery_is_another_image():
    image = noise(30, 24)
    seen = [image, *(deliver(image) for deliver in recheck.DELIVERIES.values())]
    assert {x.dtype for x in seen} == {np.dtype(np.uint8)}
    assert len({x.tobytes() for x in seen}) == len(seen)
    np.testing.assert_array_equal(recheck.DELIVERIES["cropped"](image), image[1:, 1:])


def test_what_cannot_be_delivered_says_so_and_the_others_count(classifier):
    least = classifier.limits.smallest_image
    (found,) = classifier.predict(noise(least, 24), recheck=True)
    assert "not rechecked (cropped)" in found.doubt and 0 < found.recheck <= 1
    assert "not rechecked" not in classifier.predict(noise(least + 1, 24), recheck=True)[0].doubt
    wide = np.zeros((4, 70_000, 3), np.uint8)  # More than a JPEG has
    answer = [np.float32([0.75, 0.25])]
    other = np.float32([0.25, 0.75])
    ((score, doubts),) = recheck.check(
        [wide],
        answer,
        lambda images: [image if isinstance(image, str) else other for image in images],
        Limits(),
        classes=2,
    )
    assert score == pytest.approx((0.75 / 16) ** (1 / 3)) and doubts == (
        *("not rechecked (JPEG 90)", "not rechecked (JPEG 75)"),
        *("another class (resized 0.8)", "another class (cropped)"),
    )


def test_an_image_without_an_answer_has_no_more_than_its_error(classifier):
    found = classifier.predict([IMAGES[0], b"junk", IMAGES[1]], recheck=True)
    assert found[1].error and (found[1].label, found[1].recheck) == ("", None)
    alone = classifier.predict(IMAGES[:2], recheck=True)
    assert [x.recheck for x in found[::2]] == pytest.approx([x.recheck for x in alone], abs=1e-5)


def test_a_call_takes_no_more_images_for_it(classifier):
    """And what is there beside the probabilities is not taken for one."""
    sizes = []
    expected = classifier.predict(IMAGES, recheck=True)
    classifier = classifier.with_features()

    def counted(images):
        sizes.append(len(images))
        return classifier.answer(images)

    watched = dataclasses.replace(classifier, answer=counted)
    found = watched.predict(IMAGES, recheck=True, batch_size=3)
    assert [x.recheck for x in found] == pytest.approx([x.recheck for x in expected], abs=1e-5)
    assert max(sizes) == 3 and sum(sizes) == len(IMAGES) * (1 + len(recheck.DELIVERIES))


def test_a_model_of_one_size_sees_deliveries_of_the_image_as_it_came(tmp_path):
    network(side=16).save(tmp_path / "model.keras")
    resizing = dfk.load(tmp_path / "model.keras")
    (found,) = resizing.predict(IMAGES[1], recheck=True)
    assert found.recheck == pytest.approx(_by_hand(resizing, IMAGES[1])[0], abs=1e-5)


def test_unknown_stays_unknown(classifier):
    found = classifier.predict(IMAGES, recheck=True, min_confidence=1)
    assert {x.label for x in found} == {"unknown"}


def test_a_class_may_not_be_called_as_the_answer_is(tmp_path, capsys):
    path = save_tiny(tmp_path / "model.keras", ("gan", "unsure"), seed=1)
    (tmp_path / "a.png").write_bytes(GOOD["png"])
    assert cli.main(["predict", path, str(tmp_path / "a.png"), "--recheck"]) == 2
    assert "has a class 'unsure'" in capsys.readouterr().err
    with pytest.raises(UsageError, match="answer 'unsure' of --recheck"):
        inference.load(path).predict(tmp_path / "a.png", recheck=True)
    assert cli.main(["predict", path, str(tmp_path / "a.png")]) == 0


def test_the_command_writes_a_column_and_continues_it(classifier, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for i, image in enumerate(IMAGES):
        (folder / f"{i:02}.png").write_bytes(encode(image, "PNG"))
    (folder / "bad.png").write_bytes(b"junk")
    model, output = str(classifier.path), tmp_path / "out.csv"
    given = ["predict", model, str(folder)]
    assert cli.main([*given, "--recheck", f"--output={output}"]) == 1
    whole = output.read_bytes()
    *rows, bad = csv.DictReader(whole.decode().splitlines())
    assert [*rows[0]] == ["path", "label", "confidence", *CLASSES, "error", "doubt", "recheck"]
    found = classifier.predict([row["path"] for row in rows], recheck=True)
    assert [row["label"] for row in rows] == [x.label for x in found]
    assert [float(row["recheck"]) for row in rows] == pytest.approx([x.recheck for x in found])
    assert (bad["label"], bad["recheck"]) == ("", "")
    assert "another class (resized 0.8)" in capsys.readouterr().err  # Counted at the end

    output.write_bytes(b"".join(whole.splitlines(keepends=True)[:5]))
    assert cli.main([*given, "--recheck", f"--output={output}"]) == 1
    continued = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["label"] for row in continued] == [*(row["label"] for row in rows), ""]
    assert cli.main([*given, f"--output={output}"]) == 2
    assert "--recheck" in capsys.readouterr().err

    assert cli.main([*given[:2], str(folder / "00.png"), "--recheck", "--format=json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert [*row][-1] == "recheck" and row["recheck"] == pytest.approx(found[0].recheck)
