"""`predictions.csv` and `submission.csv`: what models answered, written and read again."""

from __future__ import annotations

import csv
import typing
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfk.errors import DfkError
from dfk.runs import columns
from dfk.system.files import write_csv

if typing.TYPE_CHECKING:  # It needs TensorFlow, and who compares does not.
    from dfk.data.catalog import Split


def write_predictions(
    path: Path,
    split: Split,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    doubts: Sequence[str] | None = None,
) -> None:
    """Writes `predictions.csv`: image_id, label (the truth), predicted, confidence, classes, doubt.

    The last only where there are `doubts`, a text for each image.
    """
    names = [*class_names, ""]  # UNLABELLED is -1.
    last = [[]] * len(split) if doubts is None else [[doubt] for doubt in doubts]
    rows = (
        [image_id, names[label], class_names[row.argmax()], str(row.max()), *map(str, row), *more]
        for image_id, label, row, more in zip(
            split.ids, split.labels, probabilities, last, strict=True
        )
    )
    doubt = [] if doubts is None else [columns.DOUBT]
    write_csv(path, [*columns.PREDICTIONS, *class_names, *doubt], rows)


def write_submission(
    path: Path, split: Split, probabilities: np.ndarray, class_names: Sequence[str]
) -> None:
    """Writes `submission.csv` for a test split: image_id,label."""
    predicted = probabilities.argmax(axis=1)
    rows = [[i, class_names[k]] for i, k in zip(split.ids, predicted, strict=True)]
    write_csv(path, columns.SUBMISSION, rows)


def read_answers(predictions: Path) -> dict[str, tuple[str, str]]:
    """Reads a `predictions.csv`: image id -> (label, answer) of the labelled images.

    Columns are known by their place: classes of older models may be called like one.

    Raises:
        DfkError: if it is none.
    """
    try:
        with open(predictions, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file, strict=True)
            if tuple(head[:3]) != columns.PREDICTIONS[:3]:
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
