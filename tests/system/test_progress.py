"""Long work tells how far it is, on terminals and in logs."""

import os
import pty
import subprocess
import sys
import termios

import pytest

from dfk.system import progress

PROGRAM = """
from dfk.system.progress import Bar
for _ in Bar(range(3), desc="work"):
    with Bar.external_write_mode():
        print("row", flush=True)
"""


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 30)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    bar = progress.Bar(total=9, desc="robustness", unit=" images", mininterval=0)
    for _ in range(8):
        bar.update()
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" [")[0] for line in lines] == [
        "robustness:  22% 2/9",
        "robustness:  56% 5/9",
        "robustness:  89% 8/9",
    ]
    assert all(line.count("<") == 1 for line in lines)  # The time left


@pytest.mark.parametrize("options", [{}, {"leave": True}, {"total": 3}])
def test_short_work_leaves_nothing_in_a_log(capsys, options):
    for _ in progress.Bar(range(3), **options):
        with progress.Bar.external_write_mode():
            print("row")
    assert capsys.readouterr() == ("row\n" * 3, "")


def test_a_terminal_gets_a_bar():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=theirs, stdout=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "work: 100%|" in shown and shown.count("row\r\n") == 3
