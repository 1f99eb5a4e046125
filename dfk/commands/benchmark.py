"""Measures dfk on this machine. So far one thing: serve, an exported model under load.

`serve` starts tensorflow_model_server where it is on the PATH, else a stand-in that speaks the same
protocol, on loopback. Clients send requests of one to four images, a tenth of which are broken, and
check every row that comes back. MODEL is a run's folder that was exported, or the folder of the
versions.

Examples:
  dfk benchmark serve runs/ensemble
  dfk benchmark serve runs/ensemble --clients=8 --requests=2000 --format=json
"""

from __future__ import annotations

import argparse
import json

from dfk.cli import prepare_logging
from dfk.commands.parser import Parser, positive


def main(arguments: list[str]) -> int:
    """Runs a benchmark and prints its rows; returns 1 if what is required is not met, else 0."""
    options = _parse(arguments)
    prepare_logging()
    from dfk.serving import benchmark

    rows = benchmark.serve(options.model, clients=options.clients, requests=options.requests)
    if options.format == "json":
        print(json.dumps({"rows": rows}, indent=2))
    else:
        for row in rows:
            required = "" if row["required"] is None else f"  required {row['required']}"
            verdict = {True: "  met", False: "  NOT MET", None: ""}[row["met"]]
            print(f"{row['name']:32} {row['measured']}{required}{verdict}")
    return 0 if all(row["met"] is not False for row in rows) else 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("benchmark", __doc__)
    parser.add_argument("what", choices=["serve"], help="what to measure")
    parser.add_argument("model", metavar="MODEL", help="an exported run, or its saved_model folder")
    parser.add_argument("--clients", type=positive, default=8, help="that send at the same time")
    parser.add_argument("--requests", type=positive, default=2000, help="of all clients together")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    return parser.parse_args(arguments)
