"""Leaves a class out of what a model learns: its validation images play an unknown generator."""

from __future__ import annotations

import dataclasses

import numpy as np

from dfk.data.catalog import UNLABELLED, Catalog, Split
from dfk.errors import UsageError

SPLIT = "unknown"  # Of the catalog: validation images of the class that was left out


def check(catalog: Catalog, name: str) -> None:
    """Says, before any image is opened, whether a class can be left out.

    Raises:
        UsageError: if there is no such class, fewer than two would be left, or the data has a
            validation split without an image of it.
    """
    flag, names = f"--exclude_class={name}", catalog.class_names
    if name not in names:
        raise UsageError(f"{flag}: no such class; the data has {', '.join(names)}")
    if len(names) < 3:
        raise UsageError(f"{flag} leaves {len(names) - 1}; a classifier needs at least two classes")
    validation = catalog.splits.get("validation")
    if validation and names.index(name) not in validation.labels:
        raise UsageError(f"{flag}: validation has no image of it to play the unknown generator")


def leave_out(catalog: Catalog, name: str) -> Catalog:
    """Takes a class out of a catalog whose holdout is set aside, which stays what it was.

    Returns:
        The catalog of the other C - 1 classes. Images of the class are gone from train and
        holdout, those of validation are the split `unknown`, and those of test lose their label.

    Raises:
        ValueError: if there is no such class.
    """
    index = catalog.class_names.index(name)
    splits = {}
    for split_name, split in catalog.splits.items():
        excluded = split.labels == index
        if split_name == "test":
            splits[split_name] = _relabelled(split, index)
            continue
        splits[split_name] = _relabelled(split.take(np.flatnonzero(~excluded)), index)
        if split_name == "validation":
            splits[SPLIT] = _relabelled(split.take(np.flatnonzero(excluded)), index)
    class_names = tuple(other for other in catalog.class_names if other != name)
    return dataclasses.replace(catalog, class_names=class_names, splits=splits)


def _relabelled(split: Split, index: int) -> Split:
    """With indices into class names that lack the one at `index`."""
    labels = np.where(split.labels > index, split.labels - 1, split.labels)
    labels = np.where(split.labels == index, UNLABELLED, labels).astype(np.int32)
    return dataclasses.replace(split, labels=labels)
