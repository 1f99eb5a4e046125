"""Who may ask: whoever knows the page by a name that it has, and no other site's page.

Any web page may make its reader's browser ask this machine: across sites, or under a name of its
own that it lets point here (DNS rebinding). Browsers tell both, in `Host` and `Origin`.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]+)?", re.IGNORECASE)
_LOOPBACK = {"127.0.0.1", "::1"}
_UNKNOWN_HOST = (
    "The page is not served under this name: ask for it at the address that dfk demo printed, "
    "or start it with --allow_host."
)
_OTHER_SITE = "Only the page itself may ask for answers, and this came from another one."


class Hosts:
    """The names and addresses under which the page is served.

    Args:
        bound: the address that the server listens at. For all of a machine's (`0.0.0.0`, `::`),
            any address will do, for nobody can let one point elsewhere, and the machine's name.
        names: names, or addresses, beside it.
    """

    def __init__(self, bound: str, names: Collection[str] = ()):
        address = ipaddress.ip_address(bound)
        self._any_address = address.is_unspecified
        self._known = {_canonical(name) for name in names} | {_canonical(bound)}
        if address.is_loopback or address.is_unspecified:
            self._known |= {"localhost", *_LOOPBACK}
        if address.is_unspecified:
            self._known.add(_canonical(socket.gethostname()))

    def __contains__(self, header: str) -> bool:
        """Whether the value of a `Host` header, with a port or without, is among them.

        The port may be another one than the server's: that of a tunnel.
        """
        match = _HOST.fullmatch(header)
        if not match:
            return False
        host = _canonical(match[1] or match[2])
        return host in self._known or (self._any_address and _is_address(host))


class Guard:
    """Lets only requests pass that a reader of the page makes."""

    def __init__(self, app: ASGIApp, hosts: Hosts):
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self._reason(Headers(scope=scope), scope["method"])
        app = PlainTextResponse(reason, 403) if reason else self._app
        await app(scope, receive, send)

    def _reason(self, headers: Headers, method: str) -> str:
        """Why a request is refused, or ""."""
        host = headers.get("host", "")
        if host not in self._hosts:
            return _UNKNOWN_HOST
        origin = headers.get("origin", f"http://{host}").partition("://")[2]
        site = headers.get("sec-fetch-site", "none")
        own = origin.lower() == host.lower() and site in ("none", "same-origin")
        return "" if own or method in ("GET", "HEAD") else _OTHER_SITE


def _canonical(host: str) -> str:
    """One spelling of a name, or of an address."""
    return str(ipaddress.ip_address(host)) if _is_address(host) else host.lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
