"""What a profile says of a GPU: how much of the time it was at work."""

from __future__ import annotations

import gzip
import json
from pathlib import Path


def busy(folder: Path) -> float | None:
    """The share of the time, from the first kernel to the last, in which a kernel runs.

    What is bound by memory or arithmetic has a share near 1; what waits to be started has less.

    Args:
        folder: that `jax.profiler.trace(folder, create_perfetto_trace=True)` has written to.

    Returns:
        None if there is no trace of a GPU.
    """
    files = sorted(folder.rglob("perfetto_trace.json.gz"))
    if not files:
        return None
    with gzip.open(files[-1], "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    gpus = {x["pid"] for x in _named(events, "process_name", "GPU")}
    # Other lines of a GPU sum up what its streams do.
    streams = {(x["pid"], x["tid"]) for x in _named(events, "thread_name", "Stream")}
    spans = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in events
        if event.get("ph") == "X"
        and event["pid"] in gpus
        and (event["pid"], event["tid"]) in streams
    )
    return _covered(spans) if spans else None


def _named(events: list[dict], kind: str, word: str) -> list[dict]:
    """The events that give a process or thread a name with a word in it."""
    return [x for x in events if x.get("name") == kind and word in x["args"]["name"]]


def _covered(spans: list[tuple[float, float]]) -> float:
    """The share of the time from the first beginning to the last end that spans cover."""
    covered, reached = 0.0, spans[0][0]
    for start, end in spans:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered / (reached - spans[0][0]) if reached > spans[0][0] else 1.0
