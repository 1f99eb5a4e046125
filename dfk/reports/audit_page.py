"""What an audit leaves: `audit.json`, and a page on which its images are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfk.data.claims import CAUTION
from dfk.reports import thumbnails
from dfk.reports.html import render
from dfk.system.files import write_atomic, write_json

PAIRS = 20  # That are seen, of each kind; of more the names are listed.
_SIDE = 112  # CSS pixels


def write(folder: Path, findings: Mapping[str, Any]) -> None:
    """Writes what `dfk.data.audit.audit` found; the images must still be there to be seen."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "audit.json", findings)
    examples = {row["class"] or "no label": _seen(row["examples"]) for row in findings["classes"]}
    kinds = (("The same pixels", "duplicates"), ("Alike (perceptual hash)", "near_duplicates"))
    alike = [
        (title, findings[kind], [_seen(pair) for pair in findings[kind]["pairs"][:PAIRS]])
        for title, kind in kinds
    ]
    page = render("audit.html.j2", caution=CAUTION, examples=examples, alike=alike, **findings)
    write_atomic(folder / "audit.html", page)


def _seen(paths: Sequence[str]) -> list[tuple[str, thumbnails.Thumbnail | None]]:
    return [(path, thumbnails.of_file(path, _SIDE)) for path in paths]
