"""A folder of images -> Catalog: ids, paths, labels, class names, splits.

Two layouts are read: Kaggle's (`train.csv` with `image_id,label` beside
`train/<image_id>.png`) and class folders (`train/<class>/*.png`). `val`, `valid`
and `dev` mean validation, in any capitals. Whatever is wrong is collected, so
that a user sees all of it at once; what is left out is named in a warning.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dfk.data import class_names as naming
from dfk.data import groups, layouts, stored
from dfk.data.layouts import Row
from dfk.data.problems import DataError, Problem
from dfk.errors import UsageError
from dfk.text import nfc

UNLABELLED = -1


@dataclasses.dataclass(frozen=True)
class Split:
    """Images of one split, in the order of their source.

    Attributes:
        ids: N image ids, unique within the split, in Unicode's NFC.
        paths: N files.
        labels: int32 [N], an index into the catalog's class names or UNLABELLED.
        origins: N places that a message can name (`train.csv:17`, or a path).
        images: N images, uint8 [H, W, 3], perhaps decoded when they are looked at
            (`stored.Images`); None before they are loaded.
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
            images=None if self.images is None else stored.take(self.images, indices),
            groups=None if self.groups is None else pick(self.groups),
        )

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(H, W) of each image; none is decoded for it."""
        return stored.shapes_of(self.images)


def joined(*splits: Split) -> Split:
    """One split of several that have images; it has groups if all have."""
    grouped = all(split.groups is not None for split in splits)
    return Split(
        ids=[name for split in splits for name in split.ids],
        paths=[path for split in splits for path in split.paths],
        labels=np.concatenate([split.labels for split in splits]),
        origins=[origin for split in splits for origin in split.origins],
        images=stored.Images([x for split in splits for x in stored.kept_of(split.images)]),
        groups=[name for split in splits for name in split.groups] if grouped else None,
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
        outliers: the same of the images of no class that training is shown; "" without any.
    """

    class_names: tuple[str, ...]
    splits: dict[str, Split]
    problems: tuple[Problem, ...] = ()
    fingerprint: str = ""
    outliers: str = ""


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
        group_by: the name of a column of the CSVs, or a regular expression; see `groups`. It is
            compared, and searched, in NFC.

    Raises:
        DataError: if there is nothing to read. All else that is wrong is in `problems`.
        UsageError: if there is no such folder, or `group_by` is neither a column nor an expression
            that finds a group in every image to train or score on.
    """
    data_dir, group_by = Path(data_dir), nfc(group_by)
    if not data_dir.is_dir():
        raise UsageError(f"{data_dir}: no such folder; name one with --data_dir")
    problems: list[Problem] = []
    found = layouts.find(data_dir)
    tables = layouts.read(data_dir, found, group_by, problems)
    if not tables:
        raise DataError(problems or [layouts.nothing(data_dir)])
    known = next((rows for rows in tables.values() if rows), [])
    class_names = _sorted_classes({row.label for row in known if row.label})
    problems += [
        Problem(f"class {name!r}", f"its name {what}; rename the folder, or the label in the CSV")
        for name, what in naming.faults(class_names)
    ]
    splits = {name: _split(name, rows, class_names, problems) for name, rows in tables.items()}
    if group_by:
        named = groups.named(splits, group_by)
        splits = {
            name: dataclasses.replace(split, groups=named[name]) for name, split in splits.items()
        }
    return Catalog(class_names, splits, tuple(problems))


def _split(
    name: str, rows: list[Row], class_names: tuple[str, ...], problems: list[Problem]
) -> Split:
    index = {name: i for i, name in enumerate(class_names)} | {"": UNLABELLED}
    known = [row for row in rows if row.label in index]
    for row in rows:
        if row.label not in index:
            names = ", ".join(class_names[:10]) + (", ..." if len(class_names) > 10 else "")
            what = f"label {row.label!r} is not one of train's: {names}"
            problems.append(Problem(row.origin, what, split=name))
    return Split(
        ids=[row.image_id for row in known],
        paths=[row.path for row in known],
        labels=np.array([index[row.label] for row in known], np.int32),
        origins=[row.origin for row in known],
        groups=[row.group for row in known] if known and known[0].group is not None else None,
    )


def _sorted_classes(labels: set[str]) -> tuple[str, ...]:
    """Sorts numbers as numbers and names as text."""
    with contextlib.suppress(ValueError):
        if not any(math.isnan(float(label)) for label in labels):  # It has no place among them.
            return tuple(sorted(sorted(labels), key=float))
    return tuple(sorted(labels))
