"""Files that nobody has looked at: whatever may lie in a folder of images, made in the test."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 24


def picture(seed=0, size=SIZE) -> Image.Image:
    """An RGB image, smooth with some noise."""
    rng = np.random.default_rng(seed)
    slope = np.add.outer(np.arange(size), 2 * np.arange(size))[..., None] + [0, 40, 90]
    return Image.fromarray((slope + rng.integers(0, 30, (size, size, 3))).astype(np.uint8))


def encode(image, kind, **options) -> bytes:
    """An image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, depth=8, colour=2, pixels=b"") -> bytes:
    """A PNG by hand, with any header; colours: 0 grey, 2 RGB."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def good() -> dict[str, bytes]:
    """Names to contents that every dfk model of a fixed size must answer."""
    rgb, rgba = picture(), picture().convert("RGBA")
    rgba.putalpha(100)
    palette, frames = rgb.quantize(16), [picture(1), picture(2)]
    deep = b"".join(b"\0" + bytes(2 * SIZE) for _ in range(SIZE))
    return {
        "png.png": encode(rgb, "PNG"),
        "SHOUTING.PNG": encode(rgb, "PNG"),
        "jpeg.jpg": encode(rgb, "JPEG"),
        "progressive.JpEg": encode(rgb, "JPEG", progressive=True),
        "exif.jpg": encode(rgb, "JPEG", exif=_exif()),
        "grey.jpg": encode(rgb.convert("L"), "JPEG"),
        "bmp.bmp": encode(rgb, "BMP"),
        "webp.webp": encode(rgb, "WEBP"),
        "moving.gif": encode(palette, "GIF", save_all=True, append_images=frames),
        "moving.png": encode(rgb, "PNG", save_all=True, append_images=frames),
        "palette.png": encode(palette, "PNG", transparency=3),
        "alpha.png": encode(rgba, "PNG"),
        "bit.png": encode(rgb.convert("1"), "PNG"),
        "deep.png": png(SIZE, SIZE, depth=16, colour=0, pixels=deep),
        "pixel.png": encode(rgb.resize((1, 1)), "PNG"),
        "line.png": encode(Image.new("RGB", (1, 20_000)), "PNG"),
        "wrong suffix.jpg": encode(rgb, "PNG"),
        "a b  c.png": encode(rgb, "PNG"),
        'comma, "quote".png': encode(rgb, "PNG"),
        "line\nend.png": encode(rgb, "PNG"),
        "carriage\rreturn.png": encode(rgb, "PNG"),
        "\x1b[2Jescape.png": encode(rgb, "PNG"),
        os.fsdecode(b"no text \xff\xfe.png"): encode(rgb, "PNG"),
        "-dash.png": encode(rgb, "PNG"),
        "=formula.png": encode(rgb, "PNG"),
        "ümläut 图.png": encode(rgb, "PNG"),
    }


def bad() -> dict[str, bytes]:
    """Names to contents that nobody can read."""
    rgb = picture()
    whole = {"png": encode(rgb, "PNG"), "jpg": encode(rgb, "JPEG"), "webp": encode(rgb, "WEBP"),
             "bmp": encode(rgb, "BMP"), "gif": encode(rgb.quantize(16), "GIF")}  # fmt: skip
    cut = {
        f"cut{tenth}.{suffix}": data[: len(data) * tenth // 10]
        for suffix, data in whole.items()
        for tenth in range(1, 10)
    }
    return cut | {
        "empty.png": b"",
        "zeros.png": bytes(1000),
        "text.jpg": b"This is no image.\n",
        "page.gif": b"<html>Not found</html>",
        "cmyk.jpg": encode(rgb.convert("CMYK"), "JPEG"),
        "moving.webp": encode(rgb, "WEBP", save_all=True, append_images=[picture(1)]),
        "bomb.png": png(50_000, 50_000),
        "flat bomb.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";",
        "nothing.png": png(0, 0),
    }


def write(folder) -> tuple[set[str], set[str]]:
    """Writes all of it; returns the paths that can be answered and those that cannot."""
    folder = Path(folder)
    inner = folder / "x.png" / "deeper"  # A folder that is named like an image
    inner.mkdir(parents=True)
    answered, refused = set(), set()
    for files, paths in ((good(), answered), (bad(), refused)):
        for name, data in files.items():
            path = (folder if len(name) % 2 else inner) / name
            path.write_bytes(data)
            paths.add(os.fspath(path))
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "cyclic.png").symlink_to("cyclic.png")
    os.mkfifo(folder / "pipe.png")
    (inner / "up").symlink_to(folder)
    (folder / "notes.txt").write_text("not an image, and not named like one")
    refused |= {os.fspath(folder / f"{name}.png") for name in ("dangling", "cyclic", "pipe")}
    return answered, refused
