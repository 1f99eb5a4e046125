"""The page of `dfk demo` in a browser: a small web server in front of `dfk.web.examination`.

Needs the extra `demo`. It answers four addresses, and nothing else exists: the page, its style, its
script, and the place for the bytes of one image. An image stays in memory and goes with its
answer; its name never comes here. Nothing of the page comes from, or goes to, another host.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from dfk.web.examination import Examiner

if TYPE_CHECKING:
    import uvicorn

# The browser holds the page to it: its own script and style, images in the answer, no other host.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_CONNECTIONS = 64  # Beyond, the answer is "503 Service Unavailable".
_GRACE = 1  # Seconds for open pages, which keep a connection, when the server ends


def serve(
    examiner: Examiner,
    name: str,
    listener: socket.socket,
    *,
    hosts: Collection[str],
    max_upload_mb: int,
    ready: Callable[[], None],
) -> None:
    """Serves a page on a socket that listens already, until SIGINT or SIGTERM.

    Args:
        examiner: what answers; at a time, one small image and one large.
        name: of the model, as the reader knows it.
        listener: where browsers connect.
        hosts: names under which browsers know this machine, beside those that follow from
            `listener` (`dfk.web.hosts`).
        max_upload_mb: the largest file that is taken, in MB of 2^20 bytes.
        ready: called when browsers will be answered.

    Raises:
        KeyboardInterrupt: after a SIGINT, when all is closed. A thread may still be at work on an
            image.
    """
    made = server(examiner, name, listener.getsockname()[0], hosts, max_upload_mb)
    ready()
    made.run(sockets=[listener])


def server(
    examiner: Examiner, name: str, address: str, hosts: Collection[str], max_upload_mb: int
) -> uvicorn.Server:
    """The server of a page, for requests to an `address` that it will listen at."""
    import uvicorn

    from dfk.web.application import application
    from dfk.web.connection import Connection
    from dfk.web.hosts import Hosts

    config = uvicorn.Config(
        application(examiner, name, Hosts(address, hosts), max_upload_mb),
        http=Connection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_level="critical",
        headers=list(_HEADERS.items()),
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)
