"""Ctrl-C ends a command wherever it is: once, tidily, and without a stack trace.

Python raises KeyboardInterrupt between any two of its instructions. Where these cannot raise it, it
is lost: in `__del__`, in the callback of a weak reference (TensorFlow has thousands as it traces),
in a function that C++ calls. And C++ may turn it into an error of its own.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

_PATIENCE = 0.5  # Seconds until an interrupt that nobody handles is repeated


class Heeded:
    """Within it, a SIGINT raises KeyboardInterrupt, again and again until that arrives at its end.

    It is not repeated while an error is handled: then cleaning up is under way, which only another
    SIGINT interrupts. Whatever else ends the block after a SIGINT becomes a KeyboardInterrupt. It
    does nothing outside of the main thread, and where SIGINT has a meaning already: that it be
    ignored, say, in the background of a script.

    Args:
        farewell: says that the command was interrupted; returns the exit code.
        last: whether the process ends after it. There is nothing to tidy up then, so a SIGINT
            kills; Python would print a stack trace. And while modules are imported the process
            ends where it stands: an error out of the middle of some, such as TensorFlow's, aborts
            it without a word.
    """

    def __init__(self, farewell: Callable[[], int], *, last: bool = False):
        self._farewell, self._last = farewell, last
        self._came = self._repeated = self._over = False

    def __enter__(self) -> None:
        self._thread = _thread.get_ident()
        self._hooks = sys.excepthook, sys.unraisablehook
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with contextlib.suppress(ValueError):  # Not the main thread
                signal.signal(signal.SIGINT, self._interrupt)
                sys.excepthook, sys.unraisablehook = self._printed, self._lost

    def __exit__(self, kind, error, trace) -> None:
        self._over = True
        sys.excepthook, sys.unraisablehook = self._hooks
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            after = signal.SIG_DFL if self._last else signal.default_int_handler
            signal.signal(signal.SIGINT, after)
        if self._came and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error

    def _interrupt(self, number, frame) -> None:
        repeated, self._repeated = self._repeated, False
        if repeated and (self._over or sys.exception() is not self._handled):
            return
        if self._last and _imports(frame):
            os._exit(self._farewell())
        if not self._came:
            self._came, self._handled = True, sys.exception()
            # Not `threading`, whose locks may be held by what was interrupted
            _thread.start_new_thread(self._repeat, ())
        raise KeyboardInterrupt

    def _repeat(self) -> None:
        while True:
            time.sleep(_PATIENCE)
            if self._over:
                return
            self._repeated = True
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(self._thread, signal.SIGINT)  # Ends a wait, too.
            else:
                _thread.interrupt_main()

    def _lost(self, unraisable) -> None:
        """Python's hook for what cannot be raised: an interrupt is not worth a stack trace."""
        if not self._follows(unraisable.exc_type):
            self._hooks[1](unraisable)

    def _printed(self, kind, error, trace) -> None:
        """The same for what C prints and goes on, as that of protobuf does."""
        if not self._follows(kind):
            self._hooks[0](kind, error, trace)

    def _follows(self, kind: type[BaseException]) -> bool:
        """Whether an error is an interrupt, or what C made of one as it called Python with it."""
        return issubclass(kind, KeyboardInterrupt) or (self._came and issubclass(kind, SystemError))


def _imports(frame: FrameType | None) -> bool:
    """Whether some module is imported just now."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
