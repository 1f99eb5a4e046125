"""Pixels tell that they were once a JPEG, and where its blocks lie, whatever they are saved as."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dfk.data.jpeg_grid import Grid, find
from dfk.evaluation import degrade


def _picture(seed, size=(150, 130)):
    """Blurred noise under fine noise: what a camera gives, never saved with a loss."""
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(rng.normal(0, 1, (*size, 3)), (4, 4, 0))
    fine = rng.normal(0, 3, (*size, 3))
    return np.clip(128 + 45 * coarse / coarse.std() + fine, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [75, 90, 95])
def test_what_was_a_jpeg_is_found_wherever_it_was_cut(quality):
    saved = degrade.jpeg(_picture(0), quality)
    for top, left in ((0, 0), (3, 5), (7, 0)):
        found = find(saved[top:, left:])
        assert found.found and found.share > 0.5
        assert (found.row, found.column) == (-top % 8, -left % 8)


def test_what_never_was_has_no_grid():
    found = [find(_picture(seed)) for seed in range(12)]
    assert not any(grid.found for grid in found) and max(grid.share for grid in found) < 0.1


def test_resizing_takes_the_grid_away():
    saved = Image.fromarray(degrade.jpeg(_picture(1, (300, 300)), 90))
    assert not find(np.asarray(saved.resize((170, 170), Image.Resampling.LANCZOS))).found


@pytest.mark.parametrize("size", [(700, 300), (64, 64), (40, 900)])
def test_of_large_images_the_middle_tells_where_the_grid_lies(size):
    found = find(degrade.jpeg(_picture(2, size), 85)[:, 2:])
    assert found.found and (found.row, found.column) == (0, 6)


@pytest.mark.parametrize("size", [(22, 300), (1, 1), (23, 23), (100, 100)])
def test_what_says_nothing_is_no_grid(size):
    assert not find(np.zeros((*size, 3), np.uint8)).found
    stripes = np.zeros((*size, 3), np.uint8)
    stripes[:, ::8] = 255
    assert not find(stripes).found
    if min(size) < 23:
        assert find(stripes) == Grid()
