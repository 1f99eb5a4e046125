"""Measures dfk on this machine beside what people would use instead.

Each alternative runs in turn with dfk, each in a process of its own; what counts is the ratio
of their medians. Alternatives that are not installed are skipped by name:
pip install 'dfk-keras[bench]' brings PyTorch, ONNX Runtime and OpenVINO. Without PART all parts are
measured, in about a quarter of an hour on two cores. Leave the machine alone meanwhile.

parts:
  train      a step and an epoch of DeepFakeNet and VGG16, and VGG16's head on a frozen base
  input      the input pipeline
  svm        the SVM on pixels
  inference  an exported ensemble
  serve      an exported model under load: MODEL, a run's folder that was exported or the folder
             of the versions, or one made for the purpose. tensorflow_model_server serves it
             where it is on the PATH, else a stand-in that speaks the same protocol.
  cli        the command's start, and how time and memory grow with the data
  gpu        on a GPU, in less than 8 minutes: steps and epochs of four networks on JAX beside
             PyTorch, a whole training, scoring. It needs jax[cuda13], and torch to compare.

A row is logged, and with --rows written, as soon as it is measured.

Examples:
  dfk benchmark input --full
  dfk benchmark --format=json
  dfk benchmark serve runs/ensemble --clients=8 --requests=2000 --format=json
  dfk benchmark gpu --rows=gpu.jsonl --trace=profile
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator

from absl import logging

from dfk.benchmarks.parts import PARTS, measure
from dfk.benchmarks.rows import Row, table
from dfk.commands.parser import Parser, folder, positive
from dfk.errors import UsageError
from dfk.system.messages import prepare_logging


def main(arguments: list[str]) -> int:
    """Runs a benchmark and prints its rows; returns 1 if what is required is not met, else 0."""
    options = _parse(arguments)
    prepare_logging()
    from dfk.benchmarks import machine
    from dfk.system import backend

    backend.keep_tensorflow_to_cpu()  # Here; what is measured has a process of its own.
    rows, header = [], machine.describe()
    if options.format == "table":
        print(header, flush=True)
    with _writer(options.rows) as write:
        for part, measuring in _measured(options):
            measured = [write(row) for row in measuring]
            rows += measured
            if options.format == "table":
                print(f"\n{part}\n{table(measured)}", flush=True)
    if options.format == "json":
        print(json.dumps({"rows": [row.as_json() for row in rows], "machine": header}, indent=2))
    return 0 if all(row.met is not False for row in rows) else 1


def _measured(options: argparse.Namespace) -> Iterator[tuple[str, Iterable[Row]]]:
    if options.model is not None:
        from dfk.benchmarks import serve

        rows = serve.serve(options.model, clients=options.clients, requests=options.requests)
        return iter([("serve", rows)])
    if options.trace:
        from dfk.benchmarks.gpu import rows as gpu

        return iter([("gpu", gpu.rows(options.full, trace=options.trace))])
    return measure([options.part] if options.part else list(PARTS), full=options.full)


@contextlib.contextmanager
def _writer(path: str) -> Iterator[Callable[[Row], Row]]:
    """Gives what logs a row and writes it to a file, a line of JSON; an end loses no row."""
    with open(path, "x", encoding="utf-8") if path else contextlib.nullcontext() as file:

        def write(row: Row) -> Row:
            if row.measured is not None:
                logging.info("  %s: %s", row.name, row.measured)
            if file:
                print(json.dumps({**row.as_json(), "note": row.note}), file=file, flush=True)
            return row

        yield write


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("benchmark", __doc__)
    parser.add_argument("part", choices=list(PARTS), nargs="?", metavar="PART", help="see above")
    parser.add_argument(
        "model", metavar="MODEL", type=folder, nargs="?", help="of serve, see above"
    )
    parser.add_argument("--full", action="store_true", help="more rounds, larger data, all rivals")
    parser.add_argument(
        "--clients", metavar="N", type=positive, default=8, help="that send MODEL requests"
    )
    parser.add_argument(
        "--requests", metavar="N", type=positive, default=2000, help="of all clients together"
    )
    parser.add_argument("--rows", metavar="FILE", default="", help="a JSON line for each row")
    parser.add_argument(
        "--trace", metavar="DIR", default="", help="of gpu: a profile of DeepFakeNet's steps"
    )
    parser.add_format("table", "json")
    options = parser.parse_args(arguments)
    if options.model is not None and options.part != "serve":
        raise UsageError(f"only serve takes a MODEL, not {options.part}")
    if options.trace and options.part != "gpu":
        raise UsageError("--trace is of gpu: dfk benchmark gpu --trace=DIR")
    if options.rows and os.path.lexists(options.rows):
        raise UsageError(f"{options.rows} is there already; --rows takes a new file")
    return options
