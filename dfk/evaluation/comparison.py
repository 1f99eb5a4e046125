"""Whether two models differ by more than chance on the images that both have answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 10_000


class McNemar(NamedTuple):
    """McNemar's exact test on paired answers (McNemar, 1947).

    Attributes:
        first_only: images that only the first model named rightly.
        second_only: images that only the second did.
        p_value: two-sided, of so uneven a split if both were equally good.
    """

    first_only: int
    second_only: int
    p_value: float


def mcnemar(first: dict[str, bool], second: dict[str, bool]) -> McNemar:
    """Compares two models by image id -> whether it was right, on the ids that both have.

    Raises:
        ValueError: if they have no image in common.
    """
    common = first.keys() & second.keys()
    if not common:
        raise ValueError("the two runs have no image in common")
    first_only = sum(first[i] and not second[i] for i in common)
    second_only = sum(second[i] and not first[i] for i in common)
    discordant = first_only + second_only
    p_value = binomtest(first_only, discordant).pvalue if discordant else 1.0
    return McNemar(first_only, second_only, float(p_value))


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p values for their number: each is as if it had been the only one (Holm, 1979)."""
    ranked = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(ranked):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = least
    return corrected


def bootstrap(first: dict[str, bool], second: dict[str, bool], seed: int = 0) -> list[float]:
    """The 95 % interval [low, high] of how much more accurate the second model is.

    Both are resampled on the same images, with repetition (the paired bootstrap, percentiles;
    Efron and Tibshirani, 1993, "An Introduction to the Bootstrap").

    Args:
        first, second: image id -> whether the model was right.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        ValueError: if they have no image in common.
    """
    test = mcnemar(first, second)
    n = len(first.keys() & second.keys())
    # An image drawn with repetition counts 1, -1 or 0: only how many of each matters.
    shares = np.array([test.second_only, test.first_only, n - test.first_only - test.second_only])
    drawn = np.random.default_rng(seed).multinomial(n, shares / n, RESAMPLES)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / n, [2.5, 97.5])
    return [float(low), float(high)]
