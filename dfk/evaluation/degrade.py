"""What happens to an image on its way to a classifier: named operations, each with its severities.

Every operation takes one image, uint8 [H, W, 3], and a severity, and returns uint8 [H, W, 3], of
the same size but for `crop`. All of them repeat bit for bit; they are Pillow's.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

Severity = int | float | str


class Operation(NamedTuple):
    """One way to degrade an image.

    Attributes:
        apply: (image, severity) -> image.
        severities: those that the matrix takes, from mild to severe.
        title: what it is, and what its severity means.
    """

    apply: Callable[[np.ndarray, Severity], np.ndarray]
    severities: tuple[Severity, ...]
    title: str


def to_jpeg(image: np.ndarray, quality: int) -> bytes:
    """The JPEG file of an image, with Pillow's chroma subsampling (4:2:0)."""
    return _file(image, "JPEG", quality=quality)


def to_webp(image: np.ndarray, quality: int) -> bytes:
    """The lossy WebP file of an image."""
    return _file(image, "WEBP", quality=quality, lossless=False)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Through a JPEG file of this quality, 1..100."""
    return _read(to_jpeg(image, quality))


def webp(image: np.ndarray, quality: int) -> np.ndarray:
    """Through a lossy WebP file of this quality, 0..100."""
    return _read(to_webp(image, quality))


def resize(image: np.ndarray, factor: float) -> np.ndarray:
    """To `factor` times its size and back, bicubic, with antialiasing where it shrinks."""
    return _resized(_resized(image, *_scaled(image, factor)), *image.shape[:2])


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur with this standard deviation in pixels."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def noise(image: np.ndarray, sigma: float) -> np.ndarray:
    """Adds Gaussian noise of this standard deviation, of 255, to each value by itself.

    An image draws its noise from a seed of its own pixels, so that it gets the same one
    wherever it is, and another sigma only scales it.
    """
    seed = hashlib.sha256(np.array(image.shape).tobytes() + image.tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(seed))
    drawn = rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image + sigma * drawn), 0, 255).astype(np.uint8)


def crop(image: np.ndarray, share: float) -> np.ndarray:
    """Keeps the middle, `share` of the height and of the width.

    The image is smaller then. A model that takes images at their own size sees fewer pixels, as
    fine as before; one that resizes enlarges what is left, as it would any image of that size.
    """
    height, width = _scaled(image, share)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the pixels by `factor`, up to 255."""
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(factor))


def shared(image: np.ndarray, times: int) -> np.ndarray:
    """Passed on in social networks: each time shrunk, saved, enlarged again and saved.

    Shrunk to 0.8, and JPEG of quality 75 both times; the blocks of the two do not coincide.
    """
    for _ in range(times):
        small = jpeg(_resized(image, *_scaled(image, 0.8)), 75)
        image = jpeg(_resized(small, *image.shape[:2]), 75)
    return image


OPERATIONS: dict[str, Operation] = {
    "jpeg": Operation(jpeg, (95, 90, 75, 50, 30), "JPEG, by quality"),
    "webp": Operation(webp, (80, 50), "WebP, by quality"),
    "resize": Operation(resize, (1.28, 0.8, 0.5), "Resized by a factor, and back"),
    "blur": Operation(blur, (0.5, 1.0, 2.0), "Gaussian blur, by sigma in pixels"),
    "noise": Operation(noise, (2, 5, 10), "Gaussian noise, by sigma of 255"),
    "crop": Operation(crop, (0.9, 0.75), "Cropped, by share of a side"),
    "brightness": Operation(brightness, (1.3, 0.7), "Brightness, by factor"),
    "shared": Operation(shared, (1, 2), "Social networks, by times passed on"),
}


def _file(image: np.ndarray, kind: str, **options: int | bool) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def _read(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def _scaled(image: np.ndarray, factor: float) -> tuple[int, int]:
    """(H, W) times `factor`, at least one pixel."""
    height, width = (max(1, round(factor * side)) for side in image.shape[:2])
    return height, width


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
