"""Messages on stderr: plain lines, and those of dfk alone."""

from __future__ import annotations

import contextlib
import copy
import logging as standard_logging
import os
import sys
from collections.abc import Iterator

from absl import flags, logging

from dfk.system import backend
from dfk.system.terminal import Escaped, raw
from dfk.text import printable


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
        with stderr_closed():
            import tensorflow  # noqa: F401
    if backend.chosen() == "jax":
        backend.keep_tensorflow_to_cpu()


def _is_not_about_traces(record: standard_logging.LogRecord) -> bool:
    """TensorFlow counts the traces of all models together, and takes a few models for too many."""
    return "triggered tf.function retracing" not in record.getMessage()


class _OneLine(standard_logging.Formatter):
    """The message alone; what a name in it holds cannot make it two."""

    def format(self, record: standard_logging.LogRecord) -> str:
        record = copy.copy(record)
        if isinstance(record.args, tuple):
            record.args = tuple(
                printable(str(x)) if isinstance(x, str | os.PathLike) else x for x in record.args
            )
        return super().format(record)


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
def handlers_kept() -> Iterator[None]:
    """Leaves logging as it was: OpenVINO takes absl's handler away when it is imported."""
    before = standard_logging.root.handlers[:]
    try:
        yield
    finally:
        standard_logging.root.handlers[:] = before


@contextlib.contextmanager
def stderr_closed() -> Iterator[None]:
    """Drops what C++ writes to stderr: some lines of TensorFlow heed no log level."""
    sys.stderr.flush()
    kept, nowhere, before = os.dup(2), os.open(os.devnull, os.O_WRONLY), sys.stderr
    os.dup2(nowhere, 2)
    if raw(before) is sys.__stderr__:  # A Ctrl-C meanwhile says so.
        sys.stderr = Escaped(open(kept, "w", buffering=1, closefd=False))  # noqa: SIM115
    try:
        yield
    finally:
        os.dup2(kept, 2)
        sys.stderr = before
        os.close(kept)
        os.close(nowhere)
