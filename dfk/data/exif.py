"""The texts of EXIF: of the few entries that say which camera or program an image is from."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dfk.data.metadata import LONGEST_TEXT, as_text

_TAGS = {0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software"}
_USER_COMMENT, _MORE = 0x9286, 0x8769
_WANTED = _TAGS | {_USER_COMMENT: "UserComment"}
_MOST_ENTRIES = 512  # Of a directory; the largest of cameras have 100.
_BYTES = (1, 2, 7, 129)  # Types whose values are bytes: byte, ASCII, undefined, UTF-8
_LONG = 4
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def texts(tiff: bytes) -> dict[str, str]:
    """The texts that are not empty, by the name of their entry; what is damaged is left out.

    Args:
        tiff: from its byte order on, as `dfk.data.metadata` finds it.
    """
    order = _ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return {}
    found, more = {}, []
    for tag, raw in _entries(tiff, struct.unpack_from(f"{order}I", tiff, 4)[0], order):
        if tag == _MORE:
            more.append(int.from_bytes(raw, "little" if order == "<" else "big"))
        else:
            found.setdefault(tag, raw)
    for tag, raw in _entries(tiff, more[0], order) if more else ():
        if tag != _MORE:  # A directory does not go on in itself.
            found.setdefault(tag, raw)
    named = {_WANTED[tag]: _text(tag, raw).strip() for tag, raw in found.items()}
    return {name: text for name, text in named.items() if text}


def _entries(tiff: bytes, at: int, order: str) -> Iterator[tuple[int, bytes]]:
    """The entries of a directory that are wanted, with the bytes of their values."""
    count = int.from_bytes(tiff[at : at + 2], "little" if order == "<" else "big")
    for number in range(min(count, _MOST_ENTRIES)):
        start = at + 2 + 12 * number
        if start + 12 > len(tiff):
            return
        tag, kind, length, place = struct.unpack_from(f"{order}HHII", tiff, start)
        if tag == _MORE and kind == _LONG:
            yield tag, tiff[start + 8 : start + 12]
        elif tag in _WANTED and kind in _BYTES:
            place = start + 8 if length <= 4 else place
            yield tag, tiff[place : place + min(length, LONGEST_TEXT)]


def _text(tag: int, raw: bytes) -> str:
    if tag != _USER_COMMENT:
        return as_text(raw.partition(b"\0")[0])
    code, raw = raw[:8], raw[8:]
    if code == b"UNICODE\0":
        # Programs write it in either order, whichever the rest of the file has.
        high, low = raw[::2].count(0), raw[1::2].count(0)
        return raw.decode("utf-16-be" if high >= low else "utf-16-le", "replace").strip("\0\ufffd")
    return as_text(raw.strip(b"\0")) if code in (b"ASCII\0\0\0", bytes(8)) else ""
