"""The same pixels as Pillow's, or a reason why not; and never more than 50 megapixels."""

import io
import itertools
import struct
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dfk.data import decode

HEIGHT, WIDTH = 13, 17
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
SLOPE = np.add.outer(8 * np.arange(HEIGHT), 5 * np.arange(WIDTH))[..., None] + [0, 20, 60]
RGBA, SMOOTH = Image.fromarray(NOISE), Image.fromarray(SLOPE.astype(np.uint8))
RGB = RGBA.convert("RGB")
PALETTE = RGB.quantize(16)


def _encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _moving(image, kind, **options):
    other = Image.fromarray(255 - np.asarray(RGB))
    return _encode(image, kind, save_all=True, append_images=[other], **options)


# Files made by hand, for what Pillow does not write


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width, height, pixels=b"", depth=8, colour=2):
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    rest = _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + rest


def _jpeg(width, height, sof=b"\xff\xc0"):
    frame = sof + struct.pack(">HBHHB", 17, 8, height, width, 3)
    scan = b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0"
    return b"\xff\xd8" + frame + b"\x01\x11\0\x02\x11\0\x03\x11\0" + scan + b"\xff\xd9"


def _progressive(width, height):
    return _jpeg(width, height, b"\xff\xc2")


def _bmp(width, height, pixels=b"", bits=24, compression=0):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + info + pixels


def _upside_down(width, height):
    return _bmp(width, -height)


def _os2():
    core = struct.pack("<IHHHH", 12, 2, 2, 1, 24)
    return b"BM" + struct.pack("<IHHI", 42, 0, 0, 26) + core + bytes([255] * 16)


def _gif_frame(left, top, width, height):
    """A frame without pixels."""
    return struct.pack("<cHHHHBBB", b",", left, top, width, height, 0, 2, 0)


def _gif(width, height, *frames):
    frames = frames or [_gif_frame(0, 0, width, height)]
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b"".join(frames) + b";"


def _gif_start(blocks):
    """A GIF of which only the first pixels are there."""
    return _gif(8, 8, _gif_frame(0, 0, 8, 8)[:-1] + blocks)


def _webp(kind, body):
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _vp8(width, height):
    return _webp(b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height))


def _vp8l(width, height):
    return _webp(b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14))


def _vp8x(width, height, flags=0):
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return _webp(b"VP8X", bytes([flags, 0, 0, 0]) + size)


# Pixels

EQUAL = {
    "png": (RGB, _encode(RGB, "PNG")),
    "png grey": (RGB.convert("L"), _encode(RGB.convert("L"), "PNG")),
    "png palette": (PALETTE, _encode(PALETTE, "PNG")),
    "png palette transparent": (PALETTE, _encode(PALETTE, "PNG", transparency=3)),
    "png alpha": (RGB, _encode(RGBA, "PNG")),
    "png grey alpha": (RGBA.convert("LA").convert("L"), _encode(RGBA.convert("LA"), "PNG")),
    "png 1 bit": (RGB.convert("1"), _encode(RGB.convert("1"), "PNG")),
    "png moving": (RGB, _moving(RGB, "PNG")),
    "webp": (None, _encode(RGB, "WEBP")),
    "webp lossless": (RGB, _encode(RGB, "WEBP", lossless=True)),
    "webp alpha": (None, _encode(RGBA, "WEBP", exact=True)),
    "webp alpha lossless": (RGB, _encode(RGBA, "WEBP", lossless=True, exact=True)),
    "bmp": (RGB, _encode(RGB, "BMP")),
    "bmp alpha": (RGB, _encode(RGBA, "BMP")),
    "gif": (PALETTE, _encode(PALETTE, "GIF")),
    "gif grey": (RGB.convert("L"), _encode(RGB.convert("L"), "GIF")),
    "gif interlaced": (PALETTE, _encode(PALETTE, "GIF", interlace=1)),
    "gif comment": (PALETTE, _encode(PALETTE, "GIF", comment=b"," * 600)),
    "gif moving": (PALETTE, _moving(PALETTE, "GIF", loop=0)),
    "gif smaller later": (
        PALETTE,
        _encode(PALETTE, "GIF", save_all=True, append_images=[PALETTE.crop((5, 5, 9, 9))]),
    ),
}
CLOSE = {
    "jpeg": _encode(SMOOTH, "JPEG", quality=90),
    "jpeg 4:4:4": _encode(SMOOTH, "JPEG", quality=95, subsampling=0),
    "jpeg progressive": _encode(SMOOTH, "JPEG", progressive=True),
    "jpeg grey": _encode(SMOOTH.convert("L"), "JPEG"),
    "jpeg turned": _encode(SMOOTH, "JPEG", quality=90, exif=_exif(6)),
}


@pytest.mark.parametrize(("original", "data"), EQUAL.values(), ids=EQUAL)
def test_pixels_equal_pillows(original, data):
    image = decode.decode(data)
    assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), tf.uint8)
    lossy = original is None
    expected = Image.open(io.BytesIO(data)) if lossy else original
    np.testing.assert_array_equal(image, expected.convert("RGB"))
    assert decode.reason(data) == ""


@pytest.mark.parametrize("data", CLOSE.values(), ids=CLOSE)
def test_a_jpeg_is_within_four_levels_of_pillows(data):
    image = decode.decode(data)
    assert (image.shape, image.dtype) == ((HEIGHT, WIDTH, 3), tf.uint8)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
    assert np.abs(image.numpy() - expected).max() <= 4
    assert decode.reason(data) == ""


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_ignored(kind, orientation):
    tagged = decode.decode(_encode(SMOOTH, kind, exif=_exif(orientation)))
    np.testing.assert_array_equal(tagged, decode.decode(_encode(SMOOTH, kind)))


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_of_16_bits_the_high_byte_is_taken(colour, channels):
    values = np.random.default_rng(1).integers(0, 2**16, (5, 4, channels))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    high = (values >> 8)[..., : 3 if channels > 2 else 1]
    image = decode.decode(_png(4, 5, rows, depth=16, colour=colour))
    np.testing.assert_array_equal(image, np.broadcast_to(high, [5, 4, 3]))


def test_a_bmp_may_be_stored_from_top_to_bottom():
    rows = np.arange(1, 13, dtype=np.uint8).reshape(2, 2, 3)
    padded = b"".join(row[:, ::-1].tobytes() + b"\0\0" for row in rows)
    np.testing.assert_array_equal(decode.decode(_bmp(2, -2, padded)), rows)
    np.testing.assert_array_equal(decode.decode(_bmp(2, 2, padded)), rows[::-1])


def test_a_transparent_pixel_of_a_gif_is_black():
    index = np.asarray(PALETTE)
    image = decode.decode(_encode(PALETTE, "GIF", transparency=int(index[0, 0]))).numpy()
    clear = index == index[0, 0]
    assert not image[clear].any()
    np.testing.assert_array_equal(image[~clear], np.asarray(PALETTE.convert("RGB"))[~clear])


def test_later_frames_of_a_gif_do_not_matter():
    still = _encode(PALETTE, "GIF")
    larger = _encode(PALETTE.resize((2 * WIDTH, 2 * HEIGHT)), "GIF")
    frame = larger[13 + 3 * 16 :]  # Behind header and palette
    assert frame.startswith(_gif_frame(0, 0, 2 * WIDTH, 2 * HEIGHT)[:9])
    np.testing.assert_array_equal(decode.decode(still[:-1] + frame), decode.decode(still))
    np.testing.assert_array_equal(decode.decode(still[:-1]), decode.decode(still))


def _blocks_of(lengths):
    """The GIF with its pixels in blocks of these lengths, again and again."""
    still = _encode(PALETTE.resize((90, 80)), "GIF")
    start = still.index(_gif_frame(0, 0, 90, 80)[:9]) + 11
    pixels, at = b"", start
    while still[at]:
        pixels, at = pixels + still[at + 1 : at + 1 + still[at]], at + 1 + still[at]
    blocks = b""
    for length in itertools.cycle(lengths):
        if not pixels:
            return still[:start] + blocks + still[at:], still
        part, pixels = pixels[:length], pixels[length:]
        blocks += bytes([len(part)]) + part


@pytest.mark.parametrize("lengths", [(1,), (2, 2, 3), (254,), (255, 255, 255, 1), (1, 255)])
def test_a_gif_may_be_cut_into_any_blocks(lengths):
    data, still = _blocks_of(lengths)
    np.testing.assert_array_equal(decode.decode(data), decode.decode(still))
    assert decode.reason(data) == ""
    assert decode.reason(data[:-300]) == "damaged or cut off"


# Reasons

BAD = {
    "bmp palette": (_encode(PALETTE, "BMP"), "a BMP with a palette"),
    "bmp grey": (_encode(RGB.convert("L"), "BMP"), "a BMP with a palette"),
    "bmp 1 bit": (_encode(RGB.convert("1"), "BMP"), "a BMP with a palette"),
    "bmp 16 bits": (_bmp(2, 2, bytes(8), bits=16), "of 16 bits"),
    "bmp rle": (_bmp(2, 2, b"\2\0\0\0\2\0\0\1", bits=8, compression=1), "a BMP with a palette"),
    "bmp fields": (_bmp(2, 2, bytes(28), bits=32, compression=3), "a compressed BMP"),
    "bmp os/2": (_os2(), "a BMP of OS/2"),
    "webp moving": (_moving(RGB, "WEBP"), "an animated WebP"),
    "jpeg cmyk": (_encode(RGB.convert("CMYK"), "JPEG"), "a CMYK JPEG: convert it to RGB"),
    "gif part": (_gif(8, 8, _gif_frame(2, 2, 4, 4)), "does not fill it: save it as PNG"),
    "gif larger": (_gif(8, 8, _gif_frame(0, 0, 9, 8)), "does not fill it: save it as PNG"),
    "gif of small blocks": (_gif_start(b"\1\0\2\0\0" * 9000), "very many small blocks"),
    "gif of comments": (_gif(8, 8, b"!\xfe\0" * 9000), "very many small blocks"),
    "gif without frames": (_gif(8, 8, b"!\xfe\0"), "damaged or cut off"),
    "tiff": (_encode(RGB, "TIFF"), "no PNG, JPEG, WebP, BMP or GIF image"),
    "tiff by name": (_encode(RGB, "TIFF"), "image but TIFF: save it as PNG"),
    "avif": (b"\0\0\0\x1cftypavif", "image but AVIF: save it as PNG"),
    "heic": (b"\0\0\0\x18ftypheic", "image but HEIC: save it as PNG"),
    "text": (b"image_id,label\n", "no PNG, JPEG, WebP, BMP or GIF image"),
    "empty": (b"", "the file is empty"),
    "zeros": (bytes(100), "no PNG, JPEG, WebP, BMP or GIF image"),
    "no pixels": (_png(0, 0), "damaged or cut off"),
    "wrong checksum": (EQUAL["png"][1].replace(b"IDAT", b"IDAU"), "damaged or cut off"),
}


def _fails(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode.decode(data)
    return decode.reason(data)


@pytest.mark.parametrize(("data", "reason"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_has_a_reason(data, reason):
    assert reason in _fails(data)


STILL = {name: data for name, (_, data) in EQUAL.items() if "gif " not in name} | CLOSE


@pytest.mark.parametrize("data", STILL.values(), ids=STILL)
def test_a_file_that_is_cut_off_is_called_so(data):
    # A GIF may lack its last byte, which only says that it ends, and a JPEG its last two.
    most = len(data) - (8 if data.startswith(b"\xff\xd8") else 2)
    for length in [34, 40, 63, 64, 65, *range(80, most, 150), most]:
        assert _fails(data[:length]) == "damaged or cut off", length
    assert _fails(data[:1]) == "no PNG, JPEG, WebP, BMP or GIF image"


# The limit

AT_LIMIT, OVER = (10_000, 5_000), (10_000, 5_001)
KINDS = [_png, _jpeg, _progressive, _gif, _bmp, _upside_down, _vp8, _vp8l, _vp8x]


@pytest.mark.parametrize("make", KINDS)
def test_more_than_50_megapixels_are_refused_by_the_header(make):
    assert decode.problem(make(*AT_LIMIT)) == b""
    message = "10000 x 5001 pixels, more than 50 megapixels"
    assert decode.problem(make(*OVER)) == message.encode()
    assert _fails(make(*OVER)) == message


@pytest.mark.parametrize("make", KINDS)
def test_the_limit_may_be_lower_and_the_size_is_told_by_the_header(make):
    data = make(400, 300)
    assert decode.problem(data, 120_000) == b""
    assert decode.problem(data, 119_999) == b"400 x 300 pixels, more than 0.12 megapixels"
    assert [int(side) for side in decode.size(data)] == [300, 400]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"more than 0\.1 megapixels"):
        decode.decode(data, tf.constant(100_000))


def test_what_is_no_image_has_no_size():
    assert [int(side) for side in decode.size(b"text")] == [0, 0]


@pytest.mark.parametrize("name", ["gif of small blocks", "gif of comments"])
def test_a_gif_of_many_blocks_takes_no_time(name):
    data, _ = BAD[name]
    decode.reason(data)
    began = time.process_time()
    decode.reason(data + bytes(5_000_000))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (_png, (2**31 - 1, 2**31 - 1)),
        (_png, (1, 50_000_001)),
        (_bmp, (2**31 - 1, 2**31 - 1)),
        (_bmp, (2, -(2**31))),
        (_bmp, (-10_000, 5_001)),
        (_jpeg, (65_500, 65_500)),
        (_gif, (65_535, 65_535)),
        (_vp8, (16_383, 16_383)),
        (_vp8l, (16_384, 16_384)),
        (_vp8x, (2**24, 2**24)),
    ],
)
def test_the_largest_sizes_of_a_format_do_not_overflow(make, size):
    assert decode.problem(make(*size)).numpy().endswith(b"more than 50 megapixels")


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_small_file_of_many_pixels_takes_no_memory(kind):
    resource = pytest.importorskip("resource")
    data = _encode(Image.new("L", (9_000, 9_000)), kind)
    assert len(data) < 200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "9000 x 9000" in _fails(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB, of 240,000


# Everywhere the same


def test_eager_graph_and_tf_data_agree():
    signature = [tf.TensorSpec([], tf.string)]
    in_graph = tf.function(decode.decode, input_signature=signature)
    assert in_graph.get_concrete_function().output_shapes.as_list() == [None, None, 3]
    files = [data for _, data in EQUAL.values()] + list(CLOSE.values())
    images = tf.data.Dataset.from_tensor_slices(files).map(decode.decode)
    for data, image in zip(files, images, strict=True):
        np.testing.assert_array_equal(image, decode.decode(data))
        np.testing.assert_array_equal(image, in_graph(data))


@pytest.mark.parametrize("kind", ["4:4:4", "4:2:2", "4:2:0", "grey", "png", "cut"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_part_is_what_the_whole_has_there(kind, progressive):
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (117, 150, 3), np.uint8))
    file = io.BytesIO()
    if kind == "png":
        pixels.save(file, "PNG")
    elif kind == "grey":
        pixels.convert("L").save(file, "JPEG", progressive=progressive)
    else:
        subsampling = "4:2:0" if kind == "cut" else kind
        pixels.save(file, "JPEG", subsampling=subsampling, progressive=progressive)
    data = tf.constant(file.getvalue() + b"\0" * (kind == "cut"))  # Its end is not at the end.
    whole = decode.decode(data).numpy()
    boxes = [(0, 0, 117, 150), (116, 149, 1, 1), (0, 0, 1, 1), (64, 32, 53, 118)]
    places = rng.integers(0, (70, 100), (12, 2))
    boxes += [(top, left, *rng.integers(1, 48, 2)) for top, left in places]
    for top, left, height, width in boxes:
        part = decode.decode_part(data, [top, left, height, width])
        np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


def test_a_bad_file_in_tf_data_does_not_disturb_the_others():
    files = [EQUAL["png"][1]]
    for data, _ in BAD.values():
        files += [data, EQUAL["png"][1]]
    images = tf.data.Dataset.from_tensor_slices(files).map(decode.decode).ignore_errors()
    images = list(images)
    assert len(images) == len(BAD) + 1
    for image in images:
        np.testing.assert_array_equal(image, RGB)


def _with_scans(count):
    """A progressive JPEG whose last scan comes `count` times more."""
    data = _encode(Image.new("RGB", (64, 64), "teal"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def test_a_jpeg_of_very_many_scans_is_refused():
    """Each takes a few bytes, and as long as the whole image."""
    assert decode.decode(_with_scans(20)).shape == (64, 64, 3)
    assert decode.reason(_with_scans(200)) == "a JPEG of very many scans: save it once more"
    # What is appended, as a phone does with a film, is no scan.
    film = np.random.default_rng(0).integers(0, 256, 2**24, np.uint8).tobytes()
    assert film.count(b"\xff\xda") > 200
    assert decode.reason(_with_scans(0) + film) == ""
