"""`dfk demo` in a process of its own, as a browser or an attacker meets it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from typing import NamedTuple
from urllib.parse import urlsplit

# Notes whom it asks, and whatever it does with a file of this name. A background job, as CI may
# be, inherits that Ctrl-C is ignored.
CANARY = "canary.png"
SERVER = f"""
import signal, sys
log = open(sys.argv.pop(1), "a", buffering=1)
def note(event, args):
    if event in ("socket.connect", "socket.getaddrinfo") or {CANARY!r} in str(args):
        print(event, args, file=log)
sys.addaudithook(note)
signal.signal(signal.SIGINT, signal.default_int_handler)
from dfk import cli
"""
RUN = "\nsys.exit(cli.main())\n"


class Demo(NamedTuple):
    """A page that is served: where, the process, and its folder for temporary files."""

    address: str
    process: subprocess.Popen
    temporary: os.PathLike
    noted: os.PathLike

    @property
    def port(self):
        return urlsplit(self.address).port


@contextlib.contextmanager
def demo(model, folder, *flags, change=""):
    """Serves a page; in the end Ctrl-C ends it tidily. `change` is Python that runs before."""
    temporary, noted = folder / "tmp", folder / "noted"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER + change + RUN, noted, "demo", model, "--port=0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary)},
        text=True,
    )
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", address), process.communicate()
        yield Demo(address, process, temporary, noted)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (130, ""), err
    ready = "dfk: the page is ready; Ctrl-C ends it"
    assert err.splitlines() == [ready, "dfk: interrupted"], err  # Whatever was uploaded
    # tf.function's own Python files go as the process ends.
    left = [path.name for path in temporary.iterdir()]
    assert not left, left
    assert noted.read_text() == ""  # No other host, and no file of this one
