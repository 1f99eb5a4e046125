"""A folder of images -> Catalog: ids, paths, labels, class names, splits.

Two layouts are read: Kaggle's (`train.csv` with `image_id,label` beside
`train/<image_id>.png`) and class folders (`train/<class>/*.png`). Whatever is
wrong is collected, so that a user sees all of it at once.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from dfk.data import class_names as naming
from dfk.data import groups
from dfk.data.decode import SUFFIXES
from dfk.errors import DfkError
from dfk.text import printable, valid

SPLITS = ("train", "validation", "test")
UNLABELLED = -1
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with the data: where, what, and whether skipping one image mends it."""

    where: str
    what: str
    skippable: bool = False

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.what}")


class DataError(DfkError, ValueError):
    """The data cannot be used; the message names every place (the first 20, and a count)."""

    def __init__(self, problems: Sequence[Problem]):
        super().__init__(*describe(problems).splitlines())
        self.problems = tuple(problems)


@dataclasses.dataclass(frozen=True)
class Split:
    """Images of one split, in the order of their source.

    Attributes:
        ids: N image ids, unique within the split.
        paths: N files.
        labels: int32 [N], an index into the catalog's class names or UNLABELLED.
        origins: N places that a message can name (`train.csv:17`, or a path).
        images: N decoded images, uint8 [H, W, 3]; None before they are decoded.
        groups: N names of what images share (a prompt, a video, a scene), by `group_by`; None
            without it.
    """

    ids: Sequence[str]
    paths: Sequence[Path]
    labels: np.ndarray
    origins: Sequence[str]
    images: Sequence[np.ndarray] | None = None
    groups: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Iterable[int]) -> Split:
        """The split that holds only `indices`, in their order."""
        indices = list(indices)
        pick = lambda values: [values[i] for i in indices]  # noqa: E731
        return Split(
            ids=pick(self.ids),
            paths=pick(self.paths),
            labels=self.labels[indices],
            origins=pick(self.origins),
            images=None if self.images is None else pick(self.images),
            groups=None if self.groups is None else pick(self.groups),
        )


@dataclasses.dataclass(frozen=True)
class Catalog:
    """What a data folder holds.

    Attributes:
        class_names: C names; numbers sort as numbers.
        splits: by name: `train`, `validation`, `test`, and `holdout` once it is set aside.
        problems: what was found wrong while reading; `images.load` raises them together
            with the images that cannot be decoded.
        fingerprint: SHA-256 over ids, labels and pixels, once decoded.
    """

    class_names: tuple[str, ...]
    splits: dict[str, Split]
    problems: tuple[Problem, ...] = ()
    fingerprint: str = ""


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Keeps Python from searching for cycles: among ever more rows, which have none.

    Each search passes over all of them (and over TensorFlow's objects), so the time would grow
    faster than the rows.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
def read(data_dir: str | Path, group_by: str = "") -> Catalog:
    """Reads a folder in either layout; no image is opened.

    Args:
        group_by: the name of a column of the CSVs, or a regular expression; see `groups`.

    Raises:
        DataError: if there is nothing to read. All else that is wrong is in `problems`.
        UsageError: if `group_by` is neither a column nor an expression that finds a group in
            every image to train or score on.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise DataError([Problem(str(data_dir), "no such folder; name one with --data_dir")])
    problems: list[Problem] = []
    if any(_csv(data_dir, s).is_file() for s in SPLITS):
        read_split = lambda split: _read_csv(data_dir, split, group_by, problems)  # noqa: E731
    else:
        read_split = lambda split: _read_folders(data_dir, split, problems)  # noqa: E731
    tables = {s: rows for s in SPLITS if (rows := read_split(s)) is not None}
    if not tables:
        raise DataError(
            problems
            or [
                Problem(
                    str(data_dir),
                    "holds neither train.csv, validation.csv or test.csv with image_id,label "
                    "beside folders of the same names, nor folders train/<class>/",
                )
            ]
        )
    known = next((rows for rows in tables.values() if rows), [])
    class_names = _sorted_classes({row.label for row in known if row.label})
    problems += [
        Problem(f"class {name!r}", f"its name {what}; rename the folder, or the label in the CSV")
        for name, what in naming.faults(class_names)
    ]
    splits = {name: _split(rows, class_names, problems) for name, rows in tables.items()}
    if group_by:
        named = groups.named(splits, group_by)
        splits = {
            name: dataclasses.replace(split, groups=named[name]) for name, split in splits.items()
        }
    return Catalog(class_names, splits, tuple(problems))


def describe(problems: Sequence[Problem]) -> str:
    """One line each for the first 20, and how many more there are."""
    lines = [str(problem) for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"... and {len(problems) - _SHOWN} more, {len(problems)} in all")
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class _Row:
    image_id: str
    path: Path
    label: str  # "" for an unlabelled image
    origin: str
    group: str | None = None  # Its cell in the column that images are grouped by


def _csv(data_dir: Path, split: str) -> Path:
    return data_dir / f"{split}.csv"


def _read_csv(
    data_dir: Path, split: str, group_by: str, problems: list[Problem]
) -> list[_Row] | None:
    source = _csv(data_dir, split)
    if not source.is_file():
        if (data_dir / split).is_dir():
            logging.warning("%s/ is left out: there is no %s.", split, source.name)
        return None
    files = list_images(data_dir / split)
    rows: list[_Row] = []
    seen: dict[str, int] = {}
    try:
        with open(source, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            if "image_id" not in header or ("label" not in header and split != "test"):
                columns = "image_id" if split == "test" else "image_id,label"
                problems.append(
                    Problem(f"{source.name}:1", f"the first line must name the columns {columns}")
                )
                return None
            lines = [
                (reader.line_num, dict(zip(header, map(str.strip, values), strict=False)))
                for values in reader
                if values
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        problems.append(Problem(source.name, f"cannot be read as CSV in UTF-8: {error}"))
        return None
    # A test split may have a column of labels without a label in it.
    labelled = split != "test" or any(cells.get("label") for _, cells in lines)
    for number, cells in lines:
        image_id, label = cells.get("image_id", ""), cells.get("label", "")
        origin = f"{source.name}:{number}"
        faults = _faults(image_id, label, labelled, seen, files, split)
        seen.setdefault(image_id, number)
        problems += [Problem(origin, what, skippable) for what, skippable in faults]
        if not faults:
            group = cells.get(group_by, "") if group_by in header else None
            rows.append(_Row(image_id, files[image_id][0], label, origin, group))
    if not seen:
        problems.append(Problem(source.name, "names no image"))
    unnamed = len(files.keys() - seen.keys())
    if unnamed:
        logging.warning("%s does not name %d images of %s/.", source.name, unnamed, split)
    return rows


def _faults(
    image_id: str,
    label: str,
    labelled: bool,
    seen: dict[str, int],
    files: dict[str, list[Path]],
    split: str,
) -> list[tuple[str, bool]]:
    """What is wrong with a line of a CSV: (message, whether skipping the image mends it)."""
    if not image_id:
        return [("the image_id is empty", False)]
    if image_id in seen:
        return [(f"image_id {image_id!r} is a duplicate of line {seen[image_id]}", False)]
    if image_id in (".", "..") or any(c in image_id for c in "/\\\0"):
        return [(f"image_id {image_id!r} is a path, it must be a name within {split}/", False)]
    faults = []
    if labelled and not label:
        faults.append((f"the label of {image_id!r} is empty", False))
    matches = files.get(image_id, [])
    if not matches:
        suffixes = "|".join(s[1:] for s in SUFFIXES)
        faults.append((f"there is no file {split}/{image_id}.{suffixes}", True))
    elif len(matches) > 1:
        names = ", ".join(path.name for path in matches)
        faults.append((f"several files are {image_id!r}: {names}", False))
    return faults


def list_images(folder: Path) -> dict[str, list[Path]]:
    """Image files right inside `folder` by their stem; one listing instead of a stat per id."""
    files: dict[str, list[Path]] = {}
    if folder.is_dir():
        for path, is_file in _listing(folder):
            if path.suffix.lower() in SUFFIXES and is_file:
                files.setdefault(path.stem, []).append(path)
    return files


def _listing(folder: Path) -> list[tuple[Path, bool]]:
    """What lies right inside a folder, by name, and whether each is a file."""
    # Names sort ten times as fast as paths, and the entries know what they are without a stat.
    with os.scandir(folder) as entries:
        listed = sorted((entry.name, entry.is_file()) for entry in entries)
    return [(folder / name, is_file) for name, is_file in listed]


def _read_folders(data_dir: Path, split: str, problems: list[Problem]) -> list[_Row] | None:
    root = data_dir / split
    if not root.is_dir():
        return None
    classes = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes and split == "test":  # Images nobody labelled
        return _folder_rows(root, "", data_dir)
    _warn_left_out(f"{split}/", {p.name for p in root.iterdir()} - {p.name for p in classes})
    rows: list[_Row] = []
    for folder in classes:
        images = _folder_rows(folder, folder.name, data_dir)
        if not images:
            problems.append(Problem(f"{split}/{folder.name}/", "the class has no image"))
        rows += images
    if not classes:
        problems.append(Problem(f"{split}/", "has no class folders"))
    return rows


def _folder_rows(folder: Path, label: str, data_dir: Path) -> list[_Row]:
    rows, others = [], set()
    for path, is_file in _listing(folder):
        if path.suffix.lower() in SUFFIXES and is_file:
            # With its class and suffix: two classes may use the same file names.
            image_id = f"{label}/{path.name}" if label else path.name
            rows.append(_Row(valid(image_id), path, label, str(path.relative_to(data_dir))))
        else:
            others.add(path.name)
    _warn_left_out(f"{folder.relative_to(data_dir)}/", others)
    return rows


def _warn_left_out(where: str, names: set[str]) -> None:
    if names:
        shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        logging.warning(
            "%s: left out %d entries, no images of a class: %s", where, len(names), shown
        )


def _split(rows: list[_Row], class_names: tuple[str, ...], problems: list[Problem]) -> Split:
    index = {name: i for i, name in enumerate(class_names)} | {"": UNLABELLED}
    known = [row for row in rows if row.label in index]
    for row in rows:
        if row.label not in index:
            names = ", ".join(class_names[:10]) + (", ..." if len(class_names) > 10 else "")
            problems.append(
                Problem(row.origin, f"label {row.label!r} is not one of train's: {names}")
            )
    return Split(
        ids=[row.image_id for row in known],
        paths=[row.path for row in known],
        labels=np.array([index[row.label] for row in known], np.int32),
        origins=[row.origin for row in known],
        groups=[row.group for row in known] if known and known[0].group is not None else None,
    )


def _sorted_classes(labels: set[str]) -> tuple[str, ...]:
    """Sorts numbers as numbers and names as text."""
    try:
        return tuple(sorted(sorted(labels), key=float))
    except ValueError:
        return tuple(sorted(labels))
