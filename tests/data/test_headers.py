"""What a header claims, and the memory that is planned for an image by it."""

import os

import numpy as np
import pytest

from dfk.data import decode, headers
from dfk.data.headers import Header
from tests.pictures import encode, noise


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_a_header_is_read_of_files_and_bytes(kind, tmp_path):
    data = encode(noise(20, 30), kind)
    path = tmp_path / "image"
    path.write_bytes(data)
    for image in (data, path, str(path)):
        assert headers.read(image) == Header(kind, 20, 30)
        assert headers.bytes_of(image) == 12 * 600
        assert headers.bytes_of(image, 16) == 16 * 600


def test_of_what_has_none_the_most_is_planned(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # Who opens it, waits.
    for image in (b"", b"no image", tmp_path / "missing", tmp_path / "pipe", "a\0b"):
        assert headers.read(image) == Header()
        assert headers.bytes_of(image) == 12 * decode.MAX_PIXELS


def test_an_array_takes_what_it_has():
    assert headers.bytes_of(np.zeros((5, 7, 3), np.uint8)) == 105
