"""Work in threads: small images do not wait for large ones, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

# Images that may wait for their turn in a lane
_WAITING = 8

_T = TypeVar("_T")


class Lane:
    """One thing at a time, the others in a queue."""

    def __init__(self):
        self._limiter = anyio.CapacityLimiter(1)

    async def run(self, work: Callable[[], _T], request: Request) -> _T:
        """Does `work` in a thread when it is its turn, if whoever asked is still there by then.

        What has begun is always finished, and waited for.

        Raises:
            HTTPException: 503 if too many wait already.
            ClientDisconnect: if whoever asked has gone.
        """
        if self._limiter.statistics().tasks_waiting >= _WAITING:
            raise HTTPException(503, "The page is busy with other images. Try again.")
        done = []
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                await request.receive()  # The body was read: what comes now is the end.
                group.cancel_scope.cancel()

            group.start_soon(leave)
            done.append(await to_thread.run_sync(work, limiter=self._limiter))
            group.cancel_scope.cancel()
        if not done:
            raise ClientDisconnect
        return done[0]


class Lanes:
    """A lane for small images and one for large."""

    def __init__(self):
        self.small, self.large = Lane(), Lane()
