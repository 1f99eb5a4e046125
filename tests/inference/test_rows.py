"""Rows that are read back as they were written, whatever the names hold."""

import json
import os

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dfk.data.sources import Source
from dfk.errors import UsageError
from dfk.inference import Prediction, rows

NAMES = ("0", "a,b", "c")
FOUND = Prediction("a,b", 0.5, np.array([0.2, 0.5, 0.3], np.float32))
UNREAD = Prediction("", 0.0, np.zeros(3, np.float32), "damaged\n or cut off")
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def _likely(probabilities):
    """A set of the classes of 0.3 and more; a threshold is float32, as probabilities are."""
    return [name for name, p in zip(NAMES, probabilities, strict=True) if p >= np.float32(0.3)]


def _none(probabilities):
    return []


@pytest.mark.parametrize("set_of", [None, _likely])
@pytest.mark.parametrize("form", [rows.Csv, rows.Json])
@settings(max_examples=30, deadline=None, database=None)
@example(paths=["carriage\rreturn", 'quote"d\n'], cut=10_000)
@given(paths=st.lists(texts, min_size=1, max_size=4), cut=st.integers(0, 400))
def test_a_file_is_continued_from_its_last_whole_row(tmp_path_factory, form, set_of, paths, cut):
    form, path = form(NAMES, set_of), tmp_path_factory.getbasetemp() / "rows"
    path.unlink(missing_ok=True)
    with rows.continued(path, form) as file:
        for name in paths:
            file.write(form.line(name, FOUND) + form.line(name, UNREAD))
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with rows.continued(path, form) as file:
        left = list(file.rows())
        assert len(left) == file.count
        names = [name for name in paths for _ in range(2)]
        assert [row.path for row in left] == names[: len(left)]
        for i, row in enumerate(left):
            expected = ("", 0.0, UNREAD.error) if i % 2 else ("a,b", 0.5, "")
            assert row[1:] == expected
        for i, name in enumerate(names[len(left) :], start=len(left)):
            file.write(form.line(name, UNREAD if i % 2 else FOUND))
    assert path.read_bytes() == whole


def test_a_set_stands_before_the_error_as_each_format_can():
    head, line = (rows.Csv(NAMES, _likely).header, rows.Csv(NAMES, _likely).line("x", FOUND))
    assert head == 'path,label,confidence,0,"a,b",c,set,error\n'
    assert line == 'x,"a,b",0.5,0.2,0.5,0.3,"a,b|c",\n'
    assert rows.Csv(NAMES, _none).line("x", FOUND) == 'x,"a,b",0.5,0.2,0.5,0.3,,\n'
    assert rows.Csv(NAMES, _likely).line("x", Prediction("", 0, np.zeros(3), "e")) == "x,,,,,,,e\n"
    row = json.loads(rows.Json(NAMES, _likely).line("x", FOUND))
    assert list(row)[-3:] == ["probabilities", "set", "error"] and row["set"] == ["a,b", "c"]
    assert json.loads(rows.Json(NAMES, _none).line("x", FOUND))["set"] == []
    assert json.loads(rows.Json(NAMES, _likely).line("x", UNREAD))["set"] is None
    table = rows.Table(NAMES, _likely)
    assert table.line("x", FOUND).split()[-2:] == ["a,b|c", "x"]
    assert table.line("x", FOUND).index("a,b|c") == table.header.index("set")
    assert rows.Table(NAMES, _none).line("x", FOUND).split()[-2:] == ["-", "x"]


@pytest.mark.parametrize("form", [rows.Csv, rows.Json])
def test_rows_with_other_sets_or_none_are_not_continued(form, tmp_path):
    for before, now in ((None, _likely), (_likely, None), (_likely, _none), (_none, _likely)):
        path = tmp_path / "x"
        path.unlink(missing_ok=True)
        with rows.continued(path, form(NAMES, before)) as file:
            file.write(form(NAMES, before).line("a", UNREAD) + form(NAMES, before).line("b", FOUND))
        written = path.read_bytes()
        with (
            pytest.raises(UsageError, match="not written with this model, format and --coverage"),
            rows.continued(path, form(NAMES, now)) as file,
        ):
            list(file.rows())
        assert path.read_bytes() == written


def test_rows_in_the_order_of_the_sources_are_left_out_one_by_one():
    taken = []

    def written():
        for i in range(4):
            taken.append(i)
            yield rows.Row(str(i), "", 0.0, "")

    sources = (Source(str(i), "") for i in range(6))
    left = rows.without(sources, written())
    assert next(left).name == "4" and taken == [0, 1, 2, 3]
    assert [source.name for source in left] == ["5"]


def test_rows_in_any_order_are_left_out_as_often_as_they_are_there():
    written = iter([rows.Row(name, "", 0.0, "") for name in "cabba"])
    left = rows.without([Source(name, "") for name in "xabaaybc"], written)
    assert [source.name for source in left] == ["x", "a", "y"]


def test_two_processes_do_not_write_one_file(tmp_path):
    form = rows.Csv(NAMES)
    with rows.continued(tmp_path / "x", form), pytest.raises(UsageError, match="another process"):
        rows.continued(tmp_path / "x", form).__enter__()


def test_json_rows_of_other_classes_are_refused(tmp_path):
    with rows.continued(tmp_path / "x", rows.Json("ab")) as file:
        file.write(rows.Json("ab").line("p", Prediction("a", 1.0, np.float32([1, 0]))))
    with rows.continued(tmp_path / "x", rows.Json("ac")) as file:  # noqa: SIM117
        with pytest.raises(UsageError, match="not written with this model"):
            list(file.rows())


def test_rows_that_are_no_csv_are_refused(tmp_path):
    form = rows.Csv(NAMES)
    (tmp_path / "x").write_text(form.header + "a\rb,,,,,,\n")
    with rows.continued(tmp_path / "x", form) as file:  # noqa: SIM117
        with pytest.raises(UsageError, match="not written with this model"):
            list(file.rows())


CSV, JSON = rows.Csv(NAMES), rows.Json(NAMES)
ROW = CSV.line("p", FOUND)


@pytest.mark.parametrize(
    ("form", "content"),
    [
        (CSV, CSV.header + "a note of mine\n"),
        (CSV, CSV.header + 'a 5" note\nof mine'),
        (CSV, CSV.header + ROW + "a,note,of mine"),
        (CSV, CSV.header + ROW + "total,c,?,"),
        (CSV, CSV.header + ROW[:-1] + ",1\n"),
        (CSV, CSV.header + ROW.replace("0.2", "0.9")),
        (CSV, CSV.header + ROW.replace('"a,b"', "other")),
        (CSV, CSV.header + ROW.replace("0.2", "nan")),
        (CSV, CSV.header + "p,c,,,,,damaged\n"),
        (CSV, CSV.header[:9] + "\n"),
        (CSV, CSV.header[:-1] + ",more"),
        (JSON, '{"path": "x", "mine": 1}'),
        (JSON, '{"path": "x", "mine": 1}\n'),
        (JSON, '{"path": [[[[1\n'),
        (JSON, '{"path": ' + "[" * 100_000 + "\n"),
        (JSON, "[1]\n"),
        (JSON, JSON.line("p", FOUND)[:-1] + " "),
        (JSON, JSON.line("p", FOUND).replace("0.5", "1e999")),
        (JSON, JSON.line("p", FOUND) + "{}\n"),
        (JSON, '{"label": "'),
    ],
)
def test_a_file_that_only_begins_like_one_keeps_its_bytes(form, content, tmp_path):
    path = tmp_path / "x"
    path.write_text(content)
    with (
        pytest.raises(UsageError, match="not written with this model"),
        rows.continued(path, form) as file,
    ):
        list(file.rows())
    assert path.read_text() == content


@pytest.mark.parametrize("form", [CSV, JSON])
def test_nothing_is_cut_before_the_first_new_row(form, tmp_path):
    path, whole = tmp_path / "x", form.header + form.line("p", FOUND)
    path.write_text(whole + form.line("q", FOUND)[:9])
    before = path.read_bytes()
    with rows.continued(path, form) as file:
        assert [row.path for row in file.rows()] == ["p"] and path.read_bytes() == before
        file.begin()
        assert path.read_text() == whole


def test_every_row_has_the_label_that_these_options_give(tmp_path):
    path = tmp_path / "x"
    path.write_text(CSV.header + ROW)
    with (
        pytest.raises(UsageError, match="or --min_confidence"),
        rows.continued(path, rows.Csv(NAMES, None, lambda numbers: "unknown")) as file,
    ):
        list(file.rows())


def test_a_new_file_that_stays_empty_is_gone(tmp_path):
    with rows.continued(tmp_path / "x", CSV):
        assert (tmp_path / "x").exists()
    (tmp_path / "empty").touch()
    with rows.continued(tmp_path / "empty", CSV):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(UsageError, match="no file that could be continued"):
            rows.continued(path, CSV).__enter__()


@pytest.mark.parametrize("form", [rows.Csv, rows.Json])
def test_classes_called_like_columns_are_read_by_position(form, tmp_path):
    names = ("label", "error", "path", "unknown", "confidence")
    form = form(names)
    found = Prediction("error", 0.5, np.array([0.1, 0.5, 0.2, 0.1, 0.1], np.float32))
    with rows.continued(tmp_path / "x", form) as file:
        file.write(form.line("p", found))
    with rows.continued(tmp_path / "x", form) as file:
        assert list(file.rows()) == [("p", "error", 0.5, "")]
