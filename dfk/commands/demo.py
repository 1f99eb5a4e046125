"""Opens a page on this machine that tells which generator made an image that you drop on it.

The page shows the label, its calibrated confidence, all probabilities, the Grad-CAM heat map, and
what to doubt. MODEL is a run's folder, a .keras or .skops file, or a SavedModel's folder. The page
is for this machine alone unless --host says otherwise, asks no other host for anything, and writes
no image to a disk: it is gone with its answer. Ctrl-C ends it.

It needs two small packages: pip install 'dfk-keras[demo]', in a checkout pip install -e '.[demo]'.

Examples:
  dfk demo runs/ensemble
  dfk demo runs/ensemble --port=8080 --min_confidence=0.9
  dfk demo runs/ensemble --host=0.0.0.0 --allow_host=gpu7.example.org
"""

from __future__ import annotations

import argparse
import atexit
import errno
import importlib.util
import ipaddress
import os
import re
import signal
import socket
import sys
import threading

from dfk.commands.parser import MODEL_HELP, Parser, model, positive, share
from dfk.errors import UsageError
from dfk.system.messages import keep_stderr, prepare_logging

_HOST, _PORT = "127.0.0.1", 7860
_NEEDED = ("starlette", "uvicorn")
_PATIENCE = 2  # Seconds that an image at work has when the page ends


def main(arguments: list[str]) -> int:
    """Serves the page until it is interrupted; prints its address when it is ready."""
    options = _parse(arguments)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the page needs {' and '.join(missing)}: pip install 'dfk-keras[demo]', in a checkout "
            "pip install -e '.[demo]'"
        )
    keep_stderr()
    prepare_logging()
    from dfk import inference, web
    from dfk.web.examination import Examiner

    with _listen(options.host, options.port) as listener:
        classifier = inference.load(options.model)
        examiner = Examiner(classifier, min_confidence=options.min_confidence)
        _end_on_signals()
        try:
            web.serve(
                examiner,
                classifier.name,
                listener,
                hosts=[options.host, *options.allow_host],
                max_upload_mb=options.max_upload_mb,
                ready=lambda: _announce(listener),
            )
        except (KeyboardInterrupt, SystemExit) as end:
            _leave_work(end)
            raise
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("demo", __doc__)
    parser.add_argument("model", metavar="MODEL", type=model, help=MODEL_HELP)
    parser.add_argument(
        "--host", metavar="ADDRESS", default=_HOST, help="0.0.0.0: for other machines too"
    )
    parser.add_argument(
        "--allow_host",
        metavar="NAME",
        type=_name,
        action="append",
        default=[],
        help="a name under which browsers may ask for the page; repeat it for more. Without it: "
        "that of --host, its address, and this machine's own where --host is 0.0.0.0",
    )
    parser.add_argument(
        "--port", metavar="N", type=_port, help=f"0: any; by default {_PORT}, or any if it is taken"
    )
    parser.add_argument("--max_upload_mb", metavar="N", type=positive, default=50, help="of a file")
    parser.add_argument(
        "--min_confidence",
        metavar="P",
        type=share,
        default=0.5,
        help="an answer below it is marked as unsure",
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return value


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a host: no port, no http://")
    return text


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, _PORT if port is None else port), family=family)
    except (OSError, UnicodeError) as error:
        if port is None and getattr(error, "errno", None) == errno.EADDRINUSE:
            print(f"dfk: port {_PORT} is taken, so the page gets another", file=sys.stderr)
            return _listen(host, 0)
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        where = f"--host={host}" + ("" if port is None else f" --port={port}")
        raise UsageError(f"cannot listen at {where}: {reason}") from error


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    print(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", flush=True)
    here = ipaddress.ip_address(host).is_loopback
    whom = "" if here else "; other machines that reach this one can use it"
    print(f"dfk: the page is ready{whom}; Ctrl-C ends it", file=sys.stderr)


def _leave_work(end: KeyboardInterrupt | SystemExit) -> None:
    """Ends the process at once if an image is still at work.

    Python would wait for it, minutes perhaps, though nobody reads the answer any more.
    """
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join(_PATIENCE)
    if threading.active_count() == 1:
        return
    atexit._run_exitfuncs()  # What Python would do then
    if isinstance(end, SystemExit):
        os._exit(end.code)
    print("dfk: interrupted", file=sys.stderr, flush=True)
    os._exit(130)


def _end_on_signals() -> None:
    """Makes SIGTERM, and a terminal that closes, end the command as Ctrl-C does: tidily."""

    def end(number, frame):
        sys.exit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP.
        if number and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)
