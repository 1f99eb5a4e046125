"""What a model was trained on, as its file carries it: sizes and formats of the images, how many.

A record is what JSON can hold, and no larger than the number of classes asks for:

- `sizes`: the least height and width, and the largest, [[H, W], [H, W]].
- `crop`: the side of the crops that it learned from; 0 for whole images.
- `formats`: for each class, in the order of the model's, how many files of each format there
  were: `{"PNG": 32}`. What a file is, its content says.
- `demo`: whether they were the simulated images that come with dfk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from dfk.data.catalog import Catalog
from dfk.system.progress import Bar

# As a record has it.
TrainedOn = Mapping[str, Any]

_MAGIC = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
    "GIF": b"GIF8",
    "BMP": b"BM",
    "WebP": b"RIFF",
}
FORMATS = tuple(_MAGIC)
_HEADER = 8  # Bytes; the longest of these


def format_of(content: bytes) -> str:
    """Which of `FORMATS` the content of a file that can be decoded is; "" of none."""
    return next((name for name, magic in _MAGIC.items() if content.startswith(magic)), "")


def record(data: Catalog, *, crop: int = 0, demo: bool = False) -> TrainedOn:
    """The record of a model that learns from train, and is tuned on the holdout.

    Args:
        data: with images.
        crop: the side of the crops that it learns from; 0 for whole images.
        demo: whether the data are the simulated images that come with dfk.
    """
    splits = [data.splits[name] for name in ("train", "holdout") if name in data.splits]
    formats = [Counter() for _ in data.class_names]
    sizes = set()
    total = sum(map(len, splits))
    with Bar(total=total, desc="formats", unit=" images", delay=2, leave=False) as bar:
        for split in splits:
            sizes |= {*split.shapes}
            for label, path in zip(split.labels, split.paths, strict=True):
                formats[label][_format_of_file(path)] += 1
                bar.update()
    return {
        "sizes": [_extreme(min, sizes), _extreme(max, sizes)],
        "crop": crop,
        "formats": [dict(sorted(counts.items())) for counts in formats],
        "demo": demo,
    }


def _format_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return format_of(file.read(_HEADER))


def joined(records: Sequence[TrainedOn | None]) -> TrainedOn | None:
    """The record of a model that is made of others; None where one of them has none.

    An image is like what it was trained on if one of them was trained on such.
    """
    if not records or None in records:
        return None
    least, largest = zip(*(record["sizes"] for record in records), strict=True)
    crops = [record["crop"] for record in records if record["crop"]]
    formats = zip(*(record["formats"] for record in records), strict=True)
    return {
        "sizes": [_extreme(min, least), _extreme(max, largest)],
        "crop": min(crops, default=0),
        # Their members learn from the same images, as a rule: none counts twice.
        "formats": [dict(reduce(or_, map(Counter, counts))) for counts in formats],
        "demo": any(record["demo"] for record in records),
    }


def _extreme(pick: Callable, sizes: Iterable[Sequence[int]]) -> list[int]:
    """The least, or the largest, height and width of sizes (H, W)."""
    return [pick(sides) for sides in zip(*sizes, strict=True)]
