"""Shows how the runs of a folder stand to each other, and writes the page over all of them.

DIR is the --output_dir of trainings. The table has a row for each finished run, the best first,
and p: McNemar's exact test against the best, or against the run that --against names, on the images
that both have answered; it is corrected by Holm for all pairs of runs. Runs on other data, or on
another split, have a table of their own.

DIR/index.html has more: the curves of all runs laid over each other, each run against each, the
flags that differ, and links to the reports. It is written by each training, and by this command.

Examples:
  dfk results runs/unibuc
  dfk results runs/unibuc --against=residual_long
"""

from __future__ import annotations

import json
from pathlib import Path

from dfk.commands.parser import Parser, folder
from dfk.errors import DfkError
from dfk.runs import ownership
from dfk.text import printable


def main(arguments: list[str]) -> int:
    """Prints a table and the path of the page; returns 0."""
    parser = Parser("results", __doc__)
    parser.add_argument("output_dir", metavar="DIR", type=folder, help="the folder of the runs")
    parser.add_argument("--against", metavar="NAME", default="", help="a run (default: the best)")
    parser.add_format("table", "json")
    options = parser.parse_args(arguments)
    from dfk.reports import results, standing

    output_dir = Path(options.output_dir)
    there = standing.read(output_dir)
    if not there.measured:
        raise DfkError(f"there is no finished run in {output_dir}", *there.left_out)
    ownership.refuse_others(output_dir, *ownership.RESULTS)
    results.write_results(output_dir, there)
    if options.format == "json":
        print(json.dumps(results.compared(there, options.against), indent=2))
        return 0
    print(results.summary(there, options.against))
    print(printable(f"page    {output_dir / 'index.html'}"))
    return 0
