"""Tells what a model is: classes, sizes, training data, scores, thresholds, versions.

Examples:
  dfk info runs/ensemble
  dfk info runs/ensemble/model.keras --format=json
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dfk.commands.parser import MODEL_HELP, Parser, model
from dfk.system.messages import prepare_logging
from dfk.text import printable


def main(arguments: list[str]) -> int:
    """Prints what is known of a model; returns 0."""
    parser = Parser("info", __doc__)
    parser.add_argument("model", metavar="MODEL", type=model, help=MODEL_HELP)
    parser.add_format("table", "json")
    options = parser.parse_args(arguments)
    prepare_logging()
    from dfk.inference import load
    from dfk.inference.description import describe

    known = describe(load(options.model))
    if options.format == "json":
        print(json.dumps(known, indent=2))
        return 0
    rows = list(_flat(known))
    width = max(len(name) for name, _ in rows)
    print("\n".join(printable(f"{name:{width}}  {value}") for name, value in rows))
    return 0


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield prefix + name, ", ".join(map(str, value)) or "none"
        else:
            yield prefix + name, "none" if value in (None, {}) else str(value)
