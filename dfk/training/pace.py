"""How many steps are done at once, and when their losses are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

# Batches between two looks where a GPU waits for nothing else.
_BETWEEN = 16


class Pace(NamedTuple):
    """How an epoch goes, as the callbacks see it.

    Attributes:
        steps: of an epoch.
        blocks: steps of each call of the training function, where it does several (`dfk.data.
            resident.blocks`); empty where it does one.
        lag: calls between two looks at the losses, 0 for each at once. Then what is looked at is
            of the look before: to ask a device for what it is at work on would leave it idle.
    """

    steps: int
    blocks: Sequence[int] = ()
    lag: int = 0

    @classmethod
    def of(cls, steps: int, blocks: Sequence[int] = (), *, ahead: bool) -> Pace:
        """The pace of what trains on a device that works `ahead` of the host, or does not."""
        return cls(steps, blocks, (1 if blocks else _BETWEEN) if ahead else 0)

    def done(self, call: int) -> int:
        """The steps of an epoch after a call of the training function, counted from 0."""
        return sum(self.blocks[: call + 1]) if self.blocks else call + 1


class Delayed:
    """The logs of calls, which come out as `Pace.lag` says."""

    def __init__(self, pace: Pace):
        self._lag, self._kept = pace.lag, None

    def next(self, call: int, logs: dict[str, Any] | None) -> tuple[int, dict[str, Any]] | None:
        """Takes the logs of a call; gives those that are to be looked at now, and of which call."""
        latest = call, logs or {}
        if not self._lag:
            return latest
        if (call + 1) % self._lag:
            return None
        kept, self._kept = self._kept, latest
        return kept

    def clear(self) -> None:
        """Forgets what has not come out: the epoch is over, and its own logs say more."""
        self._kept = None
