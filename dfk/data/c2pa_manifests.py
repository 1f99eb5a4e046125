"""C2PA manifests, read by c2pa-python in a process of its own, which nothing leaves.

That library is native code, and what it is given may be made to break it. In a process of its own
it takes no more than so much memory and time, and one that dies costs an answer and no more.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_CHILD = Path(__file__).with_name("c2pa_child.py")
_LARGEST = 2**27  # Bytes of a file that is read, to compare its hash
_SECONDS = 20.0


def read(data: bytes) -> dict[str, Any]:
    """What the manifest in the bytes of a file says, as `c2pa_child.manifest` has it.

    Returns:
        Where there is no such answer, `unread` says why.
    """
    if not is_installed():
        return {"unread": "c2pa-python is not installed: pip install 'dfk-keras[claims]'"}
    if len(data) > _LARGEST:
        return {"unread": f"the file has more than {_LARGEST:,} bytes"}
    return _reader().ask(data)


def is_installed() -> bool:
    """Whether c2pa-python is there."""
    return importlib.util.find_spec("c2pa") is not None


@functools.cache
def _reader() -> _Reader:
    reader = _Reader()
    atexit.register(reader.end)
    return reader


class _Reader:
    """The process, begun when it is first asked, and anew after one that has died."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None

    def ask(self, data: bytes) -> dict[str, Any]:
        """Its answer, which other threads wait for."""
        with self._lock:
            try:
                self._process = self._process or _started()
            except OSError as error:
                return {"unread": f"no process to read manifests: {error.strerror}"}
            line, is_late = _answer(self._process, data)
            if line.endswith(b"\n"):
                return json.loads(line)
            self._end()
        why = f"took more than {_SECONDS:g} s" if is_late else "came to its end"
        return {"unread": f"the process that reads manifests {why}"}

    def end(self) -> None:
        """Ends the process, if there is one."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            with contextlib.suppress(OSError):  # What it was not given any more
                self._process.communicate()
        self._process = None


def _started() -> subprocess.Popen:
    # With -P, no module of the script's folder, or of the one that somebody is in, is imported.
    return subprocess.Popen(
        [sys.executable, "-P", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _answer(process: subprocess.Popen, data: bytes) -> tuple[bytes, bool]:
    """The line that the process answers, and whether it was ended for taking too long."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(_SECONDS, stop)
    timer.start()
    try:
        process.stdin.write(len(data).to_bytes(8, "big") + data)
        process.stdin.flush()
        return process.stdout.readline(), late.is_set()
    except OSError:  # It has died while it was given the file.
        return b"", late.is_set()
    finally:
        timer.cancel()
