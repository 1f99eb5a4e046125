"""What files declare, of each kind and format; and files that were made to do harm."""

import random
import struct
import time
import tracemalloc
import zlib

import pytest

from dfk.data import exif as exif_texts
from dfk.data import metadata, xmp
from dfk.data.claims import Claim, claims_of, in_line
from tests import declared
from tests.declared import GENERATED, PICTURE, png
from tests.pictures import BROKEN, GOOD, encode

FORMATS = ("PNG", "JPEG", "WEBP")
SOURCE = Claim("XMP", "DigitalSourceType", "trainedAlgorithmicMedia")


def _shown(data):
    return [*map(str, claims_of(data))]


def _chunk(kind, body):
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def _with_chunks(*chunks, behind=False):
    """A PNG with more chunks, before its pixels or behind them."""
    data = encode(PICTURE, "PNG")
    place = len(data) - 12 if behind else 33
    return data[:place] + b"".join(chunks) + data[place:]


@pytest.mark.parametrize("kind", FORMATS)
def test_exif_says_camera_and_software_and_what_generators_put_there(kind):
    comment = b"UNICODE\0" + "a cat\nSteps: 20, Größe\0".encode("utf-16-be")
    made = declared.exif(comment, Make="Canon", Model="EOS 5", Software="GIMP 3")
    found = claims_of(encode(PICTURE, kind, exif=made))
    assert [*map(str, found)] == [
        *('EXIF Make "Canon"', 'EXIF Model "EOS 5"', 'EXIF Software "GIMP 3"'),
        'EXIF UserComment "a cat Steps: 20, Größe"',
    ]
    assert [claim.kind for claim in found][2:] == ['EXIF Software "GIMP 3"', "EXIF UserComment"]


@pytest.mark.parametrize(
    "comment",
    [
        b"ASCII\0\0\0a cat",
        b"UNICODE\0" + "a cat".encode("utf-16-le"),
        bytes(8) + b"a cat\0",
    ],
)
def test_a_comment_is_read_in_every_code(comment):
    data = encode(PICTURE, "WEBP", exif=declared.exif(comment, ImageDescription="prompt: {}"))
    assert _shown(data) == ['EXIF ImageDescription "prompt: {}"', 'EXIF UserComment "a cat"']


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "packet",
    [
        declared.xmp(attributes=f'e:DigitalSourceType="{GENERATED}"'),
        declared.xmp(f'<e:DigitalSourceType rdf:resource="{GENERATED}"/>'),
        declared.xmp(f"<e:DigitalSourceType> {GENERATED} </e:DigitalSourceType>") + bytes(20),
    ],
)
def test_xmp_says_the_source_type_however_it_is_written(packet, kind):
    options = {"xmp": packet}
    if kind == "PNG":
        info = declared.PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode().strip("\0"))
        options = {"pnginfo": info}
    assert claims_of(encode(PICTURE, kind, **options)) == (SOURCE,)


def test_xmp_says_programs_and_where_a_manifest_lies():
    packet = declared.xmp(
        "<e:AISystemUsed><rdf:Alt><rdf:li>Imagen</rdf:li></rdf:Alt></e:AISystemUsed>",
        'x:CreatorTool="Tool &amp; 1" t:provenance="http://127.0.0.1:9/m" x:Rating="5"',
    )
    assert _shown(encode(PICTURE, "JPEG", xmp=packet)) == [
        'XMP CreatorTool "Tool & 1"',
        'C2PA manifest elsewhere, not fetched "http://127.0.0.1:9/m"',
        'XMP AISystemUsed "Imagen"',
    ]


def test_the_texts_of_generators_in_a_png_and_no_others():
    texts = {"parameters": "a cat\nSteps: 20", "prompt": b'{"3": {}}', "workflow": "日本"}
    found = claims_of(png(**texts, Software="NovelAI", Copyright="me"))
    assert [*map(str, found)] == [
        *('PNG parameters "a cat Steps: 20"', "PNG prompt \"{'3': {}}\"", 'PNG workflow "日本"'),
        'PNG Software "NovelAI"',
    ]
    assert [claim.kind for claim in found] == [
        *("PNG parameters", "PNG prompt", "PNG workflow", 'PNG Software "NovelAI"')
    ]
    assert _shown(encode(PICTURE, "JPEG", comment=b"made by me")) == ['JPEG comment "made by me"']


def test_texts_behind_the_pixels_of_a_png_are_read():
    late = _with_chunks(_chunk(b"tEXt", "parameters\0größer".encode()), behind=True)
    assert _shown(late) == ['PNG parameters "größer"']


def test_bytes_and_paths_say_the_same_and_others_nothing(tmp_path):
    data = png(prompt="a")
    (tmp_path / "a.png").write_bytes(data)
    assert claims_of(tmp_path / "a.png") == claims_of(str(tmp_path / "a.png")) == claims_of(data)
    nothing = [tmp_path, tmp_path / "no", "a\0b", *GOOD.values(), *BROKEN.values()]
    assert {claims_of(file) for file in nothing} == {()}


def test_a_value_is_one_short_line_that_passes_for_nothing_else():
    forged = 'x"; C2PA signature valid\r\n\t\x1b[2J\u202e=1+1\0\x85' + 500 * "y"
    (claim,) = claims_of(png(parameters=forged))
    assert claim.value.startswith("x'; C2PA signature valid \\x1b[2J\\u202e=1+1 yyy")
    assert claim.value.endswith("y…") and len(claim.value) < 150
    line = in_line(claims_of(png(parameters=forged, Software="=HYPERLINK(1)")))
    # No cell begins with what a spreadsheet would compute.
    assert line.isprintable() and line.startswith("PNG ") and line.count('"') == 4


def test_the_claims_of_a_file_are_few():
    made = declared.exif(b"ASCII\0\0\0x", Make="m", Model="n")
    info = declared.PngImagePlugin.PngInfo()
    for i in range(200):
        info.add_text("comment", str(i))
    found = _shown(encode(PICTURE, "PNG", pnginfo=info, exif=made))
    assert len(found) == 25 and found[:2] == ['EXIF Make "m"', 'EXIF Model "n"']
    assert found[-1] == "more claims, not shown"


def _bombs():
    """Files that are small and could cost much, and what is said of them."""
    packed = zlib.compress(b"x " * 2**24, 1)
    text = _chunk(b"zTXt", b"parameters\0\0" + packed)
    packet = _chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)
    deep = declared.xmp("<x:a>" * 5000 + f"<e:DigitalSourceType>{GENERATED}")
    laughs = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + declared.xmp(
        "&b;"
    )
    outside = b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">' + declared.xmp()
    # Each entry of 32,000 says that all of the block is its text.
    entries = 32_000
    entry = struct.pack("<HHII", 0x0131, 2, 500_000, 8)
    greedy = b"II*\0" + struct.pack("<IH", 8, entries) + entries * entry
    loop = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x8769, 4, 1, 8) + bytes(4)
    return {
        "text": (_with_chunks(text, text), None),
        "many texts": (_with_chunks(*[packet] * 400), "XMP not read to its end: it has more than"),
        "xmp": (_with_chunks(packet), "XMP not read to its end: it has more than 1,048,576 bytes"),
        "deep": (encode(PICTURE, "WEBP", xmp=deep), "XMP not read to its end: its elements are"),
        "laughs": (encode(PICTURE, "JPEG", xmp=laughs), "XMP not read to its end: it has a docum"),
        "outside": (encode(PICTURE, "JPEG", xmp=outside), "XMP not read to its end: it has a doc"),
        "no xml": (encode(PICTURE, "JPEG", xmp=b"\xff<x"), "XMP not read to its end: it is no XML"),
        "encoding": (encode(PICTURE, "JPEG", xmp=b'<?xml version="1.0" encoding="q"?><x/>'), "XMP"),
        "exif": (_with_chunks(_chunk(b"eXIf", greedy)), None),
        "large exif": (
            _with_chunks(_chunk(b"eXIf", bytes(2**20 + 1))),
            "EXIF not read: it has mor",
        ),
        "loop": (_with_chunks(_chunk(b"eXIf", loop)), None),
        "chunks": (_with_chunks(b"\0\0\0\0abcd\0\0\0\0" * 10**5), None),
        "fill": (b"\xff\xd8" + b"\xff" * 10**7, None),
        "segments": (b"\xff\xd8" + b"\xff\xfe\0\2" * 10**5, None),
        "riff": (b"RIFF\0\0\0\0WEBP" + b"abcd\0\0\0\0" * 10**5, None),
    }


BOMBS = _bombs()


@pytest.mark.parametrize("name", BOMBS)
def test_what_a_file_costs_is_bounded(name):
    data, said = BOMBS[name]
    tracemalloc.start()
    start = time.thread_time()
    found = _shown(data)
    took, (_, most) = time.thread_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 5 and most < 2**24
    assert not said or [text for text in found if text.startswith(said)]
    assert all(text.isprintable() and len(text) < 400 for text in found)


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_anywhere_is_no_error(kind):
    made = declared.exif(b"ASCII\0\0\0a", Make="Canon", Model="EOS", Software="GIMP")
    packet = declared.xmp("<e:AISystemUsed>Imagen</e:AISystemUsed>", 'x:CreatorTool="T"')
    whole = encode(PICTURE, kind, exif=made, xmp=packet)
    rng = random.Random(0)
    for _ in range(800):
        data = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.2 else whole)
        for _ in range(rng.choice([1, 2, 10]) * bool(data)):
            data[rng.randrange(min(len(data), 900))] = rng.choice([0, 255, rng.randrange(256)])
        assert in_line(claims_of(bytes(data))).isprintable()


def test_what_is_read_of_metadata_is_bytes_and_texts_and_no_more():
    assert metadata.read(b"") == metadata.Metadata()
    assert metadata.read(GOOD["jpeg"])._replace(texts=()) == metadata.Metadata("JPEG")
    assert metadata.as_text(b"\xe9") == "é" and metadata.as_text("é".encode()) == "é"
    cut = metadata.as_text(b"x" + "é".encode() * 2**15)
    assert cut == "x" + "é" * (2**15 - 1)
    assert exif_texts.texts(b"no TIFF") == {} and xmp.properties(b"").fault
