"""Two models on the images that both have answered: `dfk compare`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dfk import runs
from dfk.errors import DfkError
from dfk.evaluation.comparison import McNemar, bootstrap, mcnemar
from dfk.reports.predictions import read_answers

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
    return read_answers(path / runs.PREDICTIONS if path.is_dir() else path)
