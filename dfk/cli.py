"""The `dfk` command: finds what is asked for and turns errors into messages and exit codes."""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging as standard_logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import flags, logging

import dfk
from dfk import backend
from dfk.errors import DfkError
from dfk.text import Escaped, for_people, printable, raw

# Each is a module of `dfk.commands`, imported only when it is called.
COMMANDS = {
    "train": "train, evaluate and report an experiment, or a suite of them",
    "predict": "tell which generator made each of some images",
    "evaluate": "score a model on a labelled set",
    "explain": "draw where a model looked",
    "demo": "open a page to try a model on images",
    "audit": "tell what in a data set will fool a classifier",
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
        module = importlib.import_module(f"dfk.commands.{command}")
        return call(module.main, rest, program=f"dfk {command}", resumable=command == "train")
    if command in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0
    if command == "--version":
        print(dfk.__version__)
        return 0
    return _fail(f"no command {command!r}; dfk --help lists them", 2)


@for_people()
def call(
    command: Callable[[list[str]], int],
    arguments: list[str],
    *,
    program: str,
    resumable: bool = True,
) -> int:
    """Runs `command(arguments)`; what a user can mend becomes a message and an exit code.

    Args:
        command: returns an exit code.
        arguments: what was given after the name of the program.
        program: how the user called it, for the line that continues an interrupted run.
        resumable: whether it takes --resume.
    """
    try:
        backend.check()
        return command(arguments)
    except KeyboardInterrupt:
        if not resumable:
            return _fail("interrupted", 130)
        rest = [a for a in arguments if not a.lstrip("-").startswith("overwrite")]
        resumed = rest if "--resume" in rest else [*rest, "--resume"]
        return _fail(f"interrupted; continue with\n  {program} {shlex.join(resumed)}", 130)
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


def prepare_logging() -> None:
    """Plain messages on stderr, without TensorFlow's start-up lines unless its variable asks.

    If Keras runs on JAX, TensorFlow is left none of the GPUs here, before it computes anything.
    """
    flags.FLAGS(["dfk", "--logtostderr"])  # absl's own, or its first message is about them.
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(_OneLine())
    standard_logging.getLogger("tensorflow").addFilter(_is_not_about_traces)
    # It tells of each kind of accelerator that is not there.
    standard_logging.getLogger("jax").setLevel(standard_logging.WARNING)
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        with _stderr_closed():
            import tensorflow  # noqa: F401
    if backend.chosen() == "jax":
        backend.keep_tensorflow_to_cpu()


class _OneLine(standard_logging.Formatter):
    """The message alone; what a name in it holds cannot make it two."""

    def format(self, record: standard_logging.LogRecord) -> str:
        record = copy.copy(record)
        if isinstance(record.args, tuple):
            record.args = tuple(
                printable(str(x)) if isinstance(x, str | os.PathLike) else x for x in record.args
            )
        return super().format(record)


def _is_not_about_traces(record: standard_logging.LogRecord) -> bool:
    """TensorFlow counts the traces of all models together, and takes a few models for too many."""
    return "triggered tf.function retracing" not in record.getMessage()


def keep_stderr() -> None:
    """From here on only Python writes to stderr: libjpeg comments on damaged files there."""
    if raw(sys.stderr) is not sys.__stderr__:  # Someone has put it elsewhere, as tests do.
        return
    sys.stderr.flush()
    kept = os.fdopen(
        os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
    )
    sys.stderr = Escaped(kept)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    """Drops what is written to stderr by C++ too: some lines of TensorFlow heed no log level."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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
