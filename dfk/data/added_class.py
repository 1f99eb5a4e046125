"""Images of classes that a finished model gets more: a few of each, in a folder of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from dfk.data import class_names as naming
from dfk.data import splits
from dfk.data.catalog import Catalog, Split, joined
from dfk.data.entries import Images
from dfk.data.problems import Problem
from dfk.errors import UsageError
from dfk.text import nfc, valid

LEAST, FEW = 5, 20  # Images of a class: fewer are refused; fewer are warned of
VALIDATION = 0.2  # Share of them that is kept to report on
SPLIT = "added"  # Of the catalog that `read` gives


def read(classes: Sequence[tuple[str, str]], known: Catalog) -> Catalog:
    """Finds the images of new classes; none is decoded.

    Args:
        classes: the name of each, and the folder with its images, right inside.
        known: the catalog of the classes that the model has, before it is divided.

    Returns:
        A catalog of the split `added`, whose labels count on from those of `known`. A file that
        is there twice, in the folders or in `known` too, is in `problems`, and only once, or
        not at all, in the split.

    Raises:
        UsageError: if no class can have a name, a folder is not there, or holds fewer than five
            images.
    """
    names = (*known.class_names, *(name for name, _ in classes))
    _check_names(known.class_names, names)
    paths, labels, origins, problems = [], [], [], []
    twins = _Twins(known)
    for label, (name, folder) in enumerate(classes, start=len(known.class_names)):
        found = _images_in(name, Path(folder))
        once = []
        for path in found:
            if twin := twins.of(path):
                what = f"is the same file as {twin}; leave one of them out"
                problems.append(Problem(str(path), what, skippable=True, split=SPLIT))
            else:
                once.append(path)
        paths += once
        labels += [label] * len(once)
        origins += map(str, once)
    ids = [valid(nfc(f"{names[k]}/{path.name}")) for k, path in zip(labels, paths, strict=True)]
    split = Split(ids, paths, np.array(labels, np.int32), origins)
    return Catalog(names, {SPLIT: split}, tuple(problems))


def join(known: Catalog, added: Catalog) -> Catalog:
    """The images of a model's classes, divided, and those of new ones, loaded.

    A fifth of each new class joins validation, by the hash of the id. All others join the holdout:
    there are too few of them to divide further, so what learns from them is to do so in folds.

    Raises:
        UsageError: if fewer than five images of a new class are left.
    """
    split = added.splits[SPLIT]
    for label in range(len(known.class_names), len(added.class_names)):
        _check_count(added.class_names[label], int((split.labels == label).sum()), "are left")
    rest, validation = splits.take_off(split, VALIDATION)
    parts = {
        **known.splits,
        "holdout": joined(known.splits["holdout"], rest),
        "validation": joined(known.splits["validation"], validation),
    }
    for label, name in enumerate(
        added.class_names[len(known.class_names) :], len(known.class_names)
    ):
        counts = [int((part.labels == label).sum()) for part in (rest, validation)]
        logging.info("Of %s, %d images are learned from in folds, %d validate.", name, *counts)
        if sum(counts) < FEW:
            logging.warning("These are few: of %d images or more, more is learned.", FEW)
    digest = hashlib.sha256((known.fingerprint + added.fingerprint).encode()).hexdigest()
    return Catalog(added.class_names, parts, known.problems + added.problems, digest)


def _check_names(known: Sequence[str], names: Sequence[str]) -> None:
    new = names[len(known) :]
    for i, name in enumerate(new):
        if name in (*known, *new[:i]):
            raise UsageError(
                f"--new_class={name}: there is such a class already; the model and its images "
                f"have {', '.join(known)}"
            )
    for name, what in naming.faults(names):
        raise UsageError(f"--new_class={name}: its name {what}")


def _images_in(name: str, folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"--new_class={name}: there is no folder {folder}")
    images = Images(folder)
    if images.others:
        logging.warning(
            "%s: left out %d entries, no images: %s",
            folder,
            len(images.others),
            images.others.first(),
        )
    _check_count(name, len(images.paths), f"are right inside {folder}")
    return images.paths


def _check_count(name: str, count: int, where: str) -> None:
    if count < LEAST:
        raise UsageError(
            f"--new_class={name}: {count} images {where}; {LEAST} are the least, {FEW} to 100 "
            "are better"
        )


class _Twins:
    """Files that are the same, byte by byte; only those of one length are read."""

    def __init__(self, known: Catalog):
        self._by_size: dict[int, list[Path]] = {}
        self._digests: dict[Path, bytes] = {}
        for split in known.splits.values():
            for path in split.paths:
                self._add(path)

    def of(self, path: Path) -> Path | None:
        """Another that is the same as a file, which from now on is one of them."""
        alike = self._by_size.get(_size(path), ())
        twin = next((x for x in alike if self._digest(x) == self._digest(path)), None)
        self._add(path)
        return twin

    def _add(self, path: Path) -> None:
        self._by_size.setdefault(_size(path), []).append(path)

    def _digest(self, path: Path) -> bytes:
        if path not in self._digests:
            try:
                self._digests[path] = hashlib.sha256(path.read_bytes()).digest()
            except OSError:  # That it cannot be read is told when it is decoded.
                self._digests[path] = str(path).encode()
        return self._digests[path]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
