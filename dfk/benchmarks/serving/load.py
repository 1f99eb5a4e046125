"""A load test: many clients, some broken images, every row checked."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np

from dfk.benchmarks.serving.client import Client, Server

TOLERANCE = 1e-5
_BROKEN = 0.1  # The share of images that cannot be read
_IMAGES_PER_REQUEST = 4  # At most


class Example(NamedTuple):
    """An image file and its answer: probabilities float32 [C], None where it cannot be read."""

    data: bytes
    probabilities: np.ndarray | None


class Load(NamedTuple):
    """What a load test found.

    Attributes:
        requests, images, broken: how many were sent; `broken` of the images cannot be read.
        failed: requests that got no answer.
        wrong: images whose row differs from what it should be.
        p50_ms, p99_ms: time of a request, the median and the 99th percentile.
        images_per_s: over all clients.
        growth_mib: by which the server's memory grew after the first quarter; None where the
            system does not tell.
    """

    requests: int
    images: int
    broken: int
    failed: int
    wrong: int
    p50_ms: float
    p99_ms: float
    images_per_s: float
    growth_mib: float | None


class _Counts:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.times: list[float] = []
        self.images = self.broken = self.failed = self.wrong = 0
        self.memory: int | None = None


def run_load(
    server: Server,
    examples: Sequence[Example],
    *,
    clients: int = 8,
    requests: int = 2000,
) -> Load:
    """Sends requests from several clients at once and checks every row that comes back.

    Args:
        server: that runs.
        examples: images to send, of both kinds.
        clients: threads, each with a connection.
        requests: of all clients together.
    """
    good = [example for example in examples if example.probabilities is not None]
    bad = [example for example in examples if example.probabilities is None]
    rng = random.Random(0)
    batches = [
        [
            rng.choice(bad if rng.random() < _BROKEN else good)
            for _ in range(rng.randint(1, _IMAGES_PER_REQUEST))
        ]
        for _ in range(requests)
    ]
    counts = _Counts()
    shares = [batches[i::clients] for i in range(clients)]
    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(_one_client, server, s, counts, requests // 4) for s in shares]:
            done.result()
    seconds = time.monotonic() - began
    now = _resident_bytes(server.pid)
    known = counts.memory is not None and now is not None
    p50, p99 = np.percentile(counts.times, [50, 99]) * 1e3
    return Load(
        requests=requests,
        images=counts.images,
        broken=counts.broken,
        failed=counts.failed,
        wrong=counts.wrong,
        p50_ms=float(p50),
        p99_ms=float(p99),
        images_per_s=counts.images / seconds,
        growth_mib=(now - counts.memory) / 2**20 if known else None,
    )


def _one_client(
    server: Server, batches: Sequence[Sequence[Example]], counts: _Counts, warm: int
) -> None:
    with contextlib.closing(Client(server)) as client:
        for batch in batches:
            began = time.monotonic()
            try:
                answer = client.predict_bytes([example.data for example in batch])
                wrong = sum(_is_wrong(e, answer, i) for i, e in enumerate(batch))
            except grpc.RpcError:
                answer, wrong = None, 0
            took = time.monotonic() - began
            with counts.lock:
                counts.times.append(took)
                counts.images += len(batch)
                counts.broken += sum(example.probabilities is None for example in batch)
                counts.failed += answer is None
                counts.wrong += wrong
                if len(counts.times) == warm:
                    counts.memory = _resident_bytes(server.pid)


def _is_wrong(example: Example, answer: dict[str, np.ndarray], row: int) -> bool:
    probabilities = answer["probabilities"][row]
    if example.probabilities is None:
        return bool(answer["valid"][row] or probabilities.any() or answer["label"][row])
    difference = np.abs(probabilities - example.probabilities).max()
    return not (answer["valid"][row] and difference <= TOLERANCE)


def _resident_bytes(pid: int) -> int | None:
    """Main memory that a process holds, as Linux tells it."""
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        return None
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
