"""How far long work is, and the time left: a bar on terminals, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from dfk.system.terminal import raw
from dfk.text import printable

SECONDS_BETWEEN_LINES = 30


class Bar(tqdm):
    """tqdm's bar on stderr; where that is no terminal, a line every half minute.

    Shorter work leaves no line in a log.

    Args:
        *args, **options: those of `tqdm`.
    """

    def __init__(self, *args: Any, **options: Any):
        self._drawn = sys.stderr.isatty()
        self._said = time.monotonic()
        # Without columns tqdm leaves the bar itself out.
        options |= {"desc": printable(options.get("desc") or ""), "file": raw(sys.stderr)}
        super().__init__(*args, **options | ({} if self._drawn else {"ncols": 0, "leave": False}))

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """Draws the bar, or prints the line once its time has come; tqdm calls it often."""
        if self._drawn:
            return super().display(msg, pos)
        if msg is None and (now := time.monotonic()) - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            print(self, file=self.fp, flush=True)
        return False

    def clear(self, nolock: bool = False) -> None:
        """Wipes the bar out, if it is drawn."""
        if self._drawn:
            super().clear(nolock)
