"""Whether pixels were once a JPEG, whatever the file is now, and where the 8x8 grid of it lies.

A JPEG's blocks have many DCT coefficients that were rounded to zero. Blocks cut elsewhere from the
same picture have fewer, so each pixel votes for the block around it that has most of them, and
votes that agree are a grid. Nikoukhah, Anger, Colom, Morel, Grompone von Gioi 2021, "ZERO: a Local
JPEG Grid Origin Detector Based on the Number of DCT Zeros and its Applications in Image Forensics"
(Image Processing On Line 11): its detector of one grid for the whole image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import fft, stats

_BLOCK = 8
# Pixels a side that are looked at, from the middle: four thousand votes that count.
_SIDE = 256
# A coefficient of smaller size was rounded to zero.
_ZERO = 0.5
# In how many images that never were a JPEG a grid is expected; of 4,000 blocks of a JPEG of quality
# 95, some 3,400 agree, where 63 would by chance.
_FALSE_ALARMS = 1e-3
_DCT = fft.dct(np.eye(_BLOCK), axis=0, norm="ortho").astype(np.float32)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as JPEG has it
_CONSTANT = _BLOCK**2  # More zeros than any other block has


class Grid(NamedTuple):
    """The grid that most pixels vote for.

    Attributes:
        share: of the pixels that vote for it, 0..1; 1/64 is chance.
        found: whether that is surely no chance.
        row: where the first whole block begins, 0..7 pixels below the image's edge.
        column: the same from the left edge.
    """

    share: float = 0.0
    found: bool = False
    row: int = 0
    column: int = 0


def find(pixels: np.ndarray) -> Grid:
    """Looks for the grid of a JPEG in the middle 256 x 256 pixels of an image.

    Args:
        pixels: uint8 [H, W, 3]; one of fewer than 23 pixels a side has no whole block around a
            pixel in each of the 64 places, and no grid is found.
    """
    # The middle begins on the image's own grid, so that places stay what they are.
    top, left = (max(0, (side - _SIDE) // 2) // _BLOCK * _BLOCK for side in pixels.shape[:2])
    luma = np.rint(pixels[top : top + _SIDE, left : left + _SIDE] @ _LUMA)
    if min(luma.shape) < 3 * _BLOCK - 1:
        return Grid()
    votes, voters = _votes(_zeros(luma))
    best = int(votes.argmax())
    # The pixels of a block vote alike: one vote a block counts, in 64 grids of equal chance.
    chance = stats.binom.sf(votes[best] // _CONSTANT - 1, voters // _CONSTANT, 1 / len(votes))
    found = bool(len(votes) * chance < _FALSE_ALARMS)
    return Grid(float(votes[best] / voters), found, *divmod(best, _BLOCK))


def _zeros(luma: np.ndarray) -> np.ndarray:
    """How many coefficients are zero in the block that begins at each pixel, uint8 [H-7, W-7].

    Blocks without change along a side say nothing; they count as 64.
    """
    windows = np.lib.stride_tricks.sliding_window_view
    across = windows(luma, _BLOCK, axis=1) @ _DCT.T  # [H, W-7, 8]
    zero = np.abs(windows(across, _BLOCK, axis=0) @ _DCT.T) < _ZERO  # [H-7, W-7, across, down]
    zero[..., 0, 0] = False
    count = np.count_nonzero(zero, axis=(2, 3)).astype(np.uint8)
    constant = zero[..., 1:, :].all(axis=(2, 3)) | zero[..., 1:].all(axis=(2, 3))
    return np.where(constant, np.uint8(_CONSTANT), count)


def _votes(zeros: np.ndarray) -> tuple[np.ndarray, int]:
    """Votes for each of the 64 grids, int [64], by row and column; how many pixels have a vote."""
    rows, columns = (np.arange(_BLOCK - 1, side) for side in zeros.shape)
    around = np.stack(
        [
            zeros[np.ix_(rows - (rows - row) % _BLOCK, columns - (columns - column) % _BLOCK)]
            for row in range(_BLOCK)
            for column in range(_BLOCK)
        ]
    )
    most = around.max(axis=0)
    agreed = (np.count_nonzero(around == most, axis=0) == 1) & (most < _CONSTANT)
    votes = np.bincount(around.argmax(axis=0)[agreed], minlength=len(around))
    return votes, most.size
