"""Rows that are read back as they were written, whatever the names hold."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dfk import rows
from dfk.data.sources import Source
from dfk.errors import UsageError
from dfk.inference import Prediction

NAMES = ("0", "a,b", "c")
FOUND = Prediction("a,b", 0.5, np.array([0.2, 0.5, 0.3], np.float32))
UNREAD = Prediction("", 0.0, np.zeros(3, np.float32), "damaged\n or cut off")
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("form", [rows.Csv, rows.Json])
@settings(max_examples=60, deadline=None, database=None)
@example(paths=["carriage\rreturn", 'quote"d\n'], cut=10_000)
@given(paths=st.lists(texts, min_size=1, max_size=4), cut=st.integers(0, 400))
def test_a_file_is_continued_from_its_last_whole_row(tmp_path_factory, form, paths, cut):
    form, path = form(NAMES), tmp_path_factory.getbasetemp() / "rows"
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
