"""What will fool a classifier before it fools its user: an audit of a data set's files."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from dfk.data import catalog, decode, leakage, splits
from dfk.data.catalog import DataError, Problem
from dfk.data.sources import text
from dfk.system import hardware

# Of the 64 bits of a perceptual hash, how many may differ between near-duplicates. On 1,250 images
# of 100 x 100, JPEG at quality 50 and a resize to 80 x 80 changed at most 2, cropping 2 pixels off
# each side at most 6 in 86 % of them; of their 780,625 pairs, none differed in 8 or less.
_NEAR = 6
_LISTED = 1000  # Pairs and files that are named; all are counted.
_BLOCK = 2**11
_IMBALANCE = 2.0  # The largest class to the smallest, from which on it is worth a word


@dataclasses.dataclass(frozen=True)
class File:
    """One image of a data set: where it is, and what can be told without looking at it."""

    split: str
    path: str
    label: str
    bytes: int = 0
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    digest: bytes = b""
    hash: int = 0
    error: str = ""


def audit(
    data_dir: Path,
    *,
    group_by: str = "",
    progress: Callable[[Iterable[File]], Iterable[File]] = iter,
) -> dict[str, Any]:
    """Audits all splits of a data set.

    Args:
        data_dir: a folder in either layout of `catalog.read`.
        group_by: what images share, as `catalog.read` takes it.
        progress: wraps the stream of files that were looked at, as `tqdm` does.

    Returns:
        What JSON can hold: `data_dir`; `images`, counts by split and class; `classes`, rows with
        the formats, sizes, modes and byte counts of each; `unreadable` and `problems`, with
        place and reason; `duplicates` (the same pixels) and `near_duplicates`, each with counts
        `within` and `across` splits, how many have `other_labels`, and up to 1,000 `pairs`,
        those across splits first; `leakage` as `leakage.probe` gives it, None if it cannot be
        probed; `groups`, those that lie in two splits, as `splits.Overlap` has them; and
        `warnings`, sentences.

    Raises:
        DataError: if there is no data set, or no image of it can be read.
        UsageError: as `catalog.read`.
    """
    data = catalog.read(data_dir, group_by)
    files = list(progress(_files(data)))
    readable = [file for file in files if not file.error]
    if not readable:
        raise DataError([*data.problems, *(Problem(f.path, f.error) for f in files)])
    overlaps = splits.overlaps(data.splits)
    findings = {
        "data_dir": text(os.fspath(data_dir)),
        "images": _counts(files, data.class_names),
        "classes": [_profile(name, readable) for name in _labels(readable)],
        "unreadable": [{"path": f.path, "reason": f.error} for f in files if f.error],
        "problems": [text(str(problem)) for problem in data.problems],
        "duplicates": _pairs(readable, _same(readable)),
        "near_duplicates": _pairs(readable, _near(readable)),
        "leakage": leakage.probe([file for file in readable if file.label]),
        "groups": [overlap._asdict() for overlap in overlaps],
    }
    return findings | {"warnings": _warnings(findings) + list(map(str, overlaps))}


def _files(data: catalog.Catalog) -> Iterable[File]:
    names = [*data.class_names, ""]
    rows = [
        (name, path, names[label])
        for name, split in data.splits.items()
        for path, label in zip(split.paths, split.labels, strict=True)
    ]
    with ThreadPoolExecutor(hardware.cores()) as pool:
        yield from pool.map(lambda row: _look(*row), rows)


def _look(split: str, path: Path, label: str) -> File:
    file = File(split, text(os.fspath(path)), label)
    try:
        data = path.read_bytes()
    except OSError as error:
        return dataclasses.replace(file, error=f"cannot be read: {error.strerror}")
    try:
        pixels = decode.decode(data).numpy()
    except decode.FAILURES:
        return dataclasses.replace(file, bytes=len(data), error=decode.reason(data))
    with Image.open(io.BytesIO(data)) as header:
        kind, mode = header.format or "", header.mode
    return dataclasses.replace(
        file,
        bytes=len(data),
        format=kind,
        mode=mode,
        height=pixels.shape[0],
        width=pixels.shape[1],
        digest=hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest(),
        hash=int(str(imagehash.phash(Image.fromarray(pixels))), 16),
    )


def _counts(files: Sequence[File], class_names: Sequence[str]) -> dict[str, dict[str, int]]:
    counts = Counter((file.split, file.label) for file in files)
    splits = list(dict.fromkeys(file.split for file in files))
    # Classes that a split lacks count 0; images without label are listed where there are some.
    return {
        split: {
            name: counts[split, name] for name in (*class_names, "") if name or counts[split, ""]
        }
        for split in splits
    }


def _labels(files: Sequence[File]) -> list[str]:
    return list(dict.fromkeys(sorted(file.label for file in files)))


def _profile(label: str, files: Sequence[File]) -> dict[str, Any]:
    """Formats, sizes, modes and bytes of a class, of all splits."""
    mine = [file for file in files if file.label == label]
    sizes = np.array([file.bytes for file in mine])
    return {
        "class": label,
        "images": len(mine),
        "formats": dict(Counter(file.format for file in mine).most_common()),
        "sizes": dict(Counter(f"{file.width}x{file.height}" for file in mine).most_common(10)),
        "modes": dict(Counter(file.mode for file in mine).most_common()),
        "bytes": {
            name: int(np.percentile(sizes, q))
            for name, q in (("min", 0), ("median", 50), ("max", 100))
        },
    }


def _same(files: Sequence[File]) -> list[tuple[int, int]]:
    """Pairs of indices of images with the same pixels: each with the first of its kind."""
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(file.digest, i), i) for i, file in enumerate(files)]
    return [(i, j) for i, j in pairs if i != j]


def _near(files: Sequence[File]) -> list[tuple[int, int]]:
    """Pairs of indices of images that look alike, of those with different pixels."""
    unique = list({file.digest: i for i, file in reversed(list(enumerate(files)))}.values())
    unique = np.array(sorted(unique))
    hashes = np.array([files[i].hash for i in unique], np.uint64)
    pairs = []
    for start in range(0, len(unique), _BLOCK):
        block = hashes[start : start + _BLOCK]
        distance = np.bitwise_count(block[:, None] ^ hashes[None, start:])
        rows, columns = np.nonzero(distance <= _NEAR)
        pairs += [(start + i, start + j) for i, j in zip(rows, columns, strict=True) if i < j]
    return [(int(unique[i]), int(unique[j])) for i, j in pairs]


def _pairs(files: Sequence[File], pairs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    across = [(i, j) for i, j in pairs if files[i].split != files[j].split]
    within = [(i, j) for i, j in pairs if files[i].split == files[j].split]
    labels = [{files[i].label, files[j].label} - {""} for i, j in pairs]
    return {
        "within": len(within),
        "across": len(across),
        "other_labels": sum(len(pair) > 1 for pair in labels),
        "pairs": [[files[i].path, files[j].path] for i, j in (across + within)[:_LISTED]],
    }


def _warnings(findings: dict[str, Any]) -> list[str]:
    warnings = []
    bad = len(findings["unreadable"])
    if bad or findings["problems"]:
        warnings.append(
            f"{bad} files cannot be decoded, {len(findings['problems'])} other problems."
        )
    for split, counts in findings["images"].items():
        classes = [count for name, count in counts.items() if name]
        if split != "test" and classes and max(classes) > _IMBALANCE * min(classes):
            warnings.append(
                f"The classes of {split} are unbalanced: {min(classes)} to {max(classes)} images."
            )
    for kind, what in (("duplicates", "have the same pixels"), ("near_duplicates", "look alike")):
        if findings[kind]["across"]:
            warnings.append(
                f"{findings[kind]['across']} pairs of images in different splits {what}: scores on "
                "them tell nothing of new images."
            )
        if findings[kind]["other_labels"]:
            warnings.append(
                f"{findings[kind]['other_labels']} pairs that {what} have different labels."
            )
    probe = findings["leakage"]
    if probe and probe["leaks"]:
        warnings.append(
            f"The files' metadata alone tell the label in {probe['accuracy']:.1%} of the images "
            f"(chance: {probe['chance']:.1%}): a classifier may learn them instead of the images. "
            "Save all images alike: same size, same format, same settings."
        )
    return warnings
