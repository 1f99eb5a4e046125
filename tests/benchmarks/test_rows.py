"""The rows of a benchmark and their table."""

import pytest

from dfk.benchmarks.contest import Result
from dfk.benchmarks.rows import Row, ratio, rounded, table


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row("a", 2.0, 1.5), True),
        (Row("a", 1.4, 1.5), False),
        (Row("a", 1.4, 1.5, at_most=True), True),
        (Row("a", 1.6, 1.5, at_most=True), False),
        (Row("a", None, 1.5), None),
        (Row("a", 2.0), None),
    ],
)
def test_what_is_required_is_met_or_not(row, met):
    assert row.met is met
    assert list(row.as_json()) == ["name", "required", "measured", "met"]
    assert row.as_json()["met"] is met


def test_the_fastest_rival_counts_and_is_named():
    results = [Result("a", 3.0), Result("b", 1.61234), Result("c", None, "c is not installed")]
    row = ratio("steps", results, 1.5, "the best is ")
    assert row == Row("steps", 1.61, 1.5, note="the best is b; c: c is not installed")
    assert ratio("steps", results[2:], 1.5) == Row("steps", None, 1.5, note="c: c is not installed")
    assert ratio("steps", results[:1], None).note == ""


def test_the_table_has_a_column_of_what_is_required_and_notes_below():
    text = table(
        [
            Row("speed", 12.0, 10, note="of something"),
            Row("seconds", 3, 2, at_most=True),
            Row("a rival", None, 1, note="not installed"),
            Row("more", "a word", note="of something"),
        ]
    )
    assert text.splitlines() == [
        "             required  measured",
        "speed [1]       >= 10        12  met",
        "seconds          <= 2         3  NOT MET",
        "a rival [2]      >= 1         -",
        "more [1]                 a word",
        "[1] of something",
        "[2] not installed",
    ]


def test_figures_have_three_digits():
    assert [rounded(x) for x in (1234.5, 0.0123456, 2)] == [1230.0, 0.0123, 2.0]
