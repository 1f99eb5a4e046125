"""The `dfk` command: finds what is asked for and turns errors into messages and exit codes."""

from __future__ import annotations

import difflib
import importlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence

import dfk
from dfk.errors import DfkError
from dfk.system import interrupts
from dfk.system.terminal import for_people
from dfk.text import printable

# Each is a module of `dfk.commands`, imported only when it is called.
COMMANDS = {
    "train": "train, evaluate and report an experiment, or a suite of them",
    "recipes": "list what dfk knows how to train, with minutes and scores",
    "add": "give a model one more class, from 20 to 100 images of it",
    "predict": "tell which generator made each of some images",
    "evaluate": "score a model on a labelled set",
    "explain": "draw where a model looked",
    "demo": "open a page to try a model on images",
    "audit": "tell what in a data set will fool a classifier",
    "prepare": "write a data set anew, all files saved alike",
    "results": "show all runs of a folder, and write the page over them",
    "compare": "test whether two models differ, and on which images",
    "info": "tell what a model is and where it comes from",
    "export": "write a model as a SavedModel for TensorFlow Serving",
    "benchmark": "measure speed beside what else could be used",
}

_EXAMPLE = "dfk train --data_dir=demo --image_size=64 --epochs=2"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `dfk`; returns the exit code: 0 done, 1 inputs that cannot be used, 2 wrong usage."""
    command, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if command in COMMANDS:
        return call(
            # Imported in there: a Ctrl-C would end in a stack trace here.
            lambda rest: importlib.import_module(f"dfk.commands.{command}").main(rest),
            rest,
            program=f"dfk {command}",
            resumable=command in ("train", "add"),
            last=arguments is None,
        )
    if command in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0
    if command == "--version":
        print(dfk.__version__)
        return 0
    close = difflib.get_close_matches(command, COMMANDS, n=1)
    meant = f"; did you mean {close[0]}?" if close else ";"
    return _fail(f"no command {command!r}{meant} dfk --help lists them", 2)


@for_people()
def call(
    command: Callable[[list[str]], int],
    arguments: list[str],
    *,
    program: str,
    resumable: bool = True,
    last: bool = False,
) -> int:
    """Runs `command(arguments)`; what a user can mend becomes a message and an exit code.

    Args:
        command: returns an exit code.
        arguments: what was given after the name of the program.
        program: how the user called it, for the line that continues an interrupted run.
        resumable: whether it takes --resume.
        last: whether the process ends with it.
    """

    def farewell(said: str = "") -> int:
        if not resumable:
            return _fail(said or "interrupted", 130)
        rest = [a for a in arguments if not a.lstrip("-").startswith("overwrite")]
        resumed = rest if "--resume" in rest else [*rest, "--resume"]
        return _fail(f"interrupted; continue with\n  {program} {shlex.join(resumed)}", 130)

    try:
        with interrupts.Heeded(farewell, last=last):
            return _run(command, arguments)
    except KeyboardInterrupt as interrupt:
        return farewell(str(interrupt))
    except DfkError as error:
        return _fail(str(error), error.exit_code)
    except SystemExit as end:  # argparse, when it has printed its help
        return int(end.code or 0)
    except BrokenPipeError:  # Whoever read the results has seen enough, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = printable(str(error.filename or "the system"))
        return _fail(f"{where}: {error.strerror or error}", 1)


def _run(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    from dfk.system import backend

    backend.check()
    code = command(arguments)
    sys.stdout.flush()  # While an interrupt, or a reader that is gone, is still minded
    return code


def _help() -> str:
    commands = "\n".join(f"  {name:9}  {what}" for name, what in COMMANDS.items())
    return f"""\
dfk tells which generator made an image.

usage: dfk COMMAND [...]

commands:
{commands}

dfk COMMAND --help explains a command, dfk --version prints the version.

example:
  {_EXAMPLE}
"""


def _fail(message: str, code: int) -> int:
    print(f"dfk: {message}", file=sys.stderr)
    return code
