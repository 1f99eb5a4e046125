"""Draws where a model looked: Grad-CAM over each image, as a PNG with label and confidence.

For an ensemble there is a panel for the whole and one for each member, with the weight that the
ensemble gave it on this image. MODEL is a run of a CNN or of an ensemble, or its .keras file. A
heat map shows what counted for the label; it does not prove that the label is right. Of a large
image, which a model answers by the mean of several crops, it is of the crop that speaks most for
the label: the column `part` and the picture say where it lies. The label is the whole image's.

The column `claims` has what the file declares of itself, as `dfk predict --claims` does: claims can
be forged or stripped, and neither label nor heat map depends on them.

Examples:
  dfk explain runs/ensemble photo.png
  dfk explain runs/ensemble photos/ --output_dir=explained
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from dfk.commands.parser import MODEL_HELP, Parser, model
from dfk.commands.summary import summary
from dfk.errors import ImageError
from dfk.runs import ownership
from dfk.system.files import csv_line
from dfk.system.messages import keep_stderr, prepare_logging
from dfk.text import file_name, shown, valid


def main(arguments: list[str]) -> int:
    """Writes a PNG per image and a row of CSV each; returns 1 if some cannot be read, else 0."""
    parser = Parser("explain", __doc__)
    parser.add_argument("model", metavar="MODEL", type=model, help=MODEL_HELP)
    parser.add_argument("images", metavar="IMAGE|DIR|CSV|-", nargs="+", help="as dfk predict")
    parser.add_argument(
        "--output_dir",
        metavar="DIR",
        type=Path,
        default=Path("explained"),
        help="where the pictures go",
    )
    options = parser.parse_args(arguments)
    keep_stderr()
    prepare_logging()

    from dfk import inference
    from dfk.data.claims import CAUTION
    from dfk.data.entries import Kinds
    from dfk.inference.explain import Explainer
    from dfk.system.progress import Bar

    ownership.refuse_others(options.output_dir, *ownership.PICTURES)
    explainer = Explainer(inference.load(options.model))
    _print("path", "label", "confidence", "picture", "error", "part", "claims")
    left_out, bad, count, claiming = Kinds(), Kinds(), 0, 0
    for source in Bar(_sources(options, left_out), desc="explain", unit=" images"):
        row = _row(explainer, source, options.output_dir, count)
        _print(source.name, *row)
        count += 1
        claiming += bool(row[-1])
        if row[3]:
            bad.add(source.name)
    if claiming:
        print(f"dfk: {claiming} of {count} images have claims; {CAUTION}", file=sys.stderr)
    return summary(count, len(bad), options.images, bad, left_out)


def _print(*cells: str) -> None:
    sys.stdout.write(csv_line([shown(cell, sys.stdout) for cell in cells]))


def _sources(options: argparse.Namespace, left_out) -> Iterator:
    """The images, without the pictures that this command writes among them."""
    from dfk.data import sources

    written = os.path.join(os.path.abspath(options.output_dir), "")
    for source in sources.find(options.images, left_out=left_out):
        if isinstance(source.image, bytes) or not os.path.abspath(source.image).startswith(written):
            yield source


def _row(explainer, source, folder: Path, number: int) -> tuple[str, ...]:
    """Label, confidence, picture, error, part and claims of an image; its picture is written."""
    from dfk.data.claims import claims_of, in_line
    from dfk.system.files import write_atomic

    try:
        explanation = explainer.explain(source.image)
    except ImageError as error:
        return "", "", "", str(error), "", ""
    path = folder / file_name(f"{number:04}-", Path(source.name).stem, ".png")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, _png(explanation.picture()))
    return (
        explanation.label,
        f"{explanation.confidence:.6f}",
        valid(str(path)),
        "",
        explanation.part,
        in_line(claims_of(source.image)),
    )


def _png(picture) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    marked, buffer = PngInfo(), io.BytesIO()
    marked.add_text("Software", ownership.PICTURE_MARK)
    picture.save(buffer, "PNG", pnginfo=marked)
    return buffer.getvalue()
