"""The page of `dfk demo` in a browser: Gradio takes the file, `dfk.page` answers.

Needs the extra `demo`. Nothing of the page comes from, or goes to, another host.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable

from dfk.page import Page

# No word to Gradio's makers; it heeds these from its import on.
_SILENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
# The browser itself then asks no other host, whatever a version of Gradio may try.
_OWN_HOST = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
_GRACE = 1  # Seconds for open pages, which keep a connection, when the server ends


def serve(
    page: Page,
    name: str,
    listener: socket.socket,
    *,
    max_upload_mb: int,
    ready: Callable[[], None],
) -> None:
    """Serves a page on a socket that listens already, until SIGINT or SIGTERM.

    Args:
        page: what answers; one file at a time.
        name: of the model, as the reader knows it.
        listener: where browsers connect.
        max_upload_mb: the largest file that is taken, in MB of 2^20 bytes, as Gradio counts.
        ready: called when browsers will be answered.

    Raises:
        KeyboardInterrupt: after a SIGINT, when all is closed.
    """
    # Uploads go into a folder that nobody else can read, and away with it.
    with tempfile.TemporaryDirectory(prefix="dfk-demo-", ignore_cleanup_errors=True) as uploads:
        os.environ.update(_SILENT, GRADIO_TEMP_DIR=uploads)
        import uvicorn

        from dfk.web.layout import application

        config = uvicorn.Config(
            application(page, name, max_upload_mb),
            log_level="critical",
            headers=[("Content-Security-Policy", _OWN_HOST)],
            timeout_graceful_shutdown=_GRACE,
        )
        ready()
        uvicorn.Server(config).run(sockets=[listener])
