"""Compares two models on the images that both have answered.

A and B are folders that `dfk train` or `dfk evaluate` has left, or their predictions.csv. The p is
that of McNemar's exact test: so uneven a split of the images on which only one of them is right,
were both equally good. The interval of the difference is the paired bootstrap's.
The table shows the first 20 images on which they disagree; csv and json list them all.

Examples:
  dfk compare runs/deepfakenet runs/vgg16
  dfk compare runs/deepfakenet runs/vgg16 --format=csv
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from dfk.commands.parser import Parser
from dfk.system.files import csv_line
from dfk.text import printable, shown

_SHOWN = 20


def main(arguments: list[str]) -> int:
    """Prints the test and the images on which two models disagree; returns 0."""
    parser = Parser("compare", __doc__)
    parser.add_argument("a", metavar="A", type=_there, help="a run's folder or a predictions.csv")
    parser.add_argument("b", metavar="B", type=_there, help="another")
    parser.add_format("table", "csv", "json")
    options = parser.parse_args(arguments)
    from dfk.reports import comparison

    compared = comparison.compare(options.a, options.b)
    if options.format == "json":
        print(json.dumps(compared._asdict() | {"test": compared.test._asdict()}, indent=2))
    elif options.format == "csv":
        for row in (comparison.KEYS, *(row.values() for row in compared.disagreements)):
            sys.stdout.write(csv_line([shown(cell, sys.stdout) for cell in row]))
    else:
        print(_text(compared, str(options.a), str(options.b)))
    return 0


def _there(text: str) -> Path:
    if not os.path.exists(text):
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder")
    return Path(text)


def _text(compared, a: str, b: str) -> str:
    only_a, only_b, p_value = compared.test
    difference = compared.accuracy_b - compared.accuracy_a
    low, high = compared.difference_ci95
    width = max(len(a), len(b))
    verdict = "more than chance explains" if p_value < 0.05 else "no more than chance may explain"
    lines = [
        f"{compared.n} labelled images that both have answered",
        f"A  {a:{width}}  accuracy {compared.accuracy_a:.2%}, {only_a} images right that B is not",
        f"B  {b:{width}}  accuracy {compared.accuracy_b:.2%}, {only_b} images right that A is not",
        f"B - A  {100 * difference:+.2f} points  "
        f"(95 % interval {100 * low:+.2f} to {100 * high:+.2f}, paired bootstrap)",
        f"McNemar's exact test: p = {p_value:.3g}, {verdict}",
        "",
        f"They disagree on {len(compared.disagreements)} images:",
    ]
    shown = compared.disagreements[:_SHOWN]
    lines += [f"  {r['image_id']}: {r['label']}; A {r['a']}, B {r['b']}" for r in shown]
    if len(compared.disagreements) > _SHOWN:
        lines.append(f"  ... --format=csv lists all {len(compared.disagreements)}")
    return "\n".join(map(printable, lines))
