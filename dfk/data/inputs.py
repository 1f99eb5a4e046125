"""Images as Python has them, brought to what `dfk.data.pixels` decodes or takes as it is.

What an image may be, alone, in a list or another iterable of any mixture:

- a path, or the content of an image file: bytes, bytearray, memoryview, a file that is open for
  reading bytes (all of it, from its start where it can be sought);
- pixels [H, W, 3], also [H, W] or [H, W, 1], grey, and [H, W, 4], whose alpha is dropped, as when
  a file is decoded: an array of NumPy, or a tensor of TensorFlow (eager), JAX or PyTorch. Whole
  numbers of any dtype, or floats, which are rounded; in 0..255 all of them;
- a Pillow image of mode 1, L, LA, P, PA, RGB, RGBA, RGBX or I;16, the frame that it is at. Pillow
  decodes as TensorFlow does, but for JPEG, a little: one that was opened and of which no pixel was
  asked for yet is decoded from its file, as a path is.

One array [N, H, W, 3] (1 and 4 channels likewise) is N images, one of N texts is N paths.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL.Image import Image as PillowImage

from dfk.data.limits import Limits
from dfk.data.sources import Unreadable
from dfk.errors import UsageError

# What `taken` leaves of all that: a path, the content of a file, pixels uint8 [H, W, 3], or why
# there is none of these.
Image = str | os.PathLike | bytes | np.ndarray | Unreadable

# No image within the limit of pixels is larger; what is, is not worth reading.
MAX_FILE_BYTES = 2**30
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"})
_JPEG = ("JPEG", "MPO")  # As Pillow calls it


def each(images: Any, limits: Limits = Limits()) -> Iterator[Image]:  # noqa: B008
    """The images that are given, one after the other, as they are asked for.

    Args:
        images: one image or several, as the module says.
        limits: what is larger is not read.

    Returns:
        What `taken` makes of them; what is wrong with one of several names its position.

    Raises:
        UsageError: if it is neither an image nor an iterable.
    """
    if _is_array(images):
        images = _array(images)
        if isinstance(images, np.ndarray) and images.ndim == 4:
            return _of_block(images)
    if isinstance(images, np.ndarray) and images.ndim == 1 and images.dtype.kind in "OU":
        images = images.tolist()
    if _is_one(images):
        return iter([taken(images, limits)])
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise UsageError(_no_image(images))
    return (_of_several(number, image, limits) for number, image in enumerate(images))


def taken(image: Any, limits: Limits = Limits()) -> Image:  # noqa: B008 -- nobody changes it
    """One image, as the module says, as a path, bytes, pixels uint8 [H, W, 3], or why not.

    What is one of these stays as it is, and is looked at when it is decoded.
    """
    if isinstance(image, str | os.PathLike | bytes):  # Or unreadable
        return image
    if isinstance(image, PillowImage):
        return _of_pillow(image, limits)
    if _is_buffer(image):
        return bytes(image)
    if _is_array(image):
        array = _array(image)
        if isinstance(array, Unreadable):
            return array
        return _pixels(array, _fault(array) or _scale([array]))
    if hasattr(image, "read"):
        return _content(image)
    return Unreadable(_no_image(image))


def _of_several(number: int, image: Any, limits: Limits) -> Image:
    found = taken(image, limits)
    return found if found is image else _at(number, found)


def _at(number: int, image: Image) -> Image:
    """The image, or what is wrong with it and which of several it is."""
    return Unreadable(f"images[{number}]: {image}") if isinstance(image, Unreadable) else image


def content_of(path: str | os.PathLike) -> bytes:
    """The bytes of a regular file; a pipe or a device might never end.

    Raises:
        OSError, ValueError: if it is none, is too large or cannot be read.
    """
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise OSError("it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is no regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise OSError(f"its {status.st_size / 2**30:.1f} GiB are more than an image has")
    with open(path, "rb") as file:
        return file.read()


def _is_one(images: Any) -> bool:
    kinds = str | os.PathLike | bytes | bytearray | memoryview | np.ndarray | PillowImage
    return isinstance(images, kinds) or hasattr(images, "read")


def _is_buffer(image: Any) -> bool:
    """Whether it holds the bytes of a file; a view of pixels has more dimensions."""
    if isinstance(image, memoryview):
        return image.ndim == 1 and image.itemsize == 1
    return isinstance(image, bytes | bytearray)


def _is_array(image: Any) -> bool:
    if isinstance(image, memoryview):
        return not _is_buffer(image)
    return hasattr(image, "__array__") and not isinstance(image, PillowImage)


def _no_image(image: Any) -> str:
    return (
        f"{type(image).__name__} is no image: give paths, contents of image files, open binary "
        "files, Pillow images, or arrays [H, W, 3] in 0..255"
    )


def _content(file: Any) -> bytes | Unreadable:
    """All of an open file, which then stands where it stood: it may be given twice."""
    try:
        sought = hasattr(file, "seekable") and file.seekable()
        place = file.tell() if sought else 0
        if sought:
            file.seek(0)
        data = file.read(MAX_FILE_BYTES + 1)
        if sought:
            file.seek(place)
    except (OSError, ValueError) as error:  # A closed file is a ValueError.
        return Unreadable(f"cannot be read: {error}")
    if not isinstance(data, bytes):
        return Unreadable("cannot be read: open the file in binary mode")
    if len(data) > MAX_FILE_BYTES:
        return Unreadable(f"cannot be read: more than {MAX_FILE_BYTES / 2**30:.0f} GiB")
    return data


def _of_pillow(image: PillowImage, limits: Limits) -> Image:
    if image.format in _JPEG and _is_unread(image):
        return _content(image.fp)
    if error := limits.refusal(image.height, image.width):
        return Unreadable(error)
    try:
        if image.mode.startswith("I;16"):
            return _coloured(np.asarray(image) >> 8)
        if image.mode in _MODES:
            return _coloured(np.asarray(image if image.mode == "RGB" else image.convert("RGBA")))
    except (OSError, ValueError, SyntaxError) as error:  # A file that is damaged, or closed
        return Unreadable(f"cannot be read: {error}")
    return Unreadable(f"a Pillow image of mode {image.mode}: convert it to RGB")


def _is_unread(image: PillowImage) -> bool:
    """Whether an opened JPEG is as its file is: nothing decoded, no draft, no later frame."""
    return bool(image.fp and image.tile) and not image.decoderconfig and not image.tell()


def _array(image: Any) -> np.ndarray | Unreadable:
    # PyTorch's gradients and devices are in NumPy's way, and it has no bfloat16 for it.
    if (torch := sys.modules.get("torch")) and isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = image.float() if image.dtype == torch.bfloat16 else image
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        return Unreadable(f"{type(image).__name__} cannot be taken as an array: {reason}")
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _of_block(block: np.ndarray) -> Iterator[Image]:
    """The images of [N, H, W, C]; all together tell whether they were divided by 255."""
    faults = list(map(_fault, block))
    scale = _scale([image for image, fault in zip(block, faults, strict=True) if not fault])
    pairs = enumerate(zip(block, faults, strict=True))
    return (_at(number, _pixels(image, fault or scale)) for number, (image, fault) in pairs)


def _pixels(array: np.ndarray, fault: str) -> np.ndarray | Unreadable:
    """An array as uint8 [H, W, 3], or its fault."""
    if fault:
        return Unreadable(fault)
    return _coloured(np.rint(array) if array.dtype.kind == "f" else array)


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """Uint8 [H, W, 3]: repeats grey and drops alpha, as `dfk.data.decode` does."""
    pixels = pixels.astype(np.uint8, copy=False)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]


def _fault(array: np.ndarray) -> str:
    """Why an array is no image, whatever its scale; "" if it may be one."""
    form = f"expected pixels [H, W, 3] in 0..255, got {array.dtype} {list(array.shape)}"
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or not array.size:
        return form
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4):
        return form + ": channels come last" * (array.shape[0] in (1, 3, 4))
    if array.dtype == np.uint8:
        return ""
    least, most = array.min(), array.max()
    if not np.isfinite([least, most]).all():
        return "expected pixels in 0..255, some are infinite or no number"
    return f"expected pixels in 0..255, got {least:g} to {most:g}" * bool(least < 0 or most > 255)


def _scale(images: Sequence[np.ndarray]) -> str:
    """What is wrong with floats, from 0 up, that were divided by 255; "" of others."""
    most = max((image.max() for image in images if image.dtype.kind == "f"), default=0)
    return "expected pixels in 0..255, got floats in 0..1: multiply by 255" * bool(0 < most <= 1)
