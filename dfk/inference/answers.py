"""The columns of predict's answers: which there are, in which order, and what stands in each.

All that writes answers takes its columns from here: CSV, JSON and the table of a terminal
(`dfk.inference.formats`), and Ray's parts (`dfk.inference.on_ray`). A new column is an entry in
`_columns`. No class may be called as a column is, so its name belongs into
`dfk.runs.columns.RESERVED`, too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dfk.errors import UsageError
from dfk.evaluation import conformal
from dfk.inference import recheck as checks
from dfk.inference.cells import Cells, Number, NumberPerClass, OneClass, SeveralClasses, Text
from dfk.inference.classifier import Classifier, Prediction
from dfk.runs.columns import (
    CLAIMS,
    CONFIDENCE,
    DOUBT,
    ERROR,
    LABEL,
    PATH,
    RECHECK,
    SET,
    unlike,
)

# From probabilities float32 [C]: to the label, as `Classifier.label_of`, and to the classes of a
# set, as `Classifier.prediction_set`.
LabelOf = Callable[[np.ndarray], str]
SetOf = Callable[[np.ndarray], list[str]]

PROBABILITIES = "probabilities"  # In JSON alone; elsewhere each class has a column.


class Column(NamedTuple):
    """A column, or one for each class, after the path of an image.

    Attributes:
        name: as JSON has it.
        cells: what it holds.
        of: from a `Prediction` to the value; of one with an error, only the error has a value.
        is_asked: whether this call has the column.
    """

    name: str
    cells: Cells
    of: Callable[[Prediction], Any]
    is_asked: bool = True


class Row(NamedTuple):
    """What was written of an image, read again."""

    path: str
    prediction: Prediction


def _columns(
    class_names: Sequence[str],
    set_of: SetOf | None,
    claims: bool = False,
    recheck: bool = False,
) -> list[Column]:
    """All columns that there may be after the path, in their order."""
    return [
        Column(LABEL, OneClass(class_names), lambda answer: answer.label),
        Column(CONFIDENCE, Number(), lambda answer: answer.probabilities.max()),
        Column(PROBABILITIES, NumberPerClass(class_names), lambda answer: answer.probabilities),
        Column(ERROR, Text(), lambda answer: answer.error),
        Column(DOUBT, Text(), lambda answer: answer.doubt),
        Column(
            SET,
            SeveralClasses(class_names),
            lambda answer: set_of(answer.probabilities),
            is_asked=set_of is not None,
        ),
        Column(CLAIMS, Text(), lambda answer: answer.claims, is_asked=claims),
        Column(RECHECK, Number(), lambda answer: np.float32(answer.recheck), is_asked=recheck),
    ]


class Answers:
    """The columns of a model's answers, with the options of one call.

    Attributes:
        columns: those of this call, in their order; an image without an answer has the error alone.
        labelling: the options of `Classifier.predict` that give such answers.
        kinds: the kind of each cell after the path.
        heads: what stands above the cells: `path`, and those of the columns.
        unlike_heads: the same, each once: classes of older models may be called like columns.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        label_of: LabelOf,
        set_of: SetOf | None = None,
        labelling: Mapping[str, Any] | None = None,
    ):
        """Has the columns of a model with `class_names`.

        Args:
            label_of: what names an image by its probabilities.
            set_of: what makes a set of them, if there are sets.
            labelling: the options with which `Classifier.predict` gives such labels.
        """
        self.labelling = dict(labelling or {})
        more = (self.labelling.get(name, False) for name in (CLAIMS, RECHECK))
        columns = _columns(class_names, set_of, *more)
        self.columns = [column for column in columns if column.is_asked]
        self.kinds = [c.cells for c in self.columns for _ in c.cells.heads(c.name)]
        self._classes, self._label_of = len(class_names), label_of
        self.heads = self._heads(class_names)
        fixed = [column.name for column in columns if column.name != PROBABILITIES]
        self.unlike_heads = self._heads(unlike(class_names, [PATH, *fixed]))

    def _heads(self, class_names: Sequence[str]) -> list[str]:
        heads = [
            class_names if column.name == PROBABILITIES else column.cells.heads(column.name)
            for column in self.columns
        ]
        return [PATH, *(head for some in heads for head in some)]

    def values(self, prediction: Prediction) -> list[Any]:
        """The value of each column; of an image without an answer, None of all but the error."""
        if prediction.error:
            return [prediction.error if c.name == ERROR else None for c in self.columns]
        return [column.of(prediction) for column in self.columns]

    def flat(self, prediction: Prediction) -> list[Any]:
        """The cells after the path: texts and float32; None where there is no value."""
        pairs = zip(self.columns, self.values(prediction), strict=True)
        return [
            cell
            for column, value in pairs
            for cell in (
                column.cells.flat(value)
                if value is not None
                else [None] * len(column.cells.heads(column.name))
            )
        ]

    def row(self, path: str, values: Sequence[Any]) -> Row:
        """The row that holds what was read, if a model with these options can have written it.

        Args:
            values: of the columns, as `values` gives them.

        Raises:
            ValueError: if they contradict each other.
            UsageError: if the label is one that other options, or another model, give.
        """
        read = dict(zip([column.name for column in self.columns], values, strict=True))
        if any((read[name] is None) != bool(read[ERROR]) for name in read if name != ERROR):
            raise ValueError("a row has an answer and an error, or neither")
        if read[ERROR]:
            return Row(path, Prediction("", 0.0, np.zeros(self._classes, np.float32), read[ERROR]))
        prediction = Prediction(**{k: v for k, v in read.items() if k in Prediction._fields})
        for column in self.columns:
            if not column.cells.agree(read[column.name], column.of(prediction)):
                raise ValueError(f"the {column.name} of a row is not that of its probabilities")
        row = Row(path, prediction._replace(confidence=float(prediction.confidence)))
        label = checks.label(self._label_of(prediction.probabilities), prediction.recheck)
        now = prediction._replace(label=label)
        if now.label != prediction.label:
            raise another_model(row, now)
        return row


def answers_of(
    classifier: Classifier,
    *,
    coverage: float | None = None,
    min_confidence: float = 0.0,
    unknown: bool = False,
    claims: bool = False,
    recheck: bool = False,
) -> Answers:
    """The columns of a loaded model's answers.

    Args:
        coverage: adds the column `set`, as `Classifier.prediction_set` takes it.
        min_confidence, unknown: as of `Classifier.predict`.
        claims: adds the column `claims`, as `Classifier.predict` takes it.
        recheck: likewise; it adds the column `recheck`.

    Raises:
        UsageError: if the model has no thresholds for it, or a class `unknown` or `unsure`.
    """
    bounds = classifier.bounds(min_confidence, unknown, recheck)
    labelling = {
        "min_confidence": min_confidence,
        "unknown": unknown,
        "claims": claims,
        "recheck": recheck,
    }
    set_of = None
    if coverage is not None:
        classifier.threshold(conformal.set_name(coverage))
        set_of = functools.partial(classifier.prediction_set, coverage=coverage)
        labelling["coverage"] = coverage
    label_of = functools.partial(classifier.label_of, bounds=bounds)
    return Answers(classifier.class_names, label_of, set_of, labelling)


def another_model(row: Row, now: Prediction) -> UsageError:
    """Says that a model, or these options, answer otherwise than a row does that is there."""
    return UsageError(
        "the rows that are there were written by another model or --min_confidence (or "
        f"--unknown): {row.path} was {_told(row.prediction)}, is now {_told(now)}. Choose another "
        "--output."
    )


def _told(prediction: Prediction) -> str:
    doubt = f", in doubt: {prediction.doubt}" if prediction.doubt else ""
    return f"{prediction.label or prediction.error} ({prediction.confidence:.3f}){doubt}"
