"""Image files as a server meets them: every format, odd sizes, and broken ones."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encode(image, kind, **options):
    """The bytes of a Pillow image, or of uint8 [H, W, 3]."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height, width, seed=0, channels=3):
    """Uint8 [height, width, channels]: blotches, so that it differs after any resize."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, channels), dtype=np.uint8)
    large = [Image.fromarray(small[..., c]).resize((width, height)) for c in range(channels)]
    grain = rng.integers(-20, 21, (height, width, channels))
    return np.clip(np.stack(large, axis=-1) + grain, 0, 255).astype(np.uint8)


def png(width, height, pixels=b"", depth=8):
    """A PNG, RGB, made by hand: what its header claims, with a correct checksum."""

    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    rest = chunk(b"IDAT", zlib.compress(pixels, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + rest


def _sixteen_bits(height, width):
    values = np.random.default_rng(1).integers(0, 2**16, (height, width, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, rows, depth=16)


RGB = Image.fromarray(noise(23, 31))
GOOD = {
    "png": encode(RGB, "PNG"),
    "jpeg": encode(RGB, "JPEG"),
    "webp": encode(noise(40, 20, 2), "WEBP"),
    "bmp": encode(noise(16, 16, 3), "BMP"),
    "gif": encode(RGB.quantize(16), "GIF"),
    "grey": encode(RGB.convert("L"), "PNG"),
    "palette": encode(Image.fromarray(noise(20, 20, 8)).quantize(16), "PNG"),
    "alpha": encode(Image.fromarray(noise(24, 24, 4, 4)), "PNG"),
    "16 bits": _sixteen_bits(12, 18),
    "1x1": encode(noise(1, 1, 5), "PNG"),
    "wide": encode(noise(10, 4000, 6), "PNG"),
    "large": encode(Image.fromarray(noise(40, 60, 7)).resize((6000, 4000)), "JPEG"),
}
BROKEN = {
    "truncated png": GOOD["png"][:-100],
    "truncated jpeg": GOOD["jpeg"][:200],
    "empty": b"",
    "text": b"image_id,label\n",
    "bomb": png(100_000, 100_000),
    # Within the size of a PNG that decodes, but over the limit: 243 MB of pixels in 240 KB
    "81 megapixels": png(9_000, 9_000, bytes(9_000 * (1 + 3 * 9_000))),
}


def jpeg_that_claims(width, height):
    """A JPEG of 1.2 kB that TensorFlow decodes, grey, at the size that it claims."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    data = file.getvalue()
    size = data.index(b"\xff\xc0") + 5
    sides = struct.pack(">HH", height, width)
    return data[:size] + sides + data[size + 4 :] + bytes(1200 - len(data))
