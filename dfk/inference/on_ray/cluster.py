"""The Ray cluster that scores, and how its processors are shared out."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple

import ray

from dfk.errors import UsageError


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """The cluster that `RAY_ADDRESS` names, or that this process is in; else one of its own."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    _check_address(address)
    own = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **own)
    except ConnectionError as error:
        raise UsageError(f"RAY_ADDRESS={address}: there is no Ray cluster ({error})") from error
    _quiet()
    try:
        yield
    finally:
        ray.shutdown()


def _quiet() -> None:
    """Leaves of Ray's log what went wrong; it tells of each plan and each bar that is not drawn."""
    importlib.import_module("ray.data")  # Its import makes the loggers anew.
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
        for handler in logging.getLogger(name).handlers:
            handler.setLevel(logging.ERROR)
    # Ray brings colorama, which ends with an escape sequence, whatever stdout is.
    if colours := sys.modules.get("colorama.initialise"):
        atexit.unregister(colours.reset_all)


def _check_address(address: str | None) -> None:
    """Refuses an address that nobody listens at: Ray would wait there for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UsageError(f"RAY_ADDRESS={address}: nobody answers there ({error})") from error


class Pool(NamedTuple):
    """How many actors there are, and what each has: threads, and shares of CPUs and GPUs."""

    actors: int
    threads: int
    cpus: float
    gpus: float


def pool(actors: int) -> Pool:
    """How a cluster holds so many actors; 0 for one per GPU, or per two CPUs without GPUs."""
    there = ray.cluster_resources()
    cpus, gpus = int(there.get("CPU", 1)), int(there.get("GPU", 0))
    actors = actors or gpus or max(1, cpus // 2)
    return Pool(
        actors,
        threads=max(1, cpus // actors),
        # As Ray counts. What reads and writes needs some, too: without, all would wait for ever.
        cpus=min(1.0, max(0.5, cpus - 1) / actors),
        gpus=min(1.0, gpus / actors),
    )
