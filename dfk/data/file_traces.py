"""What an image file tells besides its pixels: format, mode, JPEG settings, names of metadata."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin

# What Pillow knows of any format; segments of a JPEG that it has no name for; a PNG's pixels.
_KNOWN = ("jfif", "adobe", "exif", "icc_profile", "xmp", "comment", "photoshop")
_NAMED_SEGMENTS = {"APP0", "APP1", "APP2", "APP13", "APP14", "COM"}
_PIXEL_CHUNKS = {"IHDR", "PLTE", "tRNS", "IDAT", "IEND"}
_TEXT_CHUNKS = {"tEXt", "zTXt", "iTXt"}
_SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_MOST_NAMES, _LONGEST_NAME = 40, 40


class Traces(NamedTuple):
    """What is told without looking at pixels.

    Attributes:
        format: as Pillow names it, "JPEG"; "" where Pillow cannot read the file.
        mode: Pillow's, "RGB".
        quality: 1..100, the one of libjpeg whose luminance table is nearest to a JPEG's; else 0.
        exact: whether it is that table.
        sampling: of a JPEG's colours, "4:2:0"; "" if there are none, or another one.
        progressive: whether a JPEG is.
        metadata: names, sorted, of what is there beside the pixels: `exif`, `icc_profile`, `xmp`,
            `EXIF Make`, of a PNG `text parameters` or the chunk, of a JPEG `APP11`. No contents.
    """

    format: str = ""
    mode: str = ""
    quality: int = 0
    exact: bool = False
    sampling: str = ""
    progressive: bool = False
    metadata: tuple[str, ...] = ()

    @property
    def jpeg(self) -> str:
        """The settings of a JPEG as one word or three, "90 4:2:0 progressive"; "" of others."""
        if not self.quality:
            return ""
        number = f"{self.quality}" if self.exact else f"~{self.quality}"
        return " ".join(filter(None, (number, self.sampling, "progressive" * self.progressive)))


def read(data: bytes) -> Traces:
    """Reads the header of an image file; nothing is decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            names = sorted({name[:_LONGEST_NAME] for name in _names(image, data)})
            plain = Traces(image.format, image.mode, metadata=tuple(names[:_MOST_NAMES]))
            if not isinstance(image, JpegImagePlugin.JpegImageFile):
                return plain
            quality, exact = _quality(image.quantization)
            return plain._replace(
                quality=quality,
                exact=exact,
                sampling=_SAMPLINGS.get(JpegImagePlugin.get_sampling(image), ""),
                progressive=bool(image.info.get("progressive")),
            )
    except Exception:  # Of damaged metadata Pillow raises what comes.
        return Traces()


def _names(image: Image.Image, data: bytes) -> Iterator[str]:
    yield from (name for name in _KNOWN if name in image.info)
    yield from (f"EXIF {ExifTags.TAGS.get(tag, tag)}" for tag in image.getexif())
    segments = {name for name, _ in getattr(image, "applist", ())}
    yield from segments - _NAMED_SEGMENTS
    if image.format == "PNG":
        yield from _chunks(data)


def _chunks(data: bytes) -> Iterator[str]:
    """The chunks of a PNG, before its pixels and behind them; those of text by their keyword."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        name = kind.decode("latin-1")
        if name in _TEXT_CHUNKS:
            keyword = data[at + 8 : at + 8 + min(length, _LONGEST_NAME)].partition(b"\0")[0]
            yield f"text {keyword.decode('latin-1')}"
        elif name not in _PIXEL_CHUNKS:
            yield name
        at += 12 + length


def _quality(tables: dict[int, list[int]]) -> tuple[int, bool]:
    """The quality whose luminance table is nearest, and whether it is the same."""
    away = np.abs(_tables() - np.array(tables[min(tables)])).sum(axis=1)
    return int(away.argmin()) + 1, bool(away.min() == 0)


@functools.cache
def _tables() -> np.ndarray:
    """The luminance tables of libjpeg for qualities 1..100, int [100, 64]."""
    tables = []
    for quality in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            tables.append(image.quantization[0])
    return np.array(tables)
