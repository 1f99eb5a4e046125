"""What an answer is as CSV, as JSON and in a table (`dfk.inference.cells` has the values)."""

import json

import numpy as np
import pytest

from dfk.inference import Prediction
from dfk.inference.continued_file import continued
from dfk.inference.formats import Csv, Json, Table
from tests.inference.tiny_answers import FOUND, UNREAD, likely, none, tiny


def test_doubt_and_set_stand_after_the_error_as_each_format_can():
    head, line = (Csv(tiny(likely)).header, Csv(tiny(likely)).line("x", FOUND))
    assert head == 'path,label,confidence,0,"a,b",c,error,doubt,set\n'
    assert line == 'x,"a,b",0.5,0.2,0.5,0.3,,,"a,b|c"\n'
    assert Csv(tiny(none)).line("x", FOUND) == 'x,"a,b",0.5,0.2,0.5,0.3,,,\n'
    assert Csv(tiny(likely)).line("x", Prediction("", 0, np.zeros(3), "e")) == "x,,,,,,e,,\n"
    row = json.loads(Json(tiny(likely)).line("x", FOUND))
    assert list(row)[-3:] == ["error", "doubt", "set"] and row["set"] == ["a,b", "c"]
    assert json.loads(Json(tiny(none)).line("x", FOUND))["set"] == []
    assert json.loads(Json(tiny(likely)).line("x", UNREAD))["set"] is None
    table = Table(tiny(likely))
    assert table.line("x", FOUND).split()[-2:] == ["a,b|c", "x"]
    assert table.line("x", FOUND).index("a,b|c") == table.header.index("set")
    doubted = FOUND._replace(doubt="JPEG: trained on PNG")
    assert table.line("x", doubted).index("JPEG") == table.header.index("doubt")
    assert Csv(tiny()).line("x", doubted).endswith(",,JPEG: trained on PNG\n")
    assert json.loads(Json(tiny()).line("x", doubted))["doubt"] == "JPEG: trained on PNG"
    assert Table(tiny(none)).line("x", FOUND).split()[-2:] == ["-", "x"]


@pytest.mark.parametrize("form", [Csv, Json])
def test_classes_called_like_columns_are_read_by_position(form, tmp_path):
    names = ("label", "error", "path", "unknown", "confidence")
    form = form(tiny(names=names))
    found = Prediction("error", 0.5, np.array([0.1, 0.5, 0.2, 0.1, 0.1], np.float32))
    with continued(tmp_path / "x", form) as file:
        file.write(form.line("p", found))
    with continued(tmp_path / "x", form) as file:
        ((path, read),) = file.rows()
    assert (path, read.label, read.confidence, read.error) == ("p", "error", 0.5, "")
    np.testing.assert_array_equal(read.probabilities, found.probabilities)
