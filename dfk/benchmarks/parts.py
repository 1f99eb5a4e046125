"""The parts of `dfk benchmark` and the modules that measure them."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Sequence

from absl import logging

from dfk.benchmarks.rows import Row

# By part, its modules, each with a function `rows`, and about how many minutes they take on two
# cores where every alternative is installed.
PARTS: dict[str, tuple[tuple[str, ...], float]] = {
    "train": (("steps", "head", "epoch"), 11),
    "input": (("input",), 1),
    "svm": (("svm",), 0.3),
    "inference": (("inference",), 2),
    "serve": (("serve",), 0.5),
    "cli": (("command", "growth"), 2),
    "gpu": (("gpu.rows",), 0.2),  # Where there is none
}


def measure(parts: Sequence[str], *, full: bool) -> Iterator[tuple[str, Iterator[Row]]]:
    """Measures one part after the other; says on the way how long the rest will take.

    Yields:
        Each part's name, and its rows as they are measured, to be taken before the next part.
    """
    for number, part in enumerate(parts):
        left = sum(PARTS[name][1] for name in parts[number:])
        estimate = "" if full else f", about {max(1, round(left))} min left"
        logging.info("[%d/%d] %s%s", number + 1, len(parts), part, estimate)
        yield part, _rows(part, full)


def _rows(part: str, full: bool) -> Iterator[Row]:
    start = time.monotonic()
    for module in PARTS[part][0]:
        yield from importlib.import_module(f"dfk.benchmarks.{module}").rows(full)
    logging.info("  %s took %.0f s", part, time.monotonic() - start)
