"""The columns of answers: one list, that every writer and the reader have theirs from."""

import csv
import json

import numpy as np
import pytest

from dfk.errors import UsageError
from dfk.inference import answers
from dfk.inference.answers import Column
from dfk.inference.cells import Number
from dfk.inference.continued_file import continued
from dfk.inference.formats import Csv, Json, Table
from dfk.runs.columns import RESERVED
from tests.inference.tiny_answers import FOUND, NAMES, UNREAD, likely, tiny


def test_no_class_may_be_called_as_a_column_is():
    heads = [head for head in tiny(likely, claims=True, recheck=True).heads if head not in NAMES]
    assert heads == ["path", "label", "confidence", "error", "doubt", "set", "claims", "recheck"]
    assert {*heads, "unknown", "unsure"} <= RESERVED


def test_the_cells_are_as_many_as_their_heads_with_an_answer_and_without():
    for columns in (tiny(), tiny(likely)):
        assert len(columns.flat(FOUND)) == len(columns.kinds) == len(columns.heads) - 1
        cells = dict(zip(columns.heads[1:], columns.flat(UNREAD), strict=True))
        assert {k: v for k, v in cells.items() if v is not None} == {"error": UNREAD.error}


def test_classes_called_like_columns_have_heads_of_their_own():
    columns = tiny(names=("set", "c", "path"))
    assert columns.heads == ["path", "label", "confidence", "set", "c", "path", "error", "doubt"]
    unlike = [*columns.heads[:3], "set (class)", "c", "path (class)", "error", "doubt"]
    assert columns.unlike_heads == unlike


def test_a_row_that_contradicts_itself_is_none():
    numbers = FOUND.probabilities
    columns = tiny(likely)
    row = columns.row("p", ["a,b", np.float32(0.5), numbers, "", "JPEG", "a,b|c"])
    assert (row.path, *row.prediction[:2], row.prediction.doubt) == ("p", "a,b", 0.5, "JPEG")
    for values in (
        ["a,b", np.float32(0.4), numbers, "", "", "a,b|c"],
        ["a,b", 0.5, numbers, "", "", "c"],
    ):
        with pytest.raises(ValueError, match="not that of its probabilities"):
            columns.row("p", values)
    for values in ([*[None] * 3, "e", "JPEG", None], ["a,b", *[None] * 2, "", "", "c"]):
        with pytest.raises(ValueError, match="an answer and an error, or neither"):
            columns.row("p", values)
    with pytest.raises(UsageError, match=r"p was c \(0.500\), is now a,b \(0.500\)"):
        columns.row("p", ["c", np.float32(0.5), numbers, "", "", "a,b|c"])


def test_a_new_column_is_one_entry(monkeypatch, tmp_path):
    """All who write and read answers have it, and nobody else was told."""
    before = answers._columns

    def more(*given):
        return [*before(*given), Column("margin", Number(), lambda x: 1 - x.probabilities.max())]

    monkeypatch.setattr(answers, "_columns", more)
    columns = tiny(likely)
    assert columns.heads[-3:] == columns.unlike_heads[-3:] == ["doubt", "set", "margin"]
    table, lines, objects = Table(columns), Csv(columns), Json(columns)
    assert table.header.split()[-2:] == ["margin", "path"]
    assert table.line("p", FOUND).split()[-3:] == ["a,b|c", "0.500", "p"]
    assert next(csv.reader([lines.line("p", FOUND)]))[-2:] == ["a,b|c", "0.5"]
    assert json.loads(objects.line("p", FOUND))["margin"] == 0.5
    assert json.loads(objects.line("p", UNREAD))["margin"] is None
    for form in (lines, objects):
        with continued(tmp_path / "x", form) as file:
            file.write(form.line("p", FOUND) + form.line("q", UNREAD))
        with continued(tmp_path / "x", form) as file:
            assert [row.path for row in file.rows()] == ["p", "q"]
        (tmp_path / "x").unlink()
