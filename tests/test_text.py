"""What names hold, on its way to people and into files: escaped where it would do harm."""

import io
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dfk.errors import UsageError
from dfk.system.files import write_atomic
from dfk.system.terminal import Escaped, raw
from dfk.text import file_name, printable, sentence, valid

ENV = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
BAD = "a\nb\r\x1b[2J\0\x9b\u202eexe\u2028\udcff"
texts = st.text(st.characters(), max_size=20) | st.text(st.sampled_from(BAD), max_size=9)
quick = settings(max_examples=200, deadline=None, database=None)


@quick
@example(BAD)
@given(texts)
def test_nothing_that_moves_a_cursor_is_left(text):
    shown = printable(text)
    shown.encode()
    assert all(c.isprintable() or c.isspace() for c in shown) and len(shown.splitlines()) <= 1
    assert not set(shown) & set("\n\r\x1b\0\x9b\u202e\u2028\udcff")
    assert printable(shown) == shown
    assert valid(text).encode().decode() == valid(valid(text))


def test_what_can_be_shown_stays_as_it_is():
    for text in ("a b", "ümläut", "图像　图", "1\u202f%", "a\\b", "é", "e\u0301"):
        assert printable(text) == valid(text) == text


@quick
@example(BAD)
@given(texts)
def test_a_stream_for_people_keeps_lines_and_nothing_else(text):
    below = io.StringIO()
    stream = Escaped(below)
    assert stream.write(text) == len(text) and raw(stream) is below
    expected = "\n".join("\t".join(map(printable, x.split("\t"))) for x in text.split("\n"))
    assert below.getvalue() == expected
    stream.writelines(["x\n", "\r"])
    assert below.getvalue() == expected + "x\n\\r"


@quick
@example("图" * 80)
@example("x" * 300)
@given(texts)
def test_any_text_makes_a_file_name(tmp_path_factory, text):
    name = file_name("0000-", text, ".png")
    path = tmp_path_factory.getbasetemp() / name
    write_atomic(path, b"")
    path.unlink()
    assert name.startswith("0000-" + printable(text).replace("/", "_")[:40]) and name[-4:] == ".png"


def test_a_line_of_a_message_stays_one_line():
    assert str(UsageError("there is no x\ny", "dfk: \x1b[2J")) == "there is no x\\ny\ndfk: \\x1b[2J"


def _on_terminal(*arguments, **environment):
    """Runs `dfk` with stdout and stderr on a terminal; returns what that was sent."""
    ours, theirs = pty.openpty()
    program = "import sys; from dfk import cli; sys.exit(cli.main())"
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=ENV | environment
    )
    os.close(theirs)
    sent = b""
    try:
        while some := os.read(ours, 2**16):
            sent += some
    except OSError:  # As Linux says that nobody is left
        pass
    os.close(ours)
    process.wait()
    return sent.decode(errors="replace").replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["nosuch\x1b[2J\nx"], {}),
        (["compare", "no\x1b[2J\rmodel\nx", "b"], {"PYTHONIOENCODING": "latin-1"}),
        (["compare", "no\x1b[2J\u202emodel\nü", "b"], {"PYTHONIOENCODING": "ascii"}),
        (["audit", b"no\xff\x1b[2J\na"], {"LC_ALL": "C"}),
        (["train", "--data_dir=no\x1b[2J\nfolder"], {}),
    ],
)
def test_a_mistake_on_a_terminal_is_one_line_and_moves_nothing(arguments, environment):
    sent = _on_terminal(*arguments, **environment)
    assert sent.startswith("dfk: ") and sent.count("\n") == 1
    assert not set(sent) & set("\x1b\r\u202e\0ü") and "Traceback" not in sent


def test_words_that_begin_a_line_start_with_a_capital():
    assert [sentence(x) for x in ("sets of 95%", "", "Éa")] == ["Sets of 95%", "", "Éa"]
