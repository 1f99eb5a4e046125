"""What an image file declares of itself: who or what made it, in its metadata and its manifest.

Read are C2PA manifests (`dfk.data.c2pa_manifests`), XMP with IPTC's source type, EXIF, and the
texts in which generators keep their prompts, of JPEG, PNG and WebP. It is what somebody wrote
there. Whoever has a file can write anything into it, or leave it out: nothing of this takes part
in a model's answer, and it is always shown with the words of `CAUTION`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dfk.data import c2pa_manifests, exif, metadata, xmp
from dfk.data.inputs import content_of
from dfk.text import printable

CAUTION = "claims can be forged or stripped"
_LONGEST = 120  # Characters of a value that are shown
_MOST = 24  # Claims of a file
_BETWEEN = "; "
_SOURCE_TYPES = "://cv.iptc.org/newscodes/digitalsourcetype/"
# Of these, hardly any two images have the same.
_FREE_XMP = {"AIPromptInformation", "AIGC", xmp.PROVENANCE}
_FREE_EXIF = {"ImageDescription", "UserComment"}
# Keywords of generators' texts: of Stable Diffusion's pages, ComfyUI, InvokeAI, Fooocus, NovelAI,
# Midjourney, TensorArt; and where any program names itself.
_FREE_TEXTS = {
    *("parameters", "prompt", "negative_prompt", "workflow", "sd-metadata", "dream", "aigc"),
    *("invokeai_metadata", "invokeai_graph", "invokeai_workflow", "generation_data", "comment"),
    *("description", "author"),
}
_TEXTS = _FREE_TEXTS | {"software", "source", "title", "fooocus_scheme"}


class Claim(NamedTuple):
    """One thing that a file declares.

    Attributes:
        source: where: "C2PA", "XMP", "EXIF", "PNG", "JPEG".
        name: what, in words of dfk's or as the entry is called.
        value: what stands there: one printable line, at most 120 characters, without quotation
            marks; "" where the name says all, as of a signature.
        is_free: whether the value is of one image rather than of its maker, as a prompt is.
    """

    source: str
    name: str
    value: str = ""
    is_free: bool = False

    @property
    def kind(self) -> str:
        """What files of one origin share: the claim without a value that is free."""
        return str(self._replace(value="") if self.is_free else self)

    def __str__(self) -> str:
        """As it is shown; what others wrote is in quotation marks, and nothing else is."""
        quoted = f' "{self.value}"' if self.value else ""
        return f"{self.source} {self.name}{quoted}"


def claims_of(file: bytes | str | Path) -> tuple[Claim, ...]:
    """What a file declares; nothing where it is no JPEG, PNG or WebP, or cannot be read.

    What is damaged, too large or beyond what is installed is a claim that says so. Nothing is
    fetched, whatever a file refers to.

    Args:
        file: its bytes, or its path.
    """
    try:
        data = file if isinstance(file, bytes) else content_of(file)
    except (OSError, ValueError):
        return ()
    found = metadata.read(data)
    each = [*_of_c2pa(data, found), *_of_xmp(found), *_of_exif(found), *_of_texts(found)]
    once = tuple(dict.fromkeys(each))
    return once if len(once) <= _MOST else (*once[:_MOST], Claim("more", "claims, not shown"))


def in_line(claims: Iterable[Claim]) -> str:
    """All of them in one line; "" where there is none."""
    return _BETWEEN.join(map(str, claims))


def _claim(source: str, name: str, value: str, is_free: bool = False) -> Claim:
    # Without quotation marks, no value can pass for the end of one and another claim.
    value = value[: 8 * _LONGEST].translate({ord('"'): "'", 0: " "})
    value = " ".join(value.split())
    value = value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"
    return Claim(source, name, printable(value), is_free)


def _source_type(value: str) -> str:
    """IPTC's name of a digital source type, without the address of the list that it is in."""
    return value.partition(_SOURCE_TYPES)[2] or value


def _of_c2pa(data: bytes, found: metadata.Metadata) -> Iterator[Claim]:
    said = c2pa_manifests.read(data) if found.manifest else {}
    if why := said.get("unread"):
        yield Claim("C2PA", f"manifest, not read: {why}")
    elif why := said.get("error"):
        yield _claim("C2PA", "manifest, damaged", why)
    elif said:
        yield from (_claim("C2PA", "generator", text) for text in said["generator"])
        yield from (_claim("C2PA", "source type", _source_type(text)) for text in said["sources"])
        yield from (_claim("C2PA", "software agent", text) for text in said["agents"])
        yield from (_claim("C2PA", "signer", text) for text in said["signer"])
        yield from _of_signature(said)


def _of_signature(said: dict) -> Iterator[Claim]:
    if said["state"] == "Invalid":
        yield _claim("C2PA", "signature invalid", " ".join(said["fault"]))
    else:  # There is no list of signers who are to be trusted.
        yield Claim("C2PA", "signature valid, whoever the signer is")


def _of_xmp(found: metadata.Metadata) -> Iterator[Claim]:
    packet = xmp.properties(found.xmp) if found.xmp else xmp.Found([])
    for name, text in packet.properties:
        if name == xmp.PROVENANCE:
            yield _claim("C2PA", "manifest elsewhere, not fetched", text, is_free=True)
        else:
            yield _claim("XMP", name, _source_type(text), name in _FREE_XMP)
    if packet.fault:
        yield Claim("XMP", f"not read to its end: {packet.fault}")


def _of_exif(found: metadata.Metadata) -> Iterator[Claim]:
    if len(found.exif) > metadata.LARGEST:
        yield Claim("EXIF", f"not read: it has more than {metadata.LARGEST:,} bytes")
        return
    for name, text in exif.texts(found.exif).items():
        yield _claim("EXIF", name, text, name in _FREE_EXIF)


def _of_texts(found: metadata.Metadata) -> Iterator[Claim]:
    for keyword, text in found.texts:
        if keyword.lower() in _TEXTS and text.strip("\0 \r\n\t"):
            yield _claim(found.format, keyword, text, keyword.lower() in _FREE_TEXTS)
