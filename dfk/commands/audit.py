"""Tells what in a data set will fool a classifier: before training, without a model.

Formats, sizes, modes, byte counts, JPEG settings and the names of metadata per class, and which
images were once a JPEG, whatever they are now; what files declare of themselves (C2PA, XMP, EXIF,
texts of generators: claims can be forged or stripped), by class; images that occur twice or look
alike, above all across splits; files that cannot be decoded; unbalanced classes; and a leakage
probe: how well all this predicts the label without the picture, which class gives itself away, and
the command that mends it (`dfk prepare`). With --group_by also groups (of one prompt, video or
scene) that lie in several splits. Exit code 1 if files cannot be read.

Examples:
  dfk audit demo
  dfk audit data/mine --output_dir=audit --group_by='^([^_]+)_'
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

from dfk.commands.parser import Parser, data_set
from dfk.runs import ownership
from dfk.system.messages import keep_stderr, prepare_logging
from dfk.text import printable

_SHOWN = 10


def main(arguments: list[str]) -> int:
    """Audits a folder; returns 1 if files of it cannot be read, else 0."""
    parser = Parser("audit", __doc__)
    parser.add_argument(
        "data_dir", metavar="DIR", type=data_set, help="a data set in either layout, or `demo`"
    )
    parser.add_argument(
        "--group_by", default="", metavar="REGEX|COLUMN", help="what images share: see `dfk train`"
    )
    parser.add_format("table", "json")
    parser.add_argument(
        "--output_dir", type=Path, metavar="DIR", help="write audit.json and audit.html there"
    )
    options = parser.parse_args(arguments)
    keep_stderr()
    prepare_logging()

    from dfk.data.audit import audit
    from dfk.data.embedded import data_folder
    from dfk.reports import audit_page
    from dfk.system.progress import Bar

    if options.output_dir:
        ownership.refuse_others(options.output_dir, *ownership.AUDIT)
    folder = data_folder(options.data_dir)
    bar = functools.partial(Bar, desc="audit", unit=" images")
    findings = audit(folder, group_by=options.group_by, progress=bar)
    if options.output_dir:
        audit_page.write(options.output_dir, findings)
    print(json.dumps(findings, indent=2) if options.format == "json" else _text(findings))
    return 1 if findings["unreadable"] or findings["problems"] else 0


def _text(findings: dict) -> str:
    from dfk.data.claims import CAUTION

    lines = [f"{findings['data_dir']}", ""]
    for split, counts in findings["images"].items():
        lines.append(f"{split:10}  {sum(counts.values())} images: {_counts(counts)}")
    for row in findings["classes"]:
        size = row["bytes"]
        lines += [
            "",
            f"class {row['class'] or '(no label)'}: {row['images']} images",
            f"  formats {_counts(row['formats'])}; modes {_counts(row['modes'])}",
            f"  sizes   {_counts(row['sizes'])}",
            f"  bytes   {size['min']} to {size['max']}, median {size['median']}",
            *([f"  JPEG    quality {_counts(row['jpeg'])}"] if row["jpeg"] else []),
            *([f"  beside  {_counts(row['metadata'])}"] if row["metadata"] else []),
            f"  pixels  {row['once_jpeg']['images']} of {row['images']} were once a JPEG",
        ]
    if findings["claims"]:
        lines += ["", f"declared by the files ({CAUTION}), images by class:"]
        lines += [f"  {claim}: {_counts(counts)}" for claim, counts in findings["claims"].items()]
    for kind, title in (("duplicates", "same pixels"), ("near_duplicates", "look alike")):
        pairs = findings[kind]
        lines += ["", f"{title}: {pairs['across']} pairs across splits, {pairs['within']} within"]
        lines += [f"  {a}  {b}" for a, b in pairs["pairs"][:_SHOWN]]
    if findings["leakage"]:
        lines += ["", *_leakage(findings["leakage"])]
    unreadable = [f"{row['path']}: {row['reason']}" for row in findings["unreadable"]]
    lines += ["", *(f"not readable: {what}" for what in [*unreadable, *findings["problems"]])]
    lines += [f"WARNING: {warning}" for warning in findings["warnings"]] or ["No warnings."]
    return "\n".join(map(printable, lines))


def _leakage(probe: dict) -> list[str]:
    low, high = probe["accuracy_ci95"]
    alone = ", ".join(f"{name} {value:.1%}" for name, value in probe["alone"].items())
    recall = sorted(probe["recall"].items(), key=lambda item: -item[1])
    return [
        f"leakage probe: without the picture {probe['accuracy']:.1%} of the labels are predicted "
        f"(95 % interval {low:.1%} to {high:.1%}; chance {probe['chance']:.1%})",
        f"  by one kind: {alone}",
        f"  of a class:  {', '.join(f'{name} {value:.1%}' for name, value in recall)}",
        f"  given away:  {', '.join(probe['given_away']) or 'no class'}",
    ]


def _counts(values: dict[str, int]) -> str:
    return ", ".join(f"{name or 'none'} {count}" for name, count in values.items())
