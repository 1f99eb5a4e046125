"""Bytes to pixels. TensorFlow's decoder is the definition of an image.

The same graph runs in training, predict and serving, so the same bytes give
the same pixels everywhere. What TensorFlow decodes wrongly or into too much
memory is refused by its header, before it is decoded. EXIF rotation is ignored.
"""

from __future__ import annotations

import tensorflow as tf

from dfk.data import jpeg_ends
from dfk.data.entries import UNREAD

MAX_PIXELS = 50_000_000
# What `decode` raises outside a graph. TensorFlow quotes the file in some of its messages,
# and trips over bytes that are no text.
FAILURES = (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, UnicodeDecodeError)
_BYTES = tf.TensorSpec([], tf.string)
_JPEG = b"\xff\xd8\xff"
_HEADER = 64  # Bytes; every format but JPEG states its size within them.
_BLOCKS = 32  # Pixels that a JPEG has together, at most
# Of a GIF's blocks, those of one length are passed by together; encoders fill all but the last.
_ALIKE, _MOST_RUNS = 4096, 1000
# A JPEG of 23 bytes more has a scan more, for which all of its pixels are gone through once more.
# Progressive ones have some ten.
_MOST_SCANS = 100


def decode(data: tf.Tensor, max_pixels: int | tf.Tensor = MAX_PIXELS) -> tf.Tensor:
    """Decodes one image file.

    Args:
        data: string scalar, the bytes of a PNG, JPEG, WebP, BMP or GIF (its first frame).
        max_pixels: of the image; one with more is refused before it is decoded.

    Returns:
        uint8 [H, W, 3]; grey is repeated, alpha dropped, 16 bits cut to 8. A transparent
        pixel of a GIF is black.

    Raises:
        tf.errors.InvalidArgumentError: what `reason` explains.
    """
    return _decode(data, tf.cast(max_pixels, tf.int64))


def problem(data: tf.Tensor, max_pixels: int | tf.Tensor = MAX_PIXELS) -> tf.Tensor:
    """Says from the header why `data` (string scalar) is not to be decoded; "" if it may be.

    Raises:
        tf.errors.InvalidArgumentError: for a JPEG or GIF that is damaged before its pixels end.
    """
    return _problem(data, tf.cast(max_pixels, tf.int64))


@tf.function(input_signature=[_BYTES, tf.TensorSpec([4], tf.int64)], autograph=False)
def decode_part(data: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Decodes a part of an image: the very pixels that `decode` gives there.

    Of a JPEG little more than the part is decoded, which takes half the time and hardly memory.

    Args:
        data: as `decode` takes it, and decodes it.
        box: int64 [4], top, left, height and width of the part, inside the image.

    Returns:
        uint8 [height, width, 3].

    Raises:
        tf.errors.InvalidArgumentError: what `reason` explains.
    """
    top, left, height, width = tf.unstack(box)

    def cut(pixels: tf.Tensor, top: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
        return pixels[top : top + height, left : left + width]

    def of_jpeg():
        # Where colour is of half the size, the last pixels that are decoded lack their neighbours.
        size = tf.image.extract_jpeg_shape(data, output_type=tf.int64)[:2]
        start = tf.maximum(box[:2] // _BLOCKS - 1, 0) * _BLOCKS
        end = tf.minimum(((box[:2] + box[2:]) // _BLOCKS + 2) * _BLOCKS, size)
        window = tf.cast(tf.concat([start, end - start], 0), tf.int32)
        pixels = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        return cut(pixels, top - start[0], left - start[1])

    # What lacks its end is no JPEG as it is.
    is_jpeg = _starts(_head(data), _JPEG) & jpeg_ends.has_end(data)
    return tf.cond(is_jpeg, of_jpeg, lambda: cut(decode(data), top, left))


@tf.function(input_signature=[_BYTES, tf.TensorSpec([], tf.int64)], autograph=False)
def _decode(data: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
    fault = _problem(data, max_pixels)
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(fault, ""), [fault])]):
        data = tf.identity(data)
    head = _head(data)

    def first_frame():
        # Alone: TensorFlow decodes all, and makes them as large as the largest.
        _, end, _ = _gif_frame(data)
        return tf.strings.substr(data, 0, end) + ";"

    def image(channels: int):
        return tf.io.decode_image(data, channels=channels, expand_animations=False)[..., :3]

    is_gif, lacks_end = _starts(head, b"GIF8"), _starts(head, _JPEG) & ~jpeg_ends.has_end(data)
    data = tf.cond(
        is_gif | lacks_end,
        lambda: tf.cond(is_gif, first_frame, lambda: jpeg_ends.mended(data)),
        lambda: data,
    )
    # TensorFlow does not drop the alpha of a WebP itself.
    pixels = tf.cond(_starts(head, b"WEBP", 8), lambda: image(0), lambda: image(3))
    return tf.ensure_shape(pixels, [None, None, 3])


@tf.function(input_signature=[_BYTES, tf.TensorSpec([], tf.int64)], autograph=False)
def _problem(data: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
    fault, height, width = _header(data)
    most = tf.strings.as_string(
        tf.round(tf.cast(max_pixels, tf.float64) / 1e4) / 100, shortest=True
    )
    size = tf.strings.format("{} x {} pixels, more than ", (width, height))
    # Compared by division: the product of two 32-bit sizes may not fit.
    too_large = height > max_pixels // tf.maximum(width, 1)
    return _first(fault, tf.where(too_large, size + most + " megapixels", ""))


@tf.function(input_signature=[_BYTES], autograph=False)
def size(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width, int64, that the header of `data` (string scalar) claims; 0 of no image.

    Raises:
        tf.errors.InvalidArgumentError: as `problem`.
    """
    return _header(data)[1:]


def _header(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Why `data` is not to be decoded, whatever its size is, or ""; height and width."""
    head = _head(data)

    def png():
        return tf.constant(""), _big_endian(head, 20), _big_endian(head, 16)

    def jpeg():
        shape = tf.image.extract_jpeg_shape(data, output_type=tf.int64)
        cmyk = tf.where(shape[2] == 4, "a CMYK JPEG: convert it to RGB", "")
        many = tf.where(
            tf.size(jpeg_ends.scans(jpeg_ends.bytes_of(data))) > _MOST_SCANS,
            "a JPEG of very many scans: save it once more",
            "",
        )
        return _first(cmyk, many), shape[0], shape[1]

    def gif():
        start, _, is_long = _gif_frame(data)
        long = tf.where(is_long, "a GIF of very many small blocks: save it as PNG", "")
        whole = b",\0\0\0\0" + tf.strings.substr(data, 6, 4)  # At 0, 0 and as large as the GIF
        part = tf.where(
            tf.strings.substr(data, start, 9) == whole,
            "",
            "a GIF whose first frame does not fill it: save it as PNG",
        )
        return _first(long, part), _little_endian(head, 8, 2), _little_endian(head, 6, 2)

    def bmp():
        old = tf.where(
            _little_endian(head, 14, 4) == 12, "a BMP of OS/2: save it as 24-bit BMP or PNG", ""
        )
        palette = tf.where(
            head[28] < 24, "a BMP with a palette or of 16 bits: save it as 24-bit BMP or PNG", ""
        )
        packed = tf.where(
            _little_endian(head, 30, 4) != 0, "a compressed BMP: save it uncompressed or as PNG", ""
        )
        # A negative height means rows from top to bottom.
        height = _little_endian(head, 22, 4)
        height = tf.minimum(height, 2**32 - height)
        return _first(old, palette, packed), height, _little_endian(head, 18, 4)

    def webp():
        height, width, animated = _webp_size(head)
        return tf.where(animated, "an animated WebP: save one frame of it", ""), height, width

    def other():
        none, what = tf.constant(0, tf.int64), "no PNG, JPEG, WebP, BMP or GIF image"
        named = [
            tf.where(_starts(head, magic, at), f"{what} but {name}: save it as PNG", "")
            for name, at, magic in UNREAD
        ]
        return _first(*named, tf.constant(what)), none, none

    return tf.case(
        [
            (_starts(head, b"\x89PNG\r\n\x1a\n"), png),
            (_starts(head, _JPEG), jpeg),
            (_starts(head, b"RIFF") & _starts(head, b"WEBP", 8), webp),
            (_starts(head, b"BM"), bmp),
            (_starts(head, b"GIF8"), gif),
        ],
        default=other,
    )


def reason(data: bytes) -> str:
    """Says in words why `data` cannot be decoded; "" if it can."""
    if not data:
        return "the file is empty"
    try:
        decode(tf.constant(data))
    except FAILURES:
        try:
            return problem(tf.constant(data)).numpy().decode() or "damaged or cut off"
        except FAILURES:  # Not even its header can be read
            return "damaged or cut off"
    return ""


@tf.function(input_signature=[_BYTES], autograph=False)
def _gif_frame(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Where a GIF's first frame starts, where its pixels end, and whether that is too long to tell.

    A loop in a graph takes a fifth of a second for a thousand rounds, and a block may be a byte.
    """
    content = tf.io.decode_raw(data, tf.uint8)
    length = tf.size(content)
    byte = lambda at: tf.cast(content[at], tf.int32)  # noqa: E731 -- fails beyond the end

    def behind_palette(at, flags):
        return at + tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)

    def behind_alike(at, runs):  # A block starts with its length.
        step = byte(at) + 1
        places = at + step * tf.range(_ALIKE)
        alike = tf.gather(content, tf.minimum(places, length - 1)) == content[at]
        alike &= places < length
        count = tf.argmin(tf.concat([tf.cast(alike, tf.int32), [0]], 0), output_type=tf.int32)
        return at + count * step, runs + 1

    def behind_blocks(at, runs):  # An empty one is the last.
        more = lambda at, runs: (byte(at) > 0) & (runs < _MOST_RUNS)  # noqa: E731
        at, runs = tf.while_loop(more, behind_alike, [at, runs])
        return at + 1, runs + 1

    start, runs = tf.while_loop(
        lambda at, runs: (byte(at) == ord("!")) & (runs < _MOST_RUNS),  # An extension
        lambda at, runs: behind_blocks(at + 2, runs),
        [behind_palette(13, byte(10)), 0],
    )
    is_long = runs >= _MOST_RUNS
    pixels = tf.where(is_long, start, behind_palette(start + 10, byte(start + 9)) + 1)
    end, runs = behind_blocks(pixels, runs)
    with tf.control_dependencies([end]):  # There is no start of what is cut off.
        return tf.identity(start), end, runs > _MOST_RUNS


def _head(data: tf.Tensor) -> tf.Tensor:
    """The first bytes, int64 [_HEADER], zeros where there are fewer."""
    head = tf.io.decode_raw(tf.strings.substr(data, 0, _HEADER) + "\0" * _HEADER, tf.uint8)
    return tf.cast(head[:_HEADER], tf.int64)


def _webp_size(head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Height, width and whether it moves, for the three kinds of a WebP's first chunk."""

    def lossy():
        return _little_endian(head, 28, 2) & 0x3FFF, _little_endian(head, 26, 2) & 0x3FFF

    def lossless():  # 14 bits each, from bit 0 of byte 21
        bits = _little_endian(head, 21, 4)
        return (bits // 2**14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1

    def extended():
        return _little_endian(head, 27, 3) + 1, _little_endian(head, 24, 3) + 1

    is_extended = _starts(head, b"VP8X", 12)
    height, width = tf.case(
        [(is_extended, extended), (_starts(head, b"VP8L", 12), lossless)], default=lossy
    )
    return height, width, is_extended & (head[20] & 2 != 0)


def _first(*messages: tf.Tensor) -> tf.Tensor:
    """The first message that is not empty."""
    result = messages[-1]
    for message in reversed(messages[:-1]):
        result = tf.where(message == "", result, message)
    return result


def _starts(head: tf.Tensor, magic: bytes, offset: int = 0) -> tf.Tensor:
    return tf.reduce_all(head[offset : offset + len(magic)] == tf.constant(list(magic), tf.int64))


def _little_endian(head: tf.Tensor, offset: int, size: int) -> tf.Tensor:
    weights = tf.constant([256**i for i in range(size)], tf.int64)
    return tf.reduce_sum(head[offset : offset + size] * weights)


def _big_endian(head: tf.Tensor, offset: int) -> tf.Tensor:
    """The whole number in four bytes."""
    weights = tf.constant([256**3, 256**2, 256, 1], tf.int64)
    return tf.reduce_sum(head[offset : offset + 4] * weights)
