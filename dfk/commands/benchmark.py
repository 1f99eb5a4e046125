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

Examples:
  dfk benchmark input --full
  dfk benchmark --format=json
  dfk benchmark serve runs/ensemble --clients=8 --requests=2000 --format=json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

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

    rows, header = [], machine.describe()
    if options.format == "table":
        print(header, flush=True)
    for part, measured in _measured(options):
        rows += measured
        if options.format == "table":
            print(f"\n{part}\n{table(measured)}", flush=True)
    if options.format == "json":
        print(json.dumps({"rows": [row.as_json() for row in rows], "machine": header}, indent=2))
    return 0 if all(row.met is not False for row in rows) else 1


def _measured(options: argparse.Namespace) -> Iterator[tuple[str, list[Row]]]:
    if options.model is None:
        return measure([options.part] if options.part else list(PARTS), full=options.full)
    from dfk.benchmarks import serve

    rows = serve.serve(options.model, clients=options.clients, requests=options.requests)
    return iter([("serve", rows)])


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
    parser.add_format("table", "json")
    options = parser.parse_args(arguments)
    if options.model is not None and options.part != "serve":
        raise UsageError(f"only serve takes a MODEL, not {options.part}")
    return options
