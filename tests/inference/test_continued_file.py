"""A file of answers goes on where it stopped: read back as written, whatever the names hold."""

import os

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dfk.data.sources import Source
from dfk.errors import UsageError
from dfk.inference import Prediction
from dfk.inference.answers import Answers, Row
from dfk.inference.continued_file import continued, without
from dfk.inference.formats import Csv, Json
from tests.inference.tiny_answers import FOUND, NAMES, UNREAD, likely, none, tiny

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("set_of", [None, likely])
@pytest.mark.parametrize("form", [Csv, Json])
@settings(max_examples=30, deadline=None, database=None)
@example(paths=["carriage\rreturn", 'quote"d\n'], cut=10_000)
@given(paths=st.lists(texts, min_size=1, max_size=4), cut=st.integers(0, 400))
def test_a_file_is_continued_from_its_last_whole_row(tmp_path_factory, form, set_of, paths, cut):
    form, path = form(tiny(set_of)), tmp_path_factory.getbasetemp() / "rows"
    path.unlink(missing_ok=True)
    with continued(path, form) as file:
        for name in paths:
            file.write(form.line(name, FOUND) + form.line(name, UNREAD))
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with continued(path, form) as file:
        left = list(file.rows())
        assert len(left) == file.count
        names = [name for name in paths for _ in range(2)]
        assert [row.path for row in left] == names[: len(left)]
        for i, row in enumerate(left):
            expected = UNREAD if i % 2 else FOUND
            for value, other in zip(row.prediction, expected, strict=True):
                np.testing.assert_array_equal(value, other)
        for i, name in enumerate(names[len(left) :], start=len(left)):
            file.write(form.line(name, UNREAD if i % 2 else FOUND))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("form", [Csv, Json])
def test_rows_with_other_sets_ornone_are_not_continued(form, tmp_path):
    for before, now in ((None, likely), (likely, None), (likely, none), (none, likely)):
        path = tmp_path / "x"
        path.unlink(missing_ok=True)
        with continued(path, form(tiny(before))) as file:
            file.write(form(tiny(before)).line("a", UNREAD) + form(tiny(before)).line("b", FOUND))
        written = path.read_bytes()
        with (
            pytest.raises(UsageError, match="not written with this model, format and --coverage"),
            continued(path, form(tiny(now))) as file,
        ):
            list(file.rows())
        assert path.read_bytes() == written


def test_rows_in_the_order_of_the_sources_are_left_out_one_by_one():
    taken = []

    def written():
        for i in range(4):
            taken.append(i)
            yield Row(str(i), UNREAD)

    sources = (Source(str(i), "") for i in range(6))
    left = without(sources, written())
    assert next(left).name == "4" and taken == [0, 1, 2, 3]
    assert [source.name for source in left] == ["5"]


def test_rows_in_any_order_are_left_out_as_often_as_they_are_there():
    written = iter([Row(name, UNREAD) for name in "cabba"])
    left = without([Source(name, "") for name in "xabaaybc"], written)
    assert [source.name for source in left] == ["x", "a", "y"]


def test_two_processes_do_not_write_one_file(tmp_path):
    form = Csv(tiny())
    with continued(tmp_path / "x", form), pytest.raises(UsageError, match="another process"):
        continued(tmp_path / "x", form).__enter__()


def test_json_rows_of_other_classes_are_refused(tmp_path):
    with continued(tmp_path / "x", Json(tiny(names="ab"))) as file:
        file.write(Json(tiny(names="ab")).line("p", Prediction("a", 1.0, np.float32([1, 0]))))
    with continued(tmp_path / "x", Json(tiny(names="ac"))) as file:  # noqa: SIM117
        with pytest.raises(UsageError, match="not written with this model"):
            list(file.rows())


def test_rows_that_are_no_csv_are_refused(tmp_path):
    form = Csv(tiny())
    (tmp_path / "x").write_text(form.header + "a\rb,,,,,,\n")
    with continued(tmp_path / "x", form) as file:  # noqa: SIM117
        with pytest.raises(UsageError, match="not written with this model"):
            list(file.rows())


CSV, JSON = Csv(tiny()), Json(tiny())
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
        continued(path, form) as file,
    ):
        list(file.rows())
    assert path.read_text() == content


@pytest.mark.parametrize("form", [CSV, JSON])
def test_nothing_is_cut_before_the_first_new_row(form, tmp_path):
    path, whole = tmp_path / "x", form.header + form.line("p", FOUND)
    path.write_text(whole + form.line("q", FOUND)[:9])
    before = path.read_bytes()
    with continued(path, form) as file:
        assert [row.path for row in file.rows()] == ["p"] and path.read_bytes() == before
        file.begin()
        assert path.read_text() == whole


def test_every_row_has_the_label_that_these_options_give(tmp_path):
    path = tmp_path / "x"
    path.write_text(CSV.header + ROW)
    with (
        pytest.raises(UsageError, match="or --min_confidence"),
        continued(path, Csv(Answers(NAMES, lambda _: "unknown"))) as file,
    ):
        list(file.rows())


def test_a_new_file_that_stays_empty_is_gone(tmp_path):
    with continued(tmp_path / "x", CSV):
        assert (tmp_path / "x").exists()
    (tmp_path / "empty").touch()
    with continued(tmp_path / "empty", CSV):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(UsageError, match="no file that could be continued"):
            continued(path, CSV).__enter__()
