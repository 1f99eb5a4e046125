"""What an XMP packet says of where an image is from.

Parsed by expat, as it streams: no tree, no entity beyond XML's own five, nothing that is looked up
elsewhere. A packet has no document type; one that does is refused, for it could define entities.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.parsers import expat

from dfk.data.metadata import LARGEST, LONGEST_TEXT

_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_RESOURCE = "http://www.w3.org/1999/02/22-rdf-syntax-ns# resource"
PROVENANCE = "provenance"  # The address of a C2PA manifest that lies elsewhere
_WANTED = {
    f"{_IPTC} DigitalSourceType": "DigitalSourceType",
    f"{_IPTC} AISystemUsed": "AISystemUsed",
    f"{_IPTC} AIPromptInformation": "AIPromptInformation",
    "http://ns.adobe.com/photoshop/1.0/ Credit": "Credit",
    "http://ns.adobe.com/xap/1.0/ CreatorTool": "CreatorTool",
    "http://www.tc260.org.cn/ns/AIGC/1.0/ AIGC": "AIGC",  # The label that China asks for
    f"{_TIFF} Make": "Make",
    f"{_TIFF} Model": "Model",
    f"{_TIFF} Software": "Software",
    "http://purl.org/dc/terms/ provenance": PROVENANCE,
}
_DEEPEST, _MOST = 64, 64


class Found(NamedTuple):
    """Pairs of a property's name and its text, and why the rest was not read; "" if all was."""

    properties: list[tuple[str, str]]
    fault: str = ""


def properties(packet: bytes) -> Found:
    """The properties of a packet that are of interest, up to where it is damaged."""
    if len(packet) > LARGEST:
        return Found([], f"it has more than {LARGEST:,} bytes")
    reader = _Reader()
    try:
        reader.parser.Parse(packet.strip(b"\0 \t\r\n"), True)
    except _RefusedError as error:
        return Found(reader.found, str(error))
    except (expat.ExpatError, ValueError, LookupError):  # Of an encoding that nobody knows
        return Found(reader.found, "it is no XML, or damaged")
    return Found(reader.found)


class _RefusedError(Exception):
    pass


class _Reader:
    """What expat calls."""

    def __init__(self):
        self.found: list[tuple[str, str]] = []
        self._depth, self._text = 0, []
        self._within: tuple[str, int] | None = None  # What the text is of, and how deep that is
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _refuse(self, *_: object) -> None:
        raise _RefusedError("it has a document type, which might define entities")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(f"its elements are more than {_DEEPEST} deep")
        for key, value in attributes.items():
            self._add(key, value)
        if name in _WANTED and not self._within:
            self._within, self._text = (name, self._depth), []
            self._add(name, attributes.get(_RESOURCE, ""))

    def _end(self, name: str) -> None:
        if self._within == (name, self._depth):
            self._add(name, "".join(self._text))
            self._within = None
        self._depth -= 1

    def _characters(self, text: str) -> None:
        if self._within:
            self._text.append(text)

    def _add(self, key: str, text: str) -> None:
        text = text[:LONGEST_TEXT].strip()
        if key in _WANTED and text and len(self.found) < _MOST:
            self.found.append((_WANTED[key], text))
