"""The `dfk` command. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import logging as standard_logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence

from absl import logging

import dfk
from dfk import config
from dfk.errors import DfkError

_USAGE = """\
dfk tells which generator made an image.

usage: dfk COMMAND [--flag=value ...]

commands:
  train      train, evaluate and report an experiment

dfk COMMAND --help explains a command, dfk --version prints the version.

example:
  dfk train --data_dir=demo --image_size=64 --epochs=2
"""

_TRAIN_EXAMPLES = """\
Trains, evaluates and reports an experiment: flags in, a table and a report out.

Examples:
    dfk train --data_dir=demo --image_size=64 --epochs=2
    dfk train --flagfile=my.flags --data_dir=data/mine --resume
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `dfk`; returns the exit code: 0 done, 1 inputs that cannot be used, 2 wrong usage."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[list[str]], int]] = {"train": train}
    command = arguments[0] if arguments else "--help"
    if command in commands:
        return commands[command](arguments[1:])
    if command in ("-h", "--help", "help"):
        print(_USAGE, end="")
        return 0
    if command == "--version":
        print(dfk.__version__)
        return 0
    return _fail(f"no command {command!r}; dfk --help lists them", 2)


def train(
    arguments: list[str], program: str = "dfk train", doc: str | None = _TRAIN_EXAMPLES
) -> int:
    """Trains what the flags say and prints the table of all experiments; returns the exit code."""
    if any(argument in ("-h", "-help", "--help", "--helpfull") for argument in arguments):
        print(f"{doc}\nFlags (also in files, --flagfile=FILE; the later one wins):")
        print(config.flags_help())
        return 0
    try:
        settings = config.parse(arguments)
        _prepare_logging()
        _train(settings)
    except KeyboardInterrupt:
        rest = [a for a in arguments if not a.lstrip("-").startswith("overwrite")]
        resumed = rest if "--resume" in rest else [*rest, "--resume"]
        return _fail(f"interrupted; continue with\n  {program} {shlex.join(resumed)}", 130)
    except DfkError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    return 0


def _train(settings: config.Config) -> None:
    from dfk import runs, training
    from dfk.evaluation.results import write_results

    training.run(settings)
    output_dir = settings.run_dir.parent
    print(write_results(output_dir))
    print(f"table   {output_dir / 'results.md'}\nreport  {settings.run_dir / runs.REPORT}")


def _prepare_logging() -> None:
    """Plain messages on stderr, without TensorFlow's start-up lines unless its variable asks."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(standard_logging.Formatter("%(message)s"))
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        with _stderr_closed():
            import tensorflow  # noqa: F401


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


def _fail(message: str, code: int) -> int:
    print(f"dfk: {message}", file=sys.stderr)
    return code
