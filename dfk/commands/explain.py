"""Draws where a model looked: Grad-CAM over each image, as a PNG with label and confidence.

For an ensemble there is a panel for the whole and one for each member, with the weight that the
ensemble gave it on this image. MODEL is a run of a CNN or of an ensemble, or its .keras file. A
heat map shows what counted for the label; it does not prove that the label is right.

Examples:
  dfk explain runs/ensemble photo.png
  dfk explain runs/ensemble photos/ --output_dir=explained
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from dfk.commands.parser import MODEL_HELP, Parser
from dfk.errors import DfkError
from dfk.messages import keep_stderr, prepare_logging


def main(arguments: list[str]) -> int:
    """Writes a PNG per image and a row of CSV each; returns 1 if some cannot be read, else 0."""
    parser = Parser("explain", __doc__)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("images", metavar="IMAGE|DIR|CSV|-", nargs="+", help="as dfk predict")
    parser.add_argument("--output_dir", metavar="DIR", type=Path, default=Path("explained"))
    options = parser.parse_args(arguments)
    keep_stderr()
    prepare_logging()

    from dfk import inference
    from dfk.explain import Explainer
    from dfk.progress import Bar

    explainer = Explainer(inference.load(options.model))
    options.output_dir.mkdir(parents=True, exist_ok=True)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "label", "confidence", "picture", "error"])
    bad = count = 0
    for source in Bar(_found(options), desc="explain", unit=" images"):
        row = _row(explainer, source, options.output_dir, count)
        writer.writerow([source.name, *row])
        count, bad = count + 1, bad + bool(row[-1])
    if not count:
        raise DfkError(f"there is no image in {', '.join(options.images)}")
    if bad:
        print(
            f"dfk: {bad} of {count} images could not be read; their rows say why", file=sys.stderr
        )
    return 1 if bad else 0


def _found(options: argparse.Namespace) -> Iterator:
    """The images, without the pictures that this command writes among them."""
    from dfk.data import sources

    written = os.path.join(os.path.abspath(options.output_dir), "")
    for source in sources.find(options.images):
        if isinstance(source.image, bytes) or not os.path.abspath(source.image).startswith(written):
            yield source


def _row(explainer, source, folder: Path, number: int) -> tuple[str, str, str, str]:
    """Label, confidence, picture and error of one image; its picture is written."""
    from dfk.data.pixels import pixels_of
    from dfk.files import write_atomic

    pixels = pixels_of(source.image)
    try:
        if isinstance(pixels, str):
            raise ValueError(pixels)
        found = explainer.explain(pixels)
    except ValueError as error:
        return "", "", "", str(error)
    path = folder / f"{number:04}-{Path(source.name).stem[:100]}.png"
    buffer = io.BytesIO()
    found.picture().save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())
    return found.label, f"{found.confidence:.6f}", str(path), ""
