"""Which images train, and which are set aside to choose and to report on."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from dfk.data.catalog import Catalog, Split
from dfk.data.problems import DataError, Problem

HOLDOUT = 0.1  # Share of train that is set aside to choose things on.


def limit(catalog: Catalog, images: int) -> Catalog:
    """Keeps about `images` of each split, in equal shares per class, by the hash of the id."""
    splits = {}
    for name, split in catalog.splits.items():
        classes = _by_class(split)
        share = max(1, images // len(classes)) if classes else 0
        kept = sorted(i for indices in classes for i in indices[:share])
        splits[name] = split.take(kept)
    return dataclasses.replace(catalog, splits=splits)


def set_aside(catalog: Catalog) -> Catalog:
    """Sets aside the holdout: a tenth of train, stratified, by the SHA-256 of the image id.

    It is the same for every seed and every model. Where the data has no
    validation split, one is carved out of train first, the same way.
    Where images have groups, whole groups are set aside, by the SHA-256 of their names, in
    shares that are as near to a tenth of each class as they allow.

    Raises:
        DataError: if there is no labelled train split of two classes, or a class has too few
            images or groups.
    """
    if "train" not in catalog.splits:
        raise DataError([Problem("train", "there is no training split in this folder")])
    splits = dict(catalog.splits)
    carved = [name for name in ("validation", "holdout") if name not in splits]
    _check(splits["train"], catalog.class_names, 1 + len(carved))
    for overlap in overlaps(splits):
        logging.warning(str(overlap))
    for left, name in zip(reversed(range(1, 1 + len(carved))), carved, strict=True):
        splits["train"], splits[name] = _carve(splits["train"], catalog.class_names, left)
        if name == "validation":
            share = "a tenth of each class, " if splits[name].groups is None else ""
            logging.info(
                "No validation split: %d images of train, %sare kept for it.",
                len(splits[name]),
                share,
            )
        if splits[name].groups is not None:
            logging.info("%s", _shares(splits["train"], splits[name], name))
    return dataclasses.replace(catalog, splits=splits)


class Overlap(NamedTuple):
    """Groups that lie in two of the splits that the data has.

    Attributes:
        splits: the names of the two.
        groups: how many lie in both.
        images: how many images of the second split belong to them.
        of: how many images the second split has.
    """

    splits: tuple[str, str]
    groups: int
    images: int
    of: int

    def __str__(self) -> str:
        first, second = self.splits
        return (
            f"Groups that lie in both {first} and {second}: {self.groups}, with {self.images} of "
            f"the {self.of} images of {second}. Scores on them tell less of new images."
        )


def overlaps(splits: Mapping[str, Split]) -> list[Overlap]:
    """The groups that lie across given splits, for each two splits that share some."""
    grouped = {name: split.groups for name, split in splits.items() if split.groups is not None}
    found = []
    for pair in itertools.combinations(grouped, 2):
        first, second = (grouped[name] for name in pair)
        both = set(first) & set(second)
        images = sum(group in both for group in second)
        found.append(Overlap(pair, len(both), images, len(second)))
    return [overlap for overlap in found if overlap.groups]


def _check(train: Split, class_names: Sequence[str], needed: int) -> None:
    """Refuses fewer than two classes, or a class that cannot lie in `needed` splits."""
    counts = Counter(train.labels.tolist())
    problems = [
        Problem("train", f"class {name!r} has {counts[i]} images, it needs at least {needed}")
        for i, name in enumerate(class_names)
        if counts[i] < needed
    ]
    if len(class_names) < 2:
        problems.append(Problem("train", "a classifier needs at least two classes"))
    if not problems and train.groups is not None:
        groups = Counter(
            label for label, _ in set(zip(train.labels.tolist(), train.groups, strict=True))
        )
        problems = [
            Problem(
                "train",
                f"the images of class {name!r} lie in {groups[i]} groups, it needs at "
                f"least {needed}; group them by less",
            )
            for i, name in enumerate(class_names)
            if groups[i] < needed
        ]
    if problems:
        raise DataError(problems)


def _by_class(split: Split) -> list[list[int]]:
    """Indices of each class (the unlabelled are one), ordered by the SHA-256 of the id."""
    classes: dict[int, list[int]] = {}
    for i, label in enumerate(split.labels.tolist()):
        classes.setdefault(label, []).append(i)
    return [
        sorted(classes[label], key=lambda i: _digest(split.ids[i])) for label in sorted(classes)
    ]


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _carve(split: Split, class_names: Sequence[str], left: int) -> tuple[Split, Split]:
    """Splits off a tenth of each class, at least one image; returns (rest, carved).

    Args:
        left: of how many groups a class must keep images, at least.
    """
    if split.groups is None:
        return take_off(split, HOLDOUT)
    chosen = _groups_of(split, class_names, left)
    return _without(split, {i for i, group in enumerate(split.groups) if group in chosen})


def take_off(split: Split, share: float) -> tuple[Split, Split]:
    """Splits off a share of each class, at least one image, by the SHA-256 of the id.

    Returns:
        What is left, and what is split off.
    """
    taken = (indices[: _share(len(indices), share)] for indices in _by_class(split))
    return _without(split, set(itertools.chain(*taken)))


def _without(split: Split, carved: set[int]) -> tuple[Split, Split]:
    rest = [i for i in range(len(split)) if i not in carved]
    return split.take(rest), split.take(sorted(carved))


def _share(images: int, share: float = HOLDOUT) -> int:
    return max(1, round(share * images))


def _groups_of(split: Split, class_names: Sequence[str], left: int) -> set[str]:
    """The groups to set aside.

    Each in the order of their hashes that brings the numbers of all classes nearer to their
    shares; then, for a class of which there is no image yet, the one that does least harm.
    """
    names, of_image = np.unique(np.array(split.groups, object), return_inverse=True)
    counts = np.zeros((len(names), len(class_names)), int)
    np.add.at(counts, (of_image, split.labels), 1)
    missing = np.array([_share(images) for images in counts.sum(axis=0)])
    spare = (counts > 0).sum(axis=0) - left
    chosen = np.zeros(len(names), bool)

    def is_free(group: int) -> bool:
        return not chosen[group] and bool((spare >= (counts[group] > 0)).all())

    def off(group: int) -> int:
        return np.abs(missing - counts[group]).sum()

    def take(group: int) -> None:
        nonlocal missing, spare
        missing, spare = missing - counts[group], spare - (counts[group] > 0)
        chosen[group] = True

    order = sorted(range(len(names)), key=lambda group: _digest(names[group]))
    for group in order:
        if (missing <= 0).all():
            break
        if off(group) < np.abs(missing).sum() and is_free(group):
            take(group)
    for label, name in enumerate(class_names):
        if not counts[chosen, label].any():
            free = [group for group in order if counts[group, label] and is_free(group)]
            if not free:
                raise DataError([_indivisible(name)])
            take(min(free, key=off))
    return set(names[chosen])


def _indivisible(name: str) -> Problem:
    what = "lies in groups none of which can be set aside, for each would take all of a class"
    return Problem("train", f"class {name!r} {what}; group the images by less")


def _shares(rest: Split, carved: Split, name: str) -> str:
    """What was set aside: groups are never divided, so the shares of classes differ."""
    kept, counts = Counter(rest.labels.tolist()), Counter(carved.labels.tolist())
    shares = [counts[label] / (counts[label] + kept[label]) for label in counts]
    return (
        f"Set aside as {name}: {len(set(carved.groups))} of "
        f"{len(set(carved.groups)) + len(set(rest.groups))} groups, {len(carved)} images, "
        f"{min(shares):.0%} to {max(shares):.0%} of a class."
    )
