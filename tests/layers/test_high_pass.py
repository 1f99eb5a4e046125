"""A rich model's filters as a layer: what they take away, what they leave, and how strongly."""

import keras
import numpy as np
import pytest

from dfk import layers, models
from tests.networks import network

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 12, 9, 3)).astype("uint8")


def _at(images, name, row, column, channel):
    """What a filter answers to a pixel, from its formula."""
    window = images[0, row - 2 : row + 3, column - 2 : column + 3, channel].astype(float)
    second = np.array([1, -2, 1])
    answer = {
        "row": window[2, 1:4] @ second / 2,
        "column": window[1:4, 2] @ second / 2,
        "square 3": -second @ window[1:4, 1:4] @ second / 4,
    }[name]
    return answer / (4 + abs(answer))


@pytest.mark.parametrize("channel", range(3))
def test_it_answers_with_squeezed_differences(channel):
    answers = np.asarray(layers.HighPass()(IMAGES))
    assert answers.shape == (2, 12, 9, 12)
    assert answers.dtype == np.float32
    for place, name in enumerate(("row", "column", "square 3")):
        for row, column in ((2, 2), (7, 4), (9, 6)):
            expected = _at(IMAGES, name, row, column, channel)
            assert answers[0, row, column, 4 * channel + place] == pytest.approx(expected, abs=1e-5)


def test_what_is_smooth_is_gone_and_a_lone_pixel_is_seen_by_all():
    ramp = np.add.outer(3 * np.arange(11), 5 * np.arange(11))
    smooth = np.broadcast_to(ramp[None, :, :, None], (1, 11, 11, 3)).astype("float32")
    inside = np.s_[:, 2:-2, 2:-2]
    np.testing.assert_allclose(np.asarray(layers.HighPass()(smooth))[inside], 0, atol=1e-4)
    alone = np.zeros((1, 11, 11, 3), "float32")
    alone[0, 5, 5] = 4
    # All but the mean of its neighbours: -1 of the pixel, whose knee it meets.
    np.testing.assert_allclose(np.asarray(layers.HighPass()(alone))[0, 5, 5], -0.5, atol=1e-6)


def test_an_image_of_one_colour_has_no_edges():
    flat = np.full((1, 3, 4, 3), 200, "uint8")
    np.testing.assert_allclose(np.asarray(layers.HighPass()(flat)), 0, atol=1e-4)


def test_a_residual_network_with_it_sees_the_colours_too_and_can_be_saved(tmp_path):
    model = network(32, make=models.ResidualNet, filters=(4, 8), high_pass=True)
    views = models.network_of(model).get_layer("views").output
    assert views.shape[-1] == 3 + 12
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    images = RNG.uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(again(images), model(images))
