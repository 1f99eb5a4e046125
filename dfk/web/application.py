"""What the server answers at which address, as an ASGI application."""

from __future__ import annotations

import functools
import sys
import traceback

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from dfk.web import html
from dfk.web.examination import CLOSED_SET, Examiner
from dfk.web.hosts import Guard, Hosts
from dfk.web.lanes import Lanes
from dfk.web.uploads import Uploads

_FAILED = "The page itself failed at this; where it was started, it says why."


def application(examiner: Examiner, name: str, hosts: Hosts, max_upload_mb: int) -> Starlette:
    """The page as an ASGI application, for requests under `hosts`."""
    uploads, lanes = Uploads(max_upload_mb * 2**20), Lanes()
    text = html.render(
        "page.html.j2",
        name=name,
        class_names=examiner.class_names,
        max_upload_mb=max_upload_mb,
        max_upload_bytes=uploads.largest,
        closed_set=CLOSED_SET,
        can_recheck=examiner.can_recheck,
    )

    async def answer(request: Request) -> Response:
        async with uploads.read(request) as data:
            rechecked = request.query_params.get("recheck") == "1"
            large = await run_in_threadpool(examiner.is_large, data)
            lane = lanes.large if large or rechecked else lanes.small
            work = functools.partial(html.answer, examiner, data, rechecked=rechecked)
            return HTMLResponse(await lane.run(work, request))

    app = Starlette(
        routes=[
            _still("/", text, "text/html"),
            _still("/style.css", (html.HERE / "style.css").read_text(), "text/css"),
            _still("/page.js", (html.HERE / "page.js").read_text(), "text/javascript"),
            Route("/answer", answer, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={ClientDisconnect: _nobody, Exception: _bug},
    )
    app.router.redirect_slashes = False
    return app


def _still(path: str, text: str, media_type: str) -> Route:
    """A route to a text that stays as it is."""

    def show(request: Request) -> Response:
        return Response(text, media_type=media_type)

    return Route(path, show)


async def _nobody(request: Request, error: Exception) -> Response:
    """Whoever asked has gone, and reads no answer."""
    return Response()


async def _bug(request: Request, error: Exception) -> Response:
    """The trace is for whoever started the page, and not for whoever asked."""
    traceback.print_exception(error, file=sys.stderr)
    return PlainTextResponse(_FAILED, 500)
