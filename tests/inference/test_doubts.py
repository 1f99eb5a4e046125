"""What there is to doubt of an answer, and how often: by the image, by the probabilities."""

import numpy as np
import pytest

from dfk.data.pixels import Origin
from dfk.evaluation import conformal
from dfk.inference import doubts

SEEN = {
    "sizes": [[100, 100], [100, 100]],
    "crop": 0,
    "formats": [{"PNG": 5}, {"PNG": 5, "JPEG": 1}, {"PNG": 3}],
    "demo": False,
}
NAMES = ("gan", "vae", "real")


def _of(origin, **changed):
    return [*doubts.of_origin(origin, SEEN | changed, NAMES)]


def test_a_size_that_no_training_image_had_is_one():
    assert _of(Origin(100, 100, "PNG")) == [] == [*doubts.of_origin(Origin(9, 9), None, NAMES)]
    assert _of(Origin(1080, 1920, "PNG")) == ["1920x1080: trained on 100x100"]
    assert _of(Origin(99, 100, "PNG")) == ["100x99: trained on 100x100"]
    wide = {"sizes": [[100, 200], [300, 400]]}
    assert _of(Origin(400, 110), **wide) == []  # Turned round, it lies within
    assert _of(Origin(300, 401), **wide) == ["401x300: trained on 200x100 to 400x300"]


def test_a_network_that_learned_from_crops_has_seen_images_as_small():
    assert _of(Origin(64, 80), crop=64) == [] and _of(Origin(63, 80), crop=64)
    assert _of(Origin(101, 100), crop=64)


def test_a_format_that_was_not_there_or_of_one_class_alone_is_one():
    assert _of(Origin(100, 100, "WebP")) == ["WebP: trained on JPEG, PNG"]
    assert _of(Origin(100, 100, "JPEG")) == ["JPEG: only vae was in training"]
    pngs = [{"PNG": 5}] * 3
    assert _of(Origin(100, 100, "JPEG"), formats=pngs) == ["JPEG: trained on PNG"]
    assert _of(Origin(9, 9, "JPEG"), formats=pngs)[1:] == ["JPEG: trained on PNG"]


def test_a_model_of_the_simulation_doubts_all_else_and_nothing_more():
    inside = "/cache/dfk/demo-v1-1600-400-200/validation/demo-validation-00001.png"
    assert _of(Origin(64, 64, "PNG", inside), demo=True) == []
    for origin in (Origin(64, 64, "PNG", "/demo/x.png"), Origin(9, 9, "JPEG")):
        assert _of(origin, demo=True) == ["simulation"]


def test_probabilities_below_the_models_thresholds_are_ones():
    sure, unsure = np.float32([0.98, 0.01, 0.01]), np.float32([0.4, 0.3, 0.3])
    thresholds = {
        conformal.UNKNOWN: float(conformal.centred_logit(sure)),
        conformal.set_name(0.95): [0.5, 0.5, 0.5],
    }

    def found(probabilities, coverage=0.95):
        return [*doubts.of_probabilities(probabilities, thresholds, coverage)]

    assert found(sure) == [] and found(unsure) == ["unknown", "empty set"]
    assert found(unsure, coverage=0.9) == ["unknown"]  # Of which the model carries nothing
    assert [*doubts.of_probabilities(unsure, {}, 0.95)] == []


@pytest.mark.parametrize("answers", [0, 2])
def test_a_count_tells_nothing_where_nothing_is_in_doubt(answers):
    count = doubts.Count()
    for _ in range(answers):
        count.see("", "")
    count.see("damaged", "")
    assert str(count) == "" and (count.images, count.unread) == (answers + 1, 1)


def test_a_count_takes_all_sizes_together():
    count = doubts.Count()
    count.add(doubts.joined(["9x9: trained on 8x8", "JPEG: trained on PNG"]))
    count.add("7x7: trained on 8x8")
    count.add("", 3)
    assert str(count) == (
        "2 of 5 answers are in doubt: 2 other size: trained on 8x8; 1 JPEG: trained on PNG"
    )
