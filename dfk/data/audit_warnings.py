"""What an audit warns of, in sentences, and the command that mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dfk.data.claims import CAUTION

_IMBALANCE = 2.0  # The largest class to the smallest, from which on it is worth a word
# By how much classes differ in the share of images that were once a JPEG, or that declare a thing,
# to be told apart by it.
_APART = 0.5
_NAMED = 3  # Classes, or things that are declared


def of(findings: Mapping[str, Any]) -> list[str]:
    """Sentences on what `audit.audit` has found."""
    return [*_unusable(findings), *_unbalanced(findings), *_pairs(findings), *_leaks(findings)]


def _unusable(findings: Mapping[str, Any]) -> Iterator[str]:
    bad = len(findings["unreadable"])
    if bad or findings["problems"]:
        yield f"{bad} files cannot be decoded, {len(findings['problems'])} other problems."


def _unbalanced(findings: Mapping[str, Any]) -> Iterator[str]:
    for split, counts in findings["images"].items():
        classes = [count for name, count in counts.items() if name]
        if split != "test" and classes and max(classes) > _IMBALANCE * min(classes):
            yield f"The classes of {split} are unbalanced: {min(classes)} to {max(classes)} images."


def _pairs(findings: Mapping[str, Any]) -> Iterator[str]:
    for kind, what in (("duplicates", "have the same pixels"), ("near_duplicates", "look alike")):
        if across := findings[kind]["across"]:
            yield (
                f"{across} pairs of images in different splits {what}: scores on them tell nothing "
                "of new images."
            )
        if other := findings[kind]["other_labels"]:
            yield f"{other} pairs that {what} have different labels."


def _leaks(findings: Mapping[str, Any]) -> Iterator[str]:
    probe, classes = findings["leakage"], [row for row in findings["classes"] if row["class"]]
    told = []
    if probe and probe["leaks"]:
        told += _leak(probe, jpeg=all(row["jpeg"] for row in classes))
    shares = sorted((row["once_jpeg"]["share"], row["class"]) for row in classes)
    if shares and shares[-1][0] - shares[0][0] > _APART:
        (least, clean), (most, jpeg) = shares[0], shares[-1]
        told.append(
            f"{most:.0%} of the images of {jpeg} were once a JPEG, {least:.0%} of those of "
            f"{clean}: pixels keep that in a PNG, and others saved as JPEG look like that class."
        )
    if apart := _declared_apart(findings["claims"], classes):
        told.append(
            f"What files declare goes with their class: {'; '.join(apart[:_NAMED])}. So they come "
            f"from other tools, whose traces in pixels may be learned instead ({CAUTION})."
        )
    if told:
        yield " ".join([*told, f"Save all images alike: {findings['mend']}"])


def _declared_apart(
    claims: Mapping[str, Mapping[str, int]], classes: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The claims of most of a class that others lack, with both shares."""
    apart = []
    for claim, counts in claims.items():
        shares = sorted((counts[row["class"]] / row["images"], row["class"]) for row in classes)
        if shares and shares[-1][0] - shares[0][0] > _APART:
            (least, other), (most, name) = shares[0], shares[-1]
            apart.append(f"{claim} ({most:.0%} of {name}, {least:.0%} of {other})")
    return apart


def _leak(probe: Mapping[str, Any], jpeg: bool) -> Iterator[str]:
    recall, chance = probe["recall"], probe["chance"]
    first = sorted(probe["given_away"] or recall, key=lambda name: -recall[name])[:_NAMED]
    told = (
        f"the label of {probe['accuracy']:.1%} of the images (chance: {chance:.1%}), above all of "
        f"{', '.join(f'{name} ({recall[name]:.1%})' for name in first)}"
    )
    if any(right > chance for name, right in probe["alone"].items() if name != "bytes"):
        yield (
            "What is no picture in the files (metadata, and the grid that a JPEG leaves in pixels) "
            f"tells {told}: a classifier may learn that instead of the images."
        )
    elif not jpeg:  # Of JPEGs of the same settings, bytes are the pictures' own detail.
        yield (
            f"The number of bytes of a file alone tells {told}: files of other settings, or "
            "pictures of more detail. If they have been saved alike, it is the pictures."
        )


def mend(data_dir: str, classes: Sequence[Mapping[str, Any]], side: int) -> str:
    """The command that saves all images alike.

    Args:
        side: pixels that nearly all images have in height and width.
    """
    once = any(row["once_jpeg"]["images"] or set(row["formats"]) != {"PNG"} for row in classes)
    sizes = {size for row in classes for size in row["sizes"]}
    crop = [f"--crop={side // 8 * 8}"] if len(sizes) > 1 and side >= 8 else []
    target = f"{data_dir.rstrip('/')}-prepared"
    return shlex.join(
        ["dfk", "prepare", data_dir, target, *crop, f"--format={'jpeg:90' if once else 'png'}"]
    )
