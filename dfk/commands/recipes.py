"""Lists the recipes that come with dfk: `dfk train --recipe=NAME` trains one.

Minutes and score are what was measured once on the hardware that stands beside them; the score is
the accuracy on the 1,250 validation images of UniBuc, where nothing else is said.
table is for people, csv and json for programs.

Examples:
  dfk recipes --format=table
  dfk recipes --format=json
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence

from dfk.commands.parser import Parser
from dfk.config.recipes import Recipe, recipes
from dfk.system.files import csv_line

_COLUMNS = ("name", "minutes", "hardware", "score", "what")
# Of what, where a terminal is too narrow for more.
_NARROWEST = 30


def main(arguments: list[str]) -> int:
    """Prints what recipes there are; returns 0."""
    parser = Parser("recipes", __doc__)
    parser.add_format("table", "csv", "json")
    options = parser.parse_args(arguments)
    known = recipes()
    if options.format == "json":
        print(json.dumps([recipe._asdict() for recipe in known], indent=2))
    elif options.format == "csv":
        for row in (Recipe._fields, *known):
            sys.stdout.write(csv_line(row))
    else:
        print(_table([[getattr(recipe, name) for name in _COLUMNS] for recipe in known]))
    return 0


def _table(rows: Sequence[Sequence[str]]) -> str:
    """In columns, the last of them broken to what is left of the terminal's width."""
    rows = [_COLUMNS, *rows]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    left = sum(widths) + 2 * len(widths)
    width = max(shutil.get_terminal_size((120, 24)).columns - left, _NARROWEST)
    lines = []
    for *cells, what in rows:
        head = "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        lines += [head + (f"\n{' ' * left}").join(textwrap.wrap(what, width))]
    return "\n".join(lines)
