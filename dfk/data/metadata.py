"""The metadata that lie beside the pixels of a JPEG, PNG or WebP: blocks of bytes and texts.

Nothing is decoded, and what a file can cost is bounded: so many blocks are walked, and so many
bytes of a block are read or decompressed. Pillow reads such blocks, too, but not those behind the
pixels of a PNG unless it decodes them; one compressed text that is too long has it refuse the file,
and of EXIF it copies what each of 65,535 entries says is its own.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

# Blocks of a file that are looked at. A PNG of 50 megapixels may have its pixels in 20,000.
_MOST_BLOCKS = 50_000
# Bytes of EXIF and of XMP; more is not read, and said to be there.
LARGEST = 2**20
# Bytes of a text; the rest is cut off, as most of it is before it is shown.
LONGEST_TEXT = 2**16
_MOST_TEXTS = 64
_FILL = re.compile(b"\xff*")
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_KEYWORD = "XML:com.adobe.xmp"
_APP1, _APP11, _COMMENT, _SCAN, _END = 0xE1, 0xEB, 0xFE, 0xDA, 0xD9
COMMENT = "comment"  # The keyword of a JPEG's comment among texts


class Metadata(NamedTuple):
    """What there is of each kind, of several blocks of a kind the first.

    Attributes:
        format: "JPEG", "PNG" or "WEBP"; "" of others, of which nothing is read.
        exif: a TIFF, from its byte order on.
        xmp: an XML document.
        texts: pairs of a keyword and a text, of a PNG; of a JPEG its comment.
        manifest: bytes that may be of a C2PA manifest (JUMBF).
    """

    format: str = ""
    exif: bytes = b""
    xmp: bytes = b""
    texts: tuple[tuple[str, str], ...] = ()
    manifest: int = 0


# Of what kind a block is, and where its bytes begin and end. A tuple: there may be many.
_Block = tuple[bytes | int, int, int]


def read(data: bytes) -> Metadata:
    """The metadata of a file, damaged or not; EXIF and XMP are cut behind `LARGEST` bytes."""
    if data.startswith(b"\xff\xd8"):
        return _of_jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _of_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _of_webp(data)
    return Metadata()


def _of_jpeg(data: bytes) -> Metadata:
    found, texts = Metadata("JPEG"), []
    for kind, start, end in _segments(data):
        if kind == _APP1 and data.startswith(_EXIF, start, end):
            found = found._replace(exif=found.exif or data[start + len(_EXIF) : end])
        elif kind == _APP1 and data.startswith(_XMP, start, end):
            found = found._replace(xmp=found.xmp or data[start + len(_XMP) : end])
        elif kind == _APP11 and data.startswith(b"JP", start, end):
            found = found._replace(manifest=found.manifest + end - start)
        elif kind == _COMMENT and len(texts) < _MOST_TEXTS:
            texts.append((COMMENT, as_text(data[start:end])))
    return found._replace(texts=tuple(texts))


def _of_png(data: bytes) -> Metadata:
    found, texts, left = Metadata("PNG"), [], _MOST_TEXTS
    for kind, start, end in _chunks(data, 8, ">I4s", behind=4):
        if kind == b"eXIf":
            found = found._replace(exif=found.exif or _cut(data, start, end))
        elif kind == b"caBX":
            found = found._replace(manifest=found.manifest + end - start)
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and left:
            left -= 1
            keyword, text = _png_text(kind, data[start : min(end, start + LARGEST + 1)])
            if keyword == _XMP_KEYWORD:
                found = found._replace(xmp=found.xmp or text)
            else:
                texts.append((keyword, _decoded(kind, text[:LONGEST_TEXT])))
    return found._replace(texts=tuple(texts))


def _of_webp(data: bytes) -> Metadata:
    found = Metadata("WEBP")
    for kind, start, end in _chunks(data, 12, "<4sI", behind=0):
        if kind == b"EXIF":
            start += len(_EXIF) * data.startswith(_EXIF, start, end)
            found = found._replace(exif=found.exif or _cut(data, start, end))
        elif kind == b"XMP ":
            found = found._replace(xmp=found.xmp or _cut(data, start, end))
        elif kind == b"C2PA":
            found = found._replace(manifest=found.manifest + end - start)
    return found


def _segments(data: bytes) -> Iterator[_Block]:
    """The segments of a JPEG before its pixels."""
    at = 2
    for _ in range(_MOST_BLOCKS):
        begun = _FILL.match(data, at).end()
        kind, length = data[begun : begun + 1], int.from_bytes(data[begun + 1 : begun + 3], "big")
        if begun == at or not kind or kind[0] in (_SCAN, _END) or length < 2:
            return
        yield kind[0], begun + 3, min(begun + 1 + length, len(data))
        at = begun + 1 + length


def _chunks(data: bytes, at: int, head: str, behind: int) -> Iterator[_Block]:
    """The chunks of a PNG (with a checksum `behind`), or of a RIFF (filled up to even lengths)."""
    for _ in range(_MOST_BLOCKS):
        if at + 8 > len(data):
            return
        first, second = struct.unpack_from(head, data, at)
        kind, length = (first, second) if isinstance(first, bytes) else (second, first)
        yield kind, at + 8, min(at + 8 + length, len(data))
        at += 8 + length + (behind or length % 2)


def _cut(data: bytes, start: int, end: int) -> bytes:
    return data[start : min(end, start + LARGEST + 1)]


def _png_text(kind: bytes, body: bytes) -> tuple[str, bytes]:
    """Keyword and text of a chunk, decompressed as far as it is read."""
    keyword, _, text = body.partition(b"\0")
    is_packed = kind == b"zTXt"
    if kind == b"iTXt":
        is_packed = text[:1] == b"\1"
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]  # Language, keyword in it
    elif is_packed:
        text = text[1:]
    if is_packed:
        try:
            text = zlib.decompressobj().decompress(text, LARGEST + 1)
        except zlib.error:
            text = b""
    return keyword[:80].decode("latin-1"), text


def _decoded(kind: bytes, text: bytes) -> str:
    # Generators write UTF-8 where the PNG's specification asks for Latin-1, too.
    return text.decode(errors="replace") if kind == b"iTXt" else as_text(text)


def as_text(raw: bytes) -> str:
    """Bytes of a text whose encoding nobody named: UTF-8, else Latin-1; cut at `LONGEST_TEXT`."""
    raw = raw[:LONGEST_TEXT]
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        # What is cut within a character is still UTF-8.
        is_cut = len(raw) == LONGEST_TEXT and error.start > LONGEST_TEXT - 4
        return raw[: error.start].decode() if is_cut else raw.decode("latin-1")
