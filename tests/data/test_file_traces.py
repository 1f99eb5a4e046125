"""What a file tells besides its pixels: settings and names, and no contents."""

import zlib

import pytest
from PIL import Image, PngImagePlugin

from dfk.data.file_traces import Traces, read
from tests.pictures import encode, noise

PICTURE = noise(30, 40)


def _exif():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "a secret make", "a model", "software"
    return exif


@pytest.mark.parametrize("quality", [1, 30, 49, 75, 92, 100])
@pytest.mark.parametrize(("code", "sampling"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_the_settings_of_a_jpeg(quality, code, sampling):
    found = read(encode(PICTURE, "JPEG", quality=quality, subsampling=code))
    assert (found.quality, found.exact, found.sampling, found.progressive) == (
        *(quality, True, sampling),
        False,
    )
    assert found.jpeg == f"{quality} {sampling}"


def test_other_tables_are_told_by_the_nearest_and_grey_has_no_sampling():
    table = [min(255, 2 + i // 2) for i in range(64)]
    found = read(encode(PICTURE, "JPEG", qtables=[table, table], progressive=True))
    assert found.jpeg == f"~{found.quality} 4:2:0 progressive" and 80 < found.quality < 95
    assert read(encode(Image.fromarray(PICTURE).convert("L"), "JPEG", quality=80)).jpeg == "80"


def test_names_of_metadata_and_no_contents():
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a secret prompt", zip=True)
    text.add_itxt("Comment", "x")
    text.add(b"caBX", b"who made it")
    png = read(
        encode(PICTURE, "PNG", pnginfo=text, exif=_exif(), icc_profile=b"profile", dpi=(72, 72))
    )
    names = {"exif", "icc_profile", "EXIF Make", "EXIF Model", "EXIF Software", "caBX", "pHYs"}
    assert names | {"text parameters", "text Comment"} <= set(png.metadata)
    jpeg = read(encode(PICTURE, "JPEG", exif=_exif(), comment=b"x", xmp=b"<x/>"))
    assert set(jpeg.metadata) == names - {"icc_profile", "caBX", "pHYs"} | {
        *("comment", "xmp", "jfif")
    }
    webp = read(encode(PICTURE, "WEBP", exif=_exif(), icc_profile=b"profile"))
    assert set(webp.metadata) == names - {"caBX", "pHYs"}
    assert "secret" not in repr((png, jpeg, webp))
    assert read(encode(PICTURE, "PNG")) == Traces("PNG", "RGB")


def test_text_behind_the_pixels_of_a_png_is_seen():
    data, body = encode(PICTURE, "PNG"), b"tEXt" + b"Software\0x"
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    assert read(data[:-12] + chunk + data[-12:]).metadata == ("text Software",)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff no", b"BM", encode(PICTURE, "PNG")[:30]])
def test_what_cannot_be_read_tells_nothing(data):
    assert read(data) == Traces()
