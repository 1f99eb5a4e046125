"""The two layouts of a data folder -> rows: tables beside folders of images, or class folders."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from dfk.data import entries, tables
from dfk.data.entries import Images, Kinds
from dfk.data.problems import DataError, Problem
from dfk.text import nfc, valid

SPLITS = ("train", "validation", "test")
# What else the folder or table of a split may be called, in any capitals.
_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_ID, _LABEL = "image_id", "label"


@dataclasses.dataclass(frozen=True)
class Row:
    """An image of a split: its id (in NFC), its file, its label, and where it is named.

    Attributes:
        label: in NFC; "" for an unlabelled image.
        group: its cell in the column that images are grouped by; None without one.
    """

    image_id: str
    path: Path
    label: str
    origin: str
    group: str | None = None


class Found(NamedTuple):
    """Where the splits of a data folder are, by their names."""

    tables: dict[str, Path]
    folders: dict[str, Path]


def split_named(name: str) -> str:
    """The split that a name means: `val` is `validation`; other names mean themselves."""
    return _NAMES.get(name.casefold(), name)


def find(data_dir: Path) -> Found:
    """Finds the folders and tables of the splits; what else lies there is named in a warning.

    Raises:
        DataError: if two tables or two folders mean the same split.
    """
    found, others = Found({}, {}), Kinds()
    problems = []
    for entry in entries.listed(data_dir):
        path = data_dir / entry.name
        is_folder = entries.is_folder(entry)
        is_table = not is_folder and path.suffix.lower() in tables.SUFFIXES
        split = _NAMES.get((path.stem if is_table else path.name).casefold())
        if not split or not (is_folder or is_table):
            others.add(entry.name)
            continue
        first = (found.folders if is_folder else found.tables).setdefault(split, path)
        if first != path:
            what = f"{first.name} and {path.name} both mean the {split} split; rename one of them"
            problems.append(Problem(str(data_dir), what))
    if problems:
        raise DataError(problems)
    if (found.tables or found.folders) and others:
        first = others.first()
        logging.warning("%s: left out %d entries, no splits: %s", data_dir, len(others), first)
    return found


def nothing(data_dir: Path) -> Problem:
    """Says of a folder without splits what is there, and what to do."""
    what = (
        "holds neither train.csv, validation.csv or test.csv with image_id,label "
        "beside folders of the same names, nor folders train/<class>/"
    )
    images = len(Images(data_dir).paths)
    inner = [entry for entry in entries.listed(data_dir) if entries.is_folder(entry)]
    classes = [x.name for x in inner if not entries.is_system(x.name) and Images(Path(x)).paths]
    if split_named(data_dir.name) in SPLITS and (images or classes):
        what = f"is a split, not what holds it; name the folder above: {data_dir.resolve().parent}"
    elif classes:
        names = ", ".join(classes[:3]) + ", ..." * (len(classes) > 3)
        what = f"holds class folders ({names}), but no split; move them into a folder train/"
    elif images:
        what = (
            f"holds {images} images, but no split; move them into train/<class>/, or into train/ "
            "beside a train.csv with image_id,label"
        )
    return Problem(str(data_dir), what)


def read(
    data_dir: Path, found: Found, group_by: str, problems: list[Problem]
) -> dict[str, list[Row]]:
    """The rows of each split that is there; what is wrong is added to `problems`."""
    if not found.tables:
        return {
            split: _folder_rows(data_dir, split, found.folders[split], problems)
            for split in SPLITS
            if split in found.folders
        }
    for split, folder in found.folders.items():
        if split not in found.tables:
            logging.warning("%s/ is left out: there is no %s.csv.", folder.name, folder.name)
    rows = {}
    for split in SPLITS:
        if source := found.tables.get(split):
            images = Images(found.folders.get(split, data_dir / split))
            some = _table_rows(split, source, images, group_by, problems)
            if some is not None:
                rows[split] = some
    return _spelled_alike(rows, problems)


def _table_rows(
    split: str, source: Path, images: Images, group_by: str, problems: list[Problem]
) -> list[Row] | None:
    fault = functools.partial(Problem, split=split)
    try:
        with tables.opened(source, [_ID]) as reader:
            header = [nfc(name.strip()) for name in next(reader, [])]
            if _ID not in header or (_LABEL not in header and split != "test"):
                columns = _ID if split == "test" else f"{_ID},{_LABEL}"
                what = f"the first line must name the columns {columns}"
                problems.append(fault(f"{source.name}:1", what))
                return None
            lines = [
                (reader.line_num, dict(zip(header, map(str.strip, values), strict=False)))
                for values in reader
                if values
            ]
    except (UnicodeError, csv.Error) as error:
        problems.append(fault(source.name, f"cannot be read as CSV in UTF-8: {error}"))
        return None
    if not lines:
        problems.append(fault(source.name, "names no image"))
    # A test split may have a column of labels without a label in it.
    labelled = split != "test" or any(_label(cells) for _, cells in lines)
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for number, cells in lines:
        image_id, label = nfc(cells.get(_ID, "")), _label(cells)
        origin = f"{source.name}:{number}"
        files = images.named(image_id)
        faults = _faults(image_id, files, images.folder.name, seen)
        if labelled and not label and all(skippable for _, skippable in faults):
            faults.insert(0, (f"the label of {image_id!r} is missing", False))
        seen.setdefault(files[0].name if files else image_id, number)
        problems += [fault(origin, what, skippable) for what, skippable in faults]
        if not faults:
            group = nfc(cells.get(group_by, "")) if group_by in header else None
            rows.append(Row(image_id, files[0], label, origin, group))
    unnamed = sum(path.name not in seen for path in images.paths)
    if unnamed:
        logging.warning(
            "%s does not name %d images of %s/.", source.name, unnamed, images.folder.name
        )
    _warn(f"{images.folder.name}/", images.others)
    return rows


def _label(cells: Mapping[str, str]) -> str:
    """The label of a line; what pandas writes for a missing number is none."""
    label = nfc(cells.get(_LABEL, ""))
    return "" if label.lower() == "nan" else label


def _faults(
    image_id: str, files: Sequence[Path], folder: str, seen: Mapping[str, int]
) -> list[tuple[str, bool]]:
    """What is wrong with the id of a line: (message, whether skipping the image mends it)."""
    if not image_id:
        return [("the image_id is empty", False)]
    if line := seen.get(files[0].name if files else image_id):
        return [(f"image_id {image_id!r} is a duplicate of line {line}", False)]
    if image_id in (".", "..") or any(c in image_id for c in "/\\\0"):
        return [(f"image_id {image_id!r} is a path, it must be a name within {folder}/", False)]
    if not files:
        return [(f"there is no image {folder}/{image_id} (.png, .jpg or another suffix)", True)]
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        return [(f"several files are {image_id!r}: {names}", False)]
    return []


def _spelled_alike(rows: dict[str, list[Row]], problems: list[Problem]) -> dict[str, list[Row]]:
    """Takes out the rows whose label is a number that others spell otherwise, as 1.0 and 1."""
    counts = Counter(row.label for some in rows.values() for row in some)
    spellings: dict[float, list[str]] = {}
    for label, _ in counts.most_common():
        with contextlib.suppress(ValueError):  # Python's numbers may hold _
            spellings.setdefault(float(label.replace("_", "?")), []).append(label)
    usual = {other: first for first, *others in spellings.values() for other in others}
    if not usual:
        return rows
    first = {row.label: row.origin for some in rows.values() for row in reversed(some)}
    for split, some in rows.items():
        for label, origin in ((r.label, r.origin) for r in some if r.label in usual):
            other = f"{usual[label]!r} ({first[usual[label]]})"
            what = f"label {label!r} is another spelling of {other}; write all alike"
            problems.append(Problem(origin, what, split=split))
    return {split: [r for r in some if r.label not in usual] for split, some in rows.items()}


def _folder_rows(data_dir: Path, split: str, root: Path, problems: list[Problem]) -> list[Row]:
    fault = functools.partial(Problem, split=split)
    inner = entries.listed(root)
    classes = {x.name for x in inner if entries.is_folder(x) and not entries.is_system(x.name)}
    if not classes:
        images = Images(root)
        if split == "test":  # Images nobody labelled
            return _rows_of(images, "", data_dir)
        there = f"{len(images.paths)} images and " if images.paths else ""
        what = (
            f"has {there}no class folders; sort the images into {root.name}/<class>/, or name "
            f"their labels in {root.name}.csv (image_id,label)"
        )
        problems.append(fault(f"{root.name}/", what))
        return []
    _warn(f"{root.name}/", Kinds(x.name for x in inner if x.name not in classes))
    rows: list[Row] = []
    folders: dict[str, str] = {}
    for name in sorted(classes):
        first = folders.setdefault(nfc(name), name)
        images = Images(root / name)
        if first != name:
            what = "its name is that of another folder, with accents written otherwise; join them"
            problems.append(fault(f"{root.name}/{name}/", what))
        elif not images.paths:
            problems.append(fault(f"{root.name}/{name}/", "the class has no image"))
        rows += _rows_of(images, nfc(name), data_dir)
    return rows


def _rows_of(images: Images, label: str, data_dir: Path) -> list[Row]:
    """The images of a folder, with its class and their suffix: two classes may use one name."""
    where = images.folder.relative_to(data_dir)
    _warn(f"{where}/", images.others)
    above = f"{label}/" if label else ""
    return [
        Row(valid(nfc(above + path.name)), path, label, str(where / path.name))
        for path in images.paths
    ]


def _warn(where: str, others: Kinds) -> None:
    if others:
        logging.warning(
            "%s: left out %d entries, no images of a class: %s", where, len(others), others.first()
        )
