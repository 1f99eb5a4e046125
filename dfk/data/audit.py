"""What will fool a classifier before it fools its user: an audit of a data set's files."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image

from dfk.data import audit_warnings, catalog, file_traces, headers, jpeg_grid, leakage, splits
from dfk.data.claims import claims_of
from dfk.data.file_traces import Traces
from dfk.data.jpeg_grid import Grid
from dfk.data.limits import Limits, Memory
from dfk.data.pixels import pixels_of
from dfk.data.problems import DataError, Problem
from dfk.data.sources import text
from dfk.system.threads import in_threads

# Of the 64 bits of a perceptual hash, how many may differ between near-duplicates. On 1,250 images
# of 100 x 100, JPEG at quality 50 and a resize to 80 x 80 changed at most 2, cropping 2 pixels off
# each side at most 6 in 86 % of them; of their 780,625 pairs, none differed in 8 or less.
_NEAR = 6
_LISTED = 1000  # Pairs and files that are named; all are counted.
_SHOWN = 10  # Formats, sizes, names of a class
_CLAIMS = 40  # Things that files declare
_EXAMPLES = 8  # Images of a class, for people to see
_BLOCK = 2**11
# Of memory for each pixel: decoded, hashed, and in Pillow's colours
_BYTES_PER_PIXEL = 16
_CUT = 0.05  # The share of a class that may be smaller than the crop that is proposed


@dataclasses.dataclass(frozen=True)
class File:
    """One image of a data set: where it is, and what it tells besides its picture."""

    split: str
    path: str
    label: str
    bytes: int = 0
    width: int = 0
    height: int = 0
    traces: Traces = Traces()  # noqa: RUF009 -- nobody changes them
    grid: Grid = Grid()  # noqa: RUF009
    claims: tuple[str, ...] = ()
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
        the paths of a few `examples`, the formats, sizes, modes and byte counts of each, the
        settings of its JPEGs (quality by their tables, subsampling), the names of its metadata, and
        how many images were `once_jpeg`, whatever they are now (`jpeg_grid`); `claims`, for each of
        the most frequent things that files declare how many images of each class do; `unreadable`
        and `problems`, with place and reason; `duplicates` (the same pixels) and `near_duplicates`,
        each with counts `within` and `across` splits, how many have `other_labels`, and up to 1,000
        `pairs`, those across splits first; `leakage` as `leakage.probe` gives it, None if it cannot
        be probed; `groups`, those that lie in two splits, as `splits.Overlap` has them; `mend`, the
        command that saves all images alike; and `warnings`, sentences.

    Raises:
        DataError: if there is no data set, or no image of it can be read.
        UsageError: as `catalog.read`.
    """
    data = catalog.read(data_dir, group_by)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # Of damaged metadata
        files = list(progress(_files(data)))
    readable = [file for file in files if not file.error]
    if not readable:
        raise DataError([*data.problems, *(Problem(f.path, f.error) for f in files)])
    place = text(os.fspath(data_dir))
    classes = [_profile(name, readable) for name in _labels(readable)]
    overlaps = splits.overlaps(data.splits)
    findings = {
        "data_dir": place,
        "images": _counts(files, data.class_names),
        "classes": classes,
        "claims": _claims(readable),
        "unreadable": [{"path": f.path, "reason": f.error} for f in files if f.error],
        "problems": [text(str(problem)) for problem in data.problems],
        "duplicates": _pairs(readable, _same(readable)),
        "near_duplicates": _pairs(readable, _near(readable)),
        "leakage": leakage.probe([file for file in readable if file.label]),
        "groups": [overlap._asdict() for overlap in overlaps],
        "mend": audit_warnings.mend(place, classes, _common_side(readable)),
    }
    return findings | {"warnings": audit_warnings.of(findings) + list(map(str, overlaps))}


def _files(data: catalog.Catalog) -> Iterable[File]:
    names = [*data.class_names, ""]
    rows = [
        (name, path, names[label])
        for name, split in data.splits.items()
        for path, label in zip(split.paths, split.labels, strict=True)
    ]
    yield from in_threads(
        lambda row: _look(*row), rows, lambda row: headers.bytes_of(row[1], _BYTES_PER_PIXEL)
    )


def _look(split: str, path: Path, label: str) -> File:
    file = File(split, text(os.fspath(path)), label)
    try:
        data = path.read_bytes()
    except OSError as error:
        return dataclasses.replace(file, error=f"cannot be read: {error.strerror}")
    pixels = pixels_of(data, limits=Limits(memory=Memory(_BYTES_PER_PIXEL)))
    if isinstance(pixels, str):
        return dataclasses.replace(file, bytes=len(data), error=pixels)
    return dataclasses.replace(
        file,
        bytes=len(data),
        height=pixels.shape[0],
        width=pixels.shape[1],
        traces=file_traces.read(data),
        grid=jpeg_grid.find(pixels),
        claims=tuple(dict.fromkeys(claim.kind for claim in claims_of(data))),
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
    """What the files of a class have beside pictures, of all splits."""
    mine = [file for file in files if file.label == label]
    sizes = np.array([file.bytes for file in mine])
    once_jpeg = sum(file.grid.found for file in mine)
    return {
        "class": label,
        "images": len(mine),
        "examples": [file.path for file in mine[:_EXAMPLES]],
        "formats": _most_frequent(file.traces.format for file in mine),
        "sizes": _most_frequent(f"{file.width}x{file.height}" for file in mine),
        "modes": _most_frequent(file.traces.mode for file in mine),
        "jpeg": _most_frequent(file.traces.jpeg for file in mine if file.traces.jpeg),
        "metadata": _most_frequent(name for file in mine for name in file.traces.metadata),
        "once_jpeg": {
            "images": once_jpeg,
            "share": once_jpeg / len(mine),
            "median_vote": float(np.median([file.grid.share for file in mine])),
        },
        "bytes": {
            name: int(np.percentile(sizes, q))
            for name, q in (("min", 0), ("median", 50), ("max", 100))
        },
    }


def _claims(files: Sequence[File]) -> dict[str, dict[str, int]]:
    """How many images of each class declare something, by what is declared."""
    counts = Counter((claim, file.label) for file in files for claim in file.claims)
    frequent = Counter(claim for file in files for claim in file.claims).most_common(_CLAIMS)
    labels = _labels(files)
    return {claim: {label: counts[claim, label] for label in labels} for claim, _ in frequent}


def _most_frequent(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common(_SHOWN))


def _common_side(files: Sequence[File]) -> int:
    """Pixels that nearly all images of each class have in height and width."""
    sides: dict[str, list[int]] = {}
    for file in files:
        sides.setdefault(file.label, []).append(min(file.height, file.width))
    return int(min(np.percentile(each, 100 * _CUT, method="lower") for each in sides.values()))


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
