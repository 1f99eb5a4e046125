"""A data set written anew: crops at their own resolution, all files saved alike."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dfk.data import headers
from dfk.data.catalog import Catalog, Split
from dfk.data.limits import Limits, Memory
from dfk.data.pixels import pixels_of
from dfk.data.problems import Problem
from dfk.errors import UsageError
from dfk.evaluation import degrade
from dfk.system import files
from dfk.system.threads import in_threads
from dfk.text import valid

# A JPEG's blocks; crops begin on their grid, so that those of a file that was one stay whole.
_BLOCK = 8
# Of memory for each pixel: decoded, cropped, encoded
_BYTES_PER_PIXEL = 12
_LONGEST_NAME = 250  # Bytes; the system takes 255 with the suffix.
GROUP = "group"  # The column of groups in what is written


class Format(NamedTuple):
    """How images are saved.

    Attributes:
        suffix: of the files, ".jpg".
        title: what it is, in words.
        encode: uint8 [H, W, 3] to the bytes of a file without metadata.
    """

    suffix: str
    title: str
    encode: Callable[[np.ndarray], bytes]


def read_format(text: str) -> Format:
    """`png`, `jpeg:QUALITY` (1..100, colours at half the resolution) or lossy `webp:QUALITY`.

    Raises:
        ValueError: if it is none of them.
    """
    kind, separator, number = text.partition(":")
    if text == "png":
        return Format(".png", "PNG", _png)
    quality = int(number) if separator and number.isdecimal() else 0
    if not 1 <= quality <= 100 or kind not in ("jpeg", "webp"):
        raise ValueError(f"{text!r} is none of png, jpeg:QUALITY and webp:QUALITY (1 to 100)")
    if kind == "webp":
        encode = functools.partial(degrade.to_webp, quality=quality)
        return Format(".webp", f"WebP of quality {quality}", encode)
    encode = functools.partial(degrade.to_jpeg, quality=quality)
    return Format(".jpg", f"JPEG of quality {quality} (4:2:0)", encode)


@dataclasses.dataclass
class Done:
    """What became of the images of a class in a split.

    Attributes:
        split: its name.
        label: the class; "" without labels.
        images: how many there were.
        cropped: how many of those that were saved were larger.
        formats: what those that were saved had been, "PNG" -> how many.
        too_small: how many were left out for having fewer pixels a side than the crop.
        unreadable: how many could not be read.
    """

    split: str
    label: str
    images: int = 0
    cropped: int = 0
    formats: Counter[str] = dataclasses.field(default_factory=Counter)
    too_small: int = 0
    unreadable: int = 0

    @property
    def saved(self) -> int:
        """How many images are in the new set."""
        return self.formats.total()


class _Outcome(NamedTuple):
    """What became of one image; with a `reason` it was left out."""

    reason: str = ""
    too_small: bool = False
    cropped: bool = False


def prepare(
    data: Catalog,
    folder: Path,
    *,
    crop: int = 0,
    format: Format,
    progress: Callable[..., Iterable] = lambda stream, desc: stream,
) -> tuple[list[Done], list[Problem]]:
    """Writes all splits of a data set as `<split>.csv` beside `<split>/<image_id><suffix>`.

    Nothing is resized: an image is cropped to its middle, which begins on the 8-pixel grid, or
    kept whole. Ids are the names of the files without suffix (with the class where two are alike),
    the CSVs have the columns `image_id`, `label` where there are labels, and `group` where images
    have groups.

    Args:
        folder: is there and empty. All of the set appears in it at once, the CSVs last.
        crop: pixels a side; images that have fewer are left out. 0 keeps images whole.
        format: see `read_format`.
        progress: wraps a stream with an item for each image, and is told its `desc`, as `tqdm`.

    Returns:
        A row for each class of each split, and the images that were left out.

    Raises:
        UsageError: if a class of a split would be empty for its images being too small.
    """
    if crop:
        _check_sizes(data, crop, progress)
    with (
        files.scratch(folder) as draft,
        # An interrupt waits for the images in work: they would be saved into what goes.
        contextlib.closing(
            in_threads(
                lambda job: _save(draft, crop, format, *job),
                _jobs(data),
                lambda job: headers.bytes_of(job[0], _BYTES_PER_PIXEL),
            )
        ) as saved,
    ):
        outcomes = iter(progress(saved, desc="saving"))
        done, left_out = [], []
        for name, split in data.splits.items():
            mine = [next(outcomes) for _ in range(len(split))]
            done += _counted(name, split, data.class_names, mine)
            left_out += [
                Problem(origin, outcome.reason, skippable=True)
                for origin, (_, outcome) in zip(split.origins, mine, strict=True)
                if outcome.reason
            ]
            kept = [i for i, (_, outcome) in enumerate(mine) if not outcome.reason]
            _write_csv(draft / f"{name}.csv", split, data.class_names, kept)
        for path in sorted(draft.iterdir(), key=lambda path: path.is_file()):
            os.rename(path, folder / path.name)
    return done, left_out


def _check_sizes(data: Catalog, crop: int, progress: Callable[..., Iterable]) -> None:
    """Refuses a crop that no image of a class has, before anything is decoded."""
    paths = [path for split in data.splits.values() for path in split.paths]
    sides = iter([min(x[1:]) for x in progress(in_threads(headers.read, paths), desc="looking")])
    least, refused = math.inf, []
    for name, split in data.splits.items():
        largest: Counter[int] = Counter()
        for label in split.labels.tolist():
            side = next(sides) or math.inf  # What has no header is named later.
            largest[label], least = max(largest[label], side), min(least, side)
        refused += [(name, label) for label, side in largest.items() if side < crop]
    if refused:
        name, label = refused[0]
        what = f"images of class {data.class_names[label]}" if label >= 0 else "images"
        raise UsageError(
            f"--crop={crop}: all {what} of {name} have fewer pixels a side; --crop={least} keeps "
            "every image of the set"
        )


def _jobs(data: Catalog) -> Iterator[tuple[Path, Path]]:
    """Each image, and where it goes, without suffix."""
    for name, split in data.splits.items():
        for path, image_id in zip(split.paths, _ids(split), strict=True):
            yield path, Path(name, image_id)


def _save(
    draft: Path, crop: int, format: Format, source: Path, place: Path
) -> tuple[str, _Outcome]:
    """Saves one image; returns the format that it had, and what became of it."""
    limits = Limits(memory=Memory(_BYTES_PER_PIXEL))
    kind = headers.read(source).format
    pixels = pixels_of(source, limits=limits)
    if isinstance(pixels, str):
        return kind, _Outcome(pixels)
    height, width, _ = pixels.shape
    if min(height, width) < crop:
        return kind, _Outcome(f"{width} x {height} pixels, --crop={crop}", too_small=True)
    if cropped := bool(crop) and (height, width) != (crop, crop):
        top, left = ((side - crop) // 2 // _BLOCK * _BLOCK for side in (height, width))
        pixels = np.ascontiguousarray(pixels[top : top + crop, left : left + crop])
    try:
        data = format.encode(pixels)
    except (OSError, ValueError) as error:  # As WebP has no images of more than 16,383 pixels
        return kind, _Outcome(f"cannot be saved as {format.title}: {error}")
    target = draft / place.with_name(place.name + format.suffix)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    return kind, _Outcome(cropped=cropped)


def _counted(
    name: str,
    split: Split,
    class_names: Sequence[str],
    outcomes: Sequence[tuple[str, _Outcome]],
) -> list[Done]:
    names = [*class_names, ""]
    rows = {label: Done(name, names[label]) for label in np.unique(split.labels).tolist()}
    for label, (kind, outcome) in zip(split.labels.tolist(), outcomes, strict=True):
        row = rows[label]
        row.images += 1
        row.too_small += outcome.too_small
        row.unreadable += bool(outcome.reason) and not outcome.too_small
        if not outcome.reason:
            row.cropped += outcome.cropped
            row.formats[kind or "?"] += 1
    return list(rows.values())


def _write_csv(path: Path, split: Split, class_names: Sequence[str], kept: Sequence[int]) -> None:
    columns = {"image_id": _ids(split)}
    if (split.labels >= 0).any():
        columns["label"] = [class_names[label] if label >= 0 else "" for label in split.labels]
    if split.groups is not None:
        columns[GROUP] = split.groups
    files.write_csv(path, [*columns], ([cells[i] for cells in columns.values()] for i in kept))


def _ids(split: Split) -> list[str]:
    """The names of the files without suffix, with the folder's and the suffix where need be."""
    for parts in (("stem",), ("parent", "stem"), ("parent", "stem", "suffix")):
        ids = [_name(path, parts) for path in split.paths]
        if len(set(ids)) == len(ids):
            return ids
    twice = next(i for i, count in Counter(ids).items() if count > 1)
    same = [str(p) for p, i in zip(split.paths, ids, strict=True) if i == twice]
    raise UsageError(f"{' and '.join(same[:2])} would have the same id; rename one")


def _name(path: Path, parts: Sequence[str]) -> str:
    """A name that a CSV and a file can have."""
    known = {"parent": path.parent.name, "stem": path.stem, "suffix": path.suffix[1:]}
    name = valid("-".join(known[part] for part in parts)).replace("\\", "_")
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore").strip()
    return name if name.strip(".") else f"_{name}"


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
