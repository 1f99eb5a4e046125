"""One image, from wherever it comes, to pixels, or to the reason why there are none."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dfk.data import decode
from dfk.data.claims import Claim, claims_of
from dfk.data.inputs import Image, content_of, taken
from dfk.data.limits import Limits
from dfk.data.sources import Unreadable
from dfk.data.trained_on import format_of


class Origin(NamedTuple):
    """What an image was before it was resized: its size, and its file if it came in one.

    Attributes:
        height, width: in pixels.
        format: one of `dfk.data.trained_on.FORMATS`; "" of pixels.
        path: of the file; "" of others.
        claims: what the file declares, where that was asked for.
    """

    height: int
    width: int
    format: str = ""
    path: str = ""
    claims: tuple[Claim, ...] = ()


def pixels_of(
    image: Any,
    resize: Callable[[np.ndarray], np.ndarray] | None = None,
    limits: Limits = Limits(),  # noqa: B008 -- nobody changes it
) -> np.ndarray | str:
    """Decodes, and resizes, one image to [H, W, 3], or says why that cannot be.

    An image is what `dfk.data.inputs` says. What is beyond the `limits` is refused by its header.
    """
    return with_origin(image, resize, limits)[0]


def with_origin(
    image: Any,
    resize: Callable[[np.ndarray], np.ndarray] | None = None,
    limits: Limits = Limits(),  # noqa: B008 -- nobody changes it
    claims: bool = False,
) -> tuple[np.ndarray, Origin] | tuple[str, None]:
    """As `pixels_of`, with what the image was; None where that cannot be told.

    Args:
        claims: whether what its file declares is read, too.
    """
    path = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
    pixels, data = _decoded(taken(image, limits), limits)
    if isinstance(pixels, str):
        return pixels, None
    if error := limits.refusal(*pixels.shape[:2]):
        return error, None
    form = format_of(data) if data else ""
    origin = Origin(*pixels.shape[:2], form, path, claims_of(data) if claims else ())
    return resize(pixels) if resize else pixels, origin


def _decoded(image: Image, limits: Limits) -> tuple[np.ndarray | str, bytes]:
    """Pixels, or why there are none, and the content of the file that they are from."""
    if isinstance(image, Unreadable):
        return str(image), b""
    if isinstance(image, np.ndarray):
        return image, b""
    try:
        data = image if isinstance(image, bytes) else content_of(image)
    except (OSError, ValueError) as error:
        # A path that holds a null byte is a ValueError.
        return f"cannot be read: {getattr(error, 'strerror', None) or error}", b""
    try:
        return decode.decode(data, limits.most_pixels()).numpy(), data
    except decode.FAILURES:
        return _refusal(data, limits) or "could not be decoded at first, try again", b""
    except MemoryError:
        return "there is not enough memory to decode it", b""


def _refusal(data: bytes, limits: Limits) -> str:
    """Why an image file is not decoded; a limit first, for `reason` would decode it."""
    try:
        height, width = (int(side) for side in decode.size(data))
    except decode.FAILURES:
        height = width = 0
    within = height * width <= limits.most_pixels()
    return decode.reason(data) if within else limits.refusal(height, width)
