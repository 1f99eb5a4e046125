"""Writes a model as a SavedModel that TensorFlow Serving loads: image bytes in, answers out.

MODEL is the folder of a finished run, a .keras file that dfk saved, or a model that comes with
dfk. Each call writes the next version, MODEL/saved_model/1, 2, ..., checked against the trained
model before it appears, with what a server reads beside it; MODEL/saved_model/README.md says how
to serve it.

--format=onnx|openvino|litert writes MODEL/onnx/1, ... for other runtimes (pip install
'dfk-keras[export]'), likewise checked. These take pixels, uint8 [N, H, W, 3], and hold class names
and thresholds as metadata; client.py beside them reads images and needs neither dfk nor TensorFlow.

--compact=FILE.keras writes no SavedModel but a .keras file of about half the size, whose weights
keep 11 significant bits: to be sent, or shipped.

Examples:
  dfk export runs/ensemble
  dfk export runs/ensemble --precision=mixed_bfloat16 --keep_versions=3
  dfk export runs/ensemble --format=onnx
  dfk export runs/ensemble --compact=ensemble.keras
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dfk import runs
from dfk.commands.parser import Parser, model, pairs, positive
from dfk.system.messages import prepare_logging
from dfk.text import printable


def main(arguments: list[str]) -> int:
    """Exports a model and prints where to, and how much its answers differ; returns 0."""
    options = _parse(arguments)
    prepare_logging()
    if options.compact:
        from dfk.export.compact import compact

        compact(options.model, options.compact, class_names=options.class_names)
        size = options.compact.stat().st_size
        print(printable(f"written  {options.compact}, {size / 1e6:.1f} MB"))
        return 0
    from dfk import export

    exported = export.export(
        options.model,
        options.output_dir,
        form=options.format,
        precision=options.precision,
        fold=not options.no_fold,
        keep_versions=options.keep_versions,
        max_pixels=int(options.max_megapixels * 1e6),
        class_names=options.class_names,
    )
    print(export.summary(exported))
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("export", __doc__)
    parser.add_argument(
        "model", metavar="MODEL", type=model, help="a run's folder, a .keras file, or unibuc"
    )
    parser.add_argument(
        "--output_dir", metavar="DIR", type=Path, help="of the versions (default: MODEL/FORMAT)"
    )
    parser.add_argument(
        "--format",
        choices=runs.FORMATS,
        default=runs.EXPORTS,
        help="what to write",
    )
    parser.add_argument(
        "--compact", type=Path, metavar="FILE", help="write a small .keras file instead"
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "mixed_bfloat16"],
        default="float32",
        help="mixed_bfloat16: convolutions in bfloat16; the answers stay float32",
    )
    parser.add_argument(
        "--keep_versions",
        metavar="N",
        type=positive,
        default=0,
        help="delete all but the newest N (default: none)",
    )
    parser.add_argument(
        "--no_fold",
        action="store_true",
        help="leave BatchNormalization beside the convolutions instead of inside them",
    )
    parser.add_argument(
        "--max_megapixels",
        metavar="X",
        type=float,
        default=0,
        help="largest image that is answered, at most 50 (default: what takes 4 GiB of memory)",
    )
    parser.add_argument(
        "--class_names",
        type=pairs,
        default={},
        metavar="CLASS:NAME,...",
        help="answer with other names of classes",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.max_megapixels <= 50 or 0 < options.max_megapixels < 1e-6:
        parser.error("--max_megapixels is more than 0 and at most 50")
    names = ("output_dir", "format", "precision", "keep_versions", "no_fold", "max_megapixels")
    given = [f"--{name}" for name in names if getattr(options, name) != parser.get_default(name)]
    if options.compact and given:
        parser.error(f"--compact writes no SavedModel: leave out {', '.join(given)}")
    return options
