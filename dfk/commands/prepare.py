"""Writes a data set anew so that its files tell nothing: one format, one size, no metadata.

Classifiers learn how files were saved where classes differ in it; `dfk audit` says whether they do.
Of each image the middle is kept, --crop pixels a side, beginning on the 8-pixel grid of JPEG;
nothing is resized. Images that are smaller are left out and named. Without --crop images stay
whole. All are then saved alike and without metadata: --format=jpeg:90 hides which images were once
a JPEG (quality 90, colours at half the resolution, 4:2:0), webp:90 likewise, png keeps pixels as
they are, and such traces with them.

OUT gets a CSV with image_id,label for each split of IN beside a folder of its images, for which
IN may have either layout, and with --group_by a column group (train with --group_by=group). OUT is
new or empty, and stays so until all is done. Exit code 1 if images cannot be read.

Examples:
  dfk prepare data/mine data/mine256 --crop=256 --format=jpeg:90
  dfk prepare data/mine data/grouped --crop=256 --format=png --group_by='prompt(\\d+)'
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from pathlib import Path

from dfk.commands.parser import Parser, data_set, positive
from dfk.errors import UsageError
from dfk.system.messages import keep_stderr, prepare_logging
from dfk.text import printable


def main(arguments: list[str]) -> int:
    """Writes a data set anew; returns 1 if some images cannot be read, else 0."""
    parser = Parser("prepare", __doc__)
    parser.add_argument(
        "data_dir", metavar="IN", type=data_set, help="a data set in either layout, or `demo`"
    )
    parser.add_argument("output_dir", type=Path, metavar="OUT", help="a folder, new or empty")
    parser.add_argument(
        "--crop", metavar="N", type=positive, default=0, help="pixels a side (default: whole)"
    )
    parser.add_argument(
        "--format", required=True, metavar="KIND", help="png, jpeg:QUALITY or webp:QUALITY"
    )
    parser.add_argument(
        "--group_by", default="", metavar="REGEX", help="what images share, or a column of CSVs"
    )
    options = parser.parse_args(arguments)
    keep_stderr()
    prepare_logging()

    from dfk.data import catalog, preparation
    from dfk.data.embedded import data_folder
    from dfk.data.problems import DataError, describe
    from dfk.system.progress import Bar

    try:
        file_format = preparation.read_format(options.format)
    except ValueError as error:
        raise UsageError(f"--format: {error}") from None
    source = data_folder(options.data_dir)
    data = catalog.read(source, options.group_by)
    missing = [problem for problem in data.problems if problem.skippable]
    if len(missing) < len(data.problems):
        raise DataError(data.problems)
    total = sum(map(len, data.splits.values()))
    with _new(options.output_dir, source):
        done, left_out = preparation.prepare(
            data,
            options.output_dir,
            crop=options.crop,
            format=file_format,
            progress=functools.partial(Bar, unit=" images", total=total),
        )
    print("\n".join(map(printable, [*_table(done), "", *_told(options, done, file_format)])))
    left_out = [*missing, *left_out]
    if left_out:
        said = f"dfk: left out {len(left_out)} images:\n{describe(left_out)}"
        print(said, file=sys.stderr)
    return 1 if missing or any(row.unreadable for row in done) else 0


@contextlib.contextmanager
def _new(folder: Path, source: Path):
    """Makes sure that `folder` is new or empty; it goes again if it was new and stays empty."""
    from dfk.system import files

    if folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{folder} lies in {source}, which is read; choose another OUT")
    is_new = not folder.exists()
    if not is_new and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; choose another OUT")
    folder.mkdir(parents=True, exist_ok=True)
    files.sweep(folder)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose another OUT, or empty it")
    try:
        yield
    finally:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def _table(done: list) -> list[str]:
    head = ("split", "class", "images", "saved", "cropped", "too small", "unreadable", "were")
    rows = [
        (
            *(row.split, row.label or "(no label)", row.images, row.saved, row.cropped),
            *(row.too_small, row.unreadable),
            ", ".join(f"{name} {count}" for name, count in row.formats.most_common()),
        )
        for row in done
    ]
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if 2 <= i < 7 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _told(options: argparse.Namespace, done: list, file_format) -> list[str]:
    saved = sum(row.saved for row in done)
    size = f"{options.crop} x {options.crop} pixels" if options.crop else "as large as they were"
    group = "; train with --group_by=group" if options.group_by else ""
    return [
        f"{saved} images in {options.output_dir}: {size}, {file_format.title}, no metadata{group}",
    ]
