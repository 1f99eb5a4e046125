"""Whether two models differ by more than chance on the images that both have answered."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from dfk.columns import PREDICTIONS
from dfk.errors import DfkError

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


def read_answers(predictions: Path) -> dict[str, tuple[str, str]]:
    """Reads a `predictions.csv`: image id -> (label, answer) of the labelled images.

    Columns are known by their place: classes of older models may be called like one.

    Raises:
        DfkError: if it is none.
    """
    try:
        with open(predictions, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file, strict=True)
            if tuple(head[:3]) != PREDICTIONS[:3]:
                raise ValueError(f"its first line is {head[:3]}")
            if any(len(row) != len(head) for row in rows):
                raise ValueError("a row is cut off")
            return {i: (label, answer) for i, label, answer, *_ in rows if label}
    except (ValueError, csv.Error) as error:
        raise DfkError(
            f"{predictions} is no predictions.csv of a run or of dfk evaluate"
        ) from error


def read_correct(predictions: Path) -> dict[str, bool]:
    """Reads from a `predictions.csv` which labelled images were named rightly."""
    return {i: label == answer for i, (label, answer) in read_answers(predictions).items()}


KEYS = ("image_id", "label", "a", "b")


class Comparison(NamedTuple):
    """Two models on the labelled images that both have answered.

    Attributes:
        n: how many images these are.
        accuracy_a, accuracy_b: on them.
        test: McNemar's.
        difference_ci95: the 95 % interval of accuracy_b - accuracy_a, by `bootstrap`.
        disagreements: images to which they gave different names, in the order of the first's
            file: `image_id`, `label` (the truth), `a`, `b`.
    """

    n: int
    accuracy_a: float
    accuracy_b: float
    test: McNemar
    difference_ci95: list[float]
    disagreements: list[dict[str, str]]


def compare(a: Path, b: Path) -> Comparison:
    """Compares two runs by their `predictions.csv`.

    Args:
        a, b: folders that hold one, or the files.

    Raises:
        DfkError: if one cannot be read, they share no labelled image, or do not agree on its
            label.
    """
    first, second = map(_answers, (a, b))
    common = [image_id for image_id in first if image_id in second]
    if not common:
        raise DfkError(f"{a} and {b} have no labelled image in common")
    for image_id in common:
        labels = first[image_id][0], second[image_id][0]
        if labels[0] != labels[1]:
            raise DfkError(f"{image_id} is {labels[0]} in {a} but {labels[1]} in {b}")
    right = [{i: label == answer for i, (label, answer) in x.items()} for x in (first, second)]
    return Comparison(
        len(common),
        *(sum(r[i] for i in common) / len(common) for r in right),
        mcnemar(*right),
        bootstrap(*right),
        [
            dict(zip(KEYS, (i, *first[i], second[i][1]), strict=True))
            for i in common
            if first[i][1] != second[i][1]
        ],
    )


def _answers(path: Path) -> dict[str, tuple[str, str]]:
    return read_answers(path / "predictions.csv" if path.is_dir() else path)
