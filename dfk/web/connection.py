"""A connection of a browser, for no longer than the browser does its part."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds: how long a client may do nothing of what it is waited for, and take for all of it.
SILENCE, WHOLE = 15, 100
# Connections that are kept at all; well before, uvicorn answers that it is busy.
_MOST = 256


class Connection(H11Protocol):
    """HTTP/1.1 that drops a client which owes the rest of a request, or does not take its answer.

    Whatever the request has brought until then goes with it.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._received, self._seen = 0, None
        self._since = self._moved = self.loop.time()
        self._timer = self.loop.call_soon(self._look)
        if len(self.connections) > _MOST:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Once a second."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if not unsent and self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._since = self._moved = now  # It is the server's turn.
        elif (self._received, unsent) != self._seen:
            self._moved = now
        self._seen = self._received, unsent
        if now - self._moved > SILENCE or now - self._since > WHOLE:
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(1, self._look)
