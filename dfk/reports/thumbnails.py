"""Small pictures inside pages: data URIs, so that a page stays one file."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dfk.data.pixels import pixels_of


class Thumbnail(NamedTuple):
    """A picture: its data URI, and the CSS pixels to show it at."""

    uri: str
    width: int
    height: int


def thumbnail(image: np.ndarray, side: int = 200) -> Thumbnail:
    """A picture of an image, uint8 [H, W, 3], of at most `side` CSS pixels.

    A small image is enlarged by a whole factor, so that every pixel stays a square.
    """
    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    factor = max(1, side // max(picture.size))
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Thumbnail(uri, picture.width * factor, picture.height * factor)


def of_file(path: str | Path, side: int) -> Thumbnail | None:
    """The same of a file; None where it is gone or cannot be decoded."""
    pixels = pixels_of(path)
    return None if isinstance(pixels, str) else thumbnail(pixels, side)
