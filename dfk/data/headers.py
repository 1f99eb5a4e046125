"""What an image file claims to be, by its header alone: for plans, not for decisions.

`dfk.data.decode` decides what is an image, and how large.
"""

from __future__ import annotations

import io
import os
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dfk.data import decode

# Of a pixel that is read and decoded: what the file holds, and what the decoder makes of it.
DECODED = 12


class Header(NamedTuple):
    """The format as Pillow calls it, and the size in pixels; "" and 0 of what has none."""

    format: str = ""
    height: int = 0
    width: int = 0


def read(image: str | os.PathLike | bytes) -> Header:
    """The header of a file, or of its content."""
    if not isinstance(image, bytes) and not os.path.isfile(image):  # A pipe might never answer.
        return Header()
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            return Header(opened.format or "", opened.height, opened.width)
    except Exception:  # Decoding will say what is wrong; of damage Pillow raises what comes.
        return Header()


def bytes_of(image: Any, per_pixel: int = DECODED) -> int:
    """The memory that an image takes while it is in work, at least where its header misleads.

    Args:
        image: as `dfk.data.inputs.taken` gives them.
        per_pixel: bytes.
    """
    if isinstance(image, np.ndarray):
        return image.nbytes
    _, height, width = read(image)
    # What is larger is refused; of what Pillow does not know the most is assumed.
    return per_pixel * min(height * width or decode.MAX_PIXELS, decode.MAX_PIXELS)
