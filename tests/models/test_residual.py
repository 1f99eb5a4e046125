"""The residual network: where its blocks start, and what its stem sees."""

import keras
import numpy as np
import pytest

from dfk.models import ResidualNet, network_of

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 20, 28, 3)).astype("float32")


def test_the_default_has_1_2_million_parameters():
    assert ResidualNet().count_params() == pytest.approx(1.2e6, rel=0.05)


def test_a_block_starts_as_the_identity():
    network = network_of(ResidualNet(classes=3, filters=(4, 8), seed=1))
    for block, shortcut in ((1, "stem_relu"), (2, "block2_shortcut_bn")):
        names = shortcut, f"block{block}_add"
        outputs = [network.get_layer(name).output for name in names]
        before, after = keras.Model(network.input, outputs)(IMAGES)
        np.testing.assert_array_equal(before, after)
        assert np.ptp(before) > 0


def test_its_stem_keeps_every_pixel_and_each_further_block_halves_them():
    network = network_of(ResidualNet(filters=(4, 8, 16)))
    shapes = keras.Model(
        network.input, [network.get_layer(f"block{k}_add").output for k in (1, 2, 3)]
    ).compute_output_shape((1, 40, 24, 3))
    assert shapes == [(1, 40, 24, 4), (1, 20, 12, 8), (1, 10, 6, 16)]


@pytest.mark.parametrize(("high_pass", "channels"), [(False, 3), (True, 15)])
def test_the_stem_sees_high_passes_beside_the_colours(high_pass, channels):
    network = network_of(ResidualNet(filters=(4,), high_pass=high_pass))
    assert network.get_layer("stem").input.shape[-1] == channels
