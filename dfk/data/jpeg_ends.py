"""JPEGs of which the end marker alone is missing, as broken downloads and copies leave them.

TensorFlow refuses them. With a marker put behind its bytes, it would also take what was cut off in
the middle, and paint the rest grey. So a marker is given only where nothing else is missing.
"""

from __future__ import annotations

import tensorflow as tf

_END = b"\xff\xd9"
_COEFFICIENTS = 64  # Of a block
_ROOM = 32  # Bytes of a header that may be looked at


def _filler(start: int, step: int, restart: int) -> bytes:
    """Bytes that decode to noise, also where the next byte must be a restart marker.

    Of cut off images the last MCU may need some hundred bytes more. A decoder that waits for a
    marker passes over those that come one or two too early; each filler starts with another.
    """
    noise = bytes([start, *((step * i + i * i // 7) % 253 + 1 for i in range(512))])
    markers = [bytes([0xFF, 0xD0 + (restart + i) % 8]) for i in range(8)]
    return noise + b"".join(marker + noise for marker in markers)


# They start with all pairs of bits but 00, which is what a decoder takes where there are none.
_FILLERS = (_filler(0x5C, 97, 0), _filler(0xA3, 61, 4), _filler(0xD9, 37, 2))


def bytes_of(data: tf.Tensor) -> tf.Tensor:
    """The bytes of a string scalar, uint8, and zeros behind them where a header may be cut off."""
    return tf.io.decode_raw(data + bytes(_ROOM), tf.uint8)


def scans(content: tf.Tensor) -> tf.Tensor:
    """Where the scans of a JPEG's `bytes_of` start, int64 [S], by their headers.

    What looks like a scan behind the image's end counts, too.
    """
    at = _marked(content, 0xDA)
    high, length, components = (_number(content, at + i) for i in (2, 3, 4))
    is_scan = (high == 0) & (components >= 1) & (components <= 4) & (length == 6 + 2 * components)
    return _where(at, is_scan)


def has_end(data: tf.Tensor) -> tf.Tensor:
    """Whether a string scalar ends as JPEGs do."""
    return tf.strings.substr(data, -len(_END), len(_END)) == _END


def mended(data: tf.Tensor) -> tf.Tensor:
    """A JPEG with an end marker, if it lacks that alone; any other as it is.

    Args:
        data: string scalar, a JPEG.

    Returns:
        A string scalar that decodes to the pixels of the whole file.

    Raises:
        tf.errors.InvalidArgumentError: for one that is cut off and cannot be decoded.
    """
    half = tf.cast(tf.strings.substr(data, -1, 1) == _END[:1], tf.int32)
    body = tf.strings.substr(data, 0, tf.strings.length(data) - half)

    def marked():
        return tf.cond(_is_whole(body), lambda: body + _END, lambda: data)

    return tf.cond(_lacks_end_alone(bytes_of(data)), marked, lambda: data)


def _lacks_end_alone(content: tf.Tensor) -> tf.Tensor:
    """Whether there is no end behind the last scan, and a scan for all that the image has.

    A progressive JPEG has scans that refine what others told: of each coefficient of a component,
    the last tells the bits down to the lowest, which are shifted by 0.
    """
    at = _marked(content, 0xC0, 0xC1, 0xC2)
    high, length, components = (_number(content, at + i) for i in (2, 3, 9))
    frames = _where(at, (high == 0) & (components <= 4) & (length == 8 + 3 * components))
    # The last: a thumbnail has one of its own before.
    frame = tf.reduce_max(tf.concat([[0], frames], 0))
    names = content[frame + 10 : frame + 10 + 3 * _number(content, frame + 9) : 3]
    starts = _where(all_starts := scans(content), all_starts > frame)
    count = _number(content, starts + 4)[:, None]
    slots = tf.range(4, dtype=tf.int64)
    named = _number(content, starts[:, None] + 5 + 2 * slots)
    named = tf.where(slots < count, named, -1)
    first, last, shifts = (_number(content, starts[:, None] + 5 + 2 * count + i) for i in range(3))
    numbers = tf.range(_COEFFICIENTS, dtype=tf.int64)
    told = (first <= numbers) & (numbers <= last) & (shifts % 16 == 0)
    of = tf.reduce_any(named[:, :, None] == tf.cast(names, tf.int64), axis=1)
    complete = tf.reduce_all(tf.reduce_any(of[:, :, None] & told[:, None], axis=0))
    start = tf.reduce_max(tf.concat([[0], starts], 0))
    return (frame > 0) & complete & tf.reduce_all(_marked(content, 0xD9) < start)


def _is_whole(body: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG without end decodes to the same pixels whatever comes next."""
    decoded = tf.io.decode_jpeg(body + _END)
    same = [tf.reduce_all(tf.io.decode_jpeg(body + x + _END) == decoded) for x in _FILLERS]
    return tf.reduce_all(same)


def _marked(content: tf.Tensor, *kinds: int) -> tf.Tensor:
    """Where one of the markers is, int64 [M]."""
    after = content[1:-_ROOM]
    is_kind = tf.reduce_any([after == kind for kind in kinds], axis=0)
    return tf.where((content[: -_ROOM - 1] == 0xFF) & is_kind)[:, 0]


def _number(content: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.gather(content, at), tf.int64)


def _where(values: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    return tf.gather(values, tf.where(kept)[:, 0])
