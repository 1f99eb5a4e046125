"""Pictures of an explanation: heat over an image, the place of a part, and panels with captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_OPACITY = 0.65  # Of the hottest pixel's colour
_SIDE = 288  # Pixels that a panel has at least, so that its caption can be read
_WHOLE = 576  # Pixels a side, at most, of a whole image beside a part of it
_FRAME = 3  # Pixels, of the line around that
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
    drawn = [_panel(pixels, text) for pixels, text in shown]
    size = sum(panel.width for panel in drawn), max(panel.height for panel in drawn)
    strip = Image.new("RGB", size, "white")
    left = 0
    for panel in drawn:
        strip.paste(panel, (left, 0))
        left += panel.width
    return strip


def _panel(pixels: np.ndarray, text: str) -> Image.Image:
    """Pixels, enlarged by a whole factor if they are few, under a line of text."""
    factor = max(1, -(-_SIDE // pixels.shape[1]))
    picture = Image.fromarray(pixels)
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.NEAREST)
    font = ImageFont.truetype(_FONT, 16)
    panel = Image.new("RGB", (picture.width, picture.height + 28), "white")
    panel.paste(picture, (0, 28))
    ImageDraw.Draw(panel).text((6, 4), text, "black", font)
    return panel
