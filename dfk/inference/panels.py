"""Pictures of an explanation: heat over an image, the place of a part, and panels with captions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_OPACITY = 0.65  # Of the hottest pixel's colour
_SIDE = 288  # Pixels that a panel has at least, so that its caption can be read
_WHOLE = 576  # Pixels a side, at most, of a whole image beside a part of it
_FRAME = 3  # Pixels, of the line around that
_LINE, _GAP, _MARGIN = 20, 4, 6  # Pixels, of captions
_FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image uint8 [H, W, 3] under a heat [H, W] in 0..1."""
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    opacity = _OPACITY * heat[..., None]
    return np.rint(image * (1 - opacity) + colours * opacity).astype(np.uint8)


def framed(image: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """An image, smaller, with a frame around a window of it."""
    picture = Image.fromarray(image)
    picture.thumbnail((_WHOLE, _WHOLE))
    high, wide = picture.height / image.shape[0], picture.width / image.shape[1]
    part = image[window]
    top, left = window[0].start * high, window[1].start * wide
    box = (left, top, left + part.shape[1] * wide, top + part.shape[0] * high)
    outside = [round(side) + step * _FRAME for side, step in zip(box, (-1, -1, 1, 1), strict=True)]
    ImageDraw.Draw(picture).rectangle(outside, outline="red", width=_FRAME)
    return np.asarray(picture)


def side_by_side(shown: Sequence[tuple[np.ndarray, str]]) -> Image.Image:
    """Panels of pixels uint8 [H, W, 3] and their captions, from left to right."""
    pictures = [_enlarged(pixels) for pixels, _ in shown]
    captions = [_wrapped(text, x.width) for x, (_, text) in zip(pictures, shown, strict=True)]
    head = _LINE * max(map(len, captions)) + 2 * _GAP
    size = sum(x.width for x in pictures), head + max(x.height for x in pictures)
    strip = Image.new("RGB", size, "white")
    left = 0
    for picture, caption in zip(pictures, captions, strict=True):
        ImageDraw.Draw(strip).text((left + _MARGIN, _GAP), "\n".join(caption), "black", _font())
        strip.paste(picture, (left, head))
        left += picture.width
    return strip


def _enlarged(pixels: np.ndarray) -> Image.Image:
    """Pixels, enlarged by a whole factor if they are few."""
    factor = max(1, -(-_SIDE // pixels.shape[1]))
    picture = Image.fromarray(pixels)
    return picture.resize((picture.width * factor, picture.height * factor), Image.NEAREST)


def _wrapped(text: str, width: int) -> list[str]:
    """The lines of a text that fit into a panel; a word that is longer than one is cut off."""
    lines: list[str] = []
    for word in text.split():
        if lines and _font().getlength(f"{lines[-1]} {word}") <= width - 2 * _MARGIN:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_FONT, 16)
