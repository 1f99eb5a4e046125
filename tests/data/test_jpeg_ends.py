"""A JPEG that lacks its end marker alone is taken as it was; one that is cut off is not."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dfk.data import decode, jpeg_ends

KINDS = {
    "baseline": {},
    "full colour": {"quality": 100, "subsampling": 0},
    "progressive": {"progressive": True},
    "progressive, rough": {"progressive": True, "quality": 10},
    "restart in rows": {"restart_marker_rows": 1},
    "restart anywhere": {"restart_marker_blocks": 1},
}


def _picture(noise=12, size=(67, 93)):
    y, x = np.mgrid[: size[0], : size[1]]
    rng = np.random.default_rng(noise)
    values = np.stack([2 * x, 3 * y, x + y], -1) + rng.normal(0, noise, (*size, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _jpeg(image=None, **options):
    file = io.BytesIO()
    (image or _picture()).save(file, "JPEG", **options)
    return file.getvalue()


def _pixels(data):
    try:
        return decode.decode(data).numpy()
    except decode.FAILURES:
        return None


FILES = {name: _jpeg(**options) for name, options in KINDS.items()}
FILES["grey"] = _jpeg(_picture().convert("L"))
FILES["with a thumbnail"] = (
    FILES["baseline"][:2]
    + b"\xff\xe1"
    + ((2 + len(FILES["grey"])).to_bytes(2, "big") + FILES["grey"] + FILES["progressive"][2:])
)


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
@pytest.mark.parametrize("lost", [1, 2])
def test_without_its_end_a_jpeg_is_what_it_was(data, lost):
    assert data.endswith(b"\xff\xd9")
    expected = tf.io.decode_image(data, channels=3)
    np.testing.assert_array_equal(_pixels(data), expected)
    np.testing.assert_array_equal(_pixels(data[:-lost]), expected)
    assert decode.reason(data[:-lost]) == ""


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_what_is_cut_off_is_refused(data):
    whole, start = _pixels(data), data.rindex(b"\xff\xda")
    cuts = [*range(len(data) - 12, len(data) - 2), *range(2, len(data) - 2, len(data) // 12)]
    # Between the scans of a progressive one, all of what is there is whole.
    cuts += range(start - 40, start + 20)
    kept = {cut: pixels for cut in cuts if (pixels := _pixels(data[:cut])) is not None}
    # The last bits may change nothing.
    assert all(cut > len(data) - 5 and (pixels == whole).all() for cut, pixels in kept.items())
    assert decode.reason(data[:start]) == "damaged or cut off"


def test_other_files_are_left_as_they_are():
    whole = FILES["baseline"]
    for data in (whole, whole + b"trailing", whole + whole, whole[:200], whole[:3]):
        assert jpeg_ends.mended(tf.constant(data)).numpy() == data


def test_scans_are_found_by_their_headers():
    count = lambda data: len(jpeg_ends.scans(jpeg_ends.bytes_of(tf.constant(data))))  # noqa: E731
    assert [count(FILES[name]) for name in ("baseline", "progressive", "grey")] == [1, 10, 1]
    assert count(FILES["with a thumbnail"]) == 11
    assert count(b"") == 0
