"""Takes files from requests into memory: each, and all of them together, within a bound."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request

# Files of the largest size whose bytes may be here at once
_AT_ONCE = 4


class Uploads:
    """The files that are here, of at most `largest` bytes each."""

    def __init__(self, largest: int):
        self.largest = largest
        self._free = _AT_ONCE * largest

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Yields the body of a request, whose bytes count among all until the block ends.

        Raises:
            HTTPException: 413 if it is too large, at once where its header says so; 503 if there
                is no room beside the others.
            ClientDisconnect: if it broke off.
        """
        # Digits, or the server would not have taken the request.
        self._check(int(request.headers.get("content-length", 0)))
        chunks, taken = [], 0
        try:
            async for chunk in request.stream():
                self._check(taken + len(chunk))
                if len(chunk) > self._free:
                    raise HTTPException(503, "The page is busy with other images. Try again.")
                chunks.append(chunk)
                taken += len(chunk)
                self._free -= len(chunk)
            data = b"".join(chunks)
            chunks.clear()
            yield data
        finally:
            self._free += taken

    def _check(self, size: int) -> None:
        if size > self.largest:
            largest = f"{self.largest / 2**20:.0f} MB"
            raise HTTPException(413, f"The file is larger than {largest}, the most that is taken.")
