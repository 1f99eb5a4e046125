"""How large an image may be: for a model, and for the memory that is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dfk.data import decode
from dfk.layers import native_crops
from dfk.system import hardware

# Of a call: images share it while all of them together take no more.
CALL_BYTES = 2**30
# Bytes of a pixel that waits for its call: uint8 and float32 of three colours.
_READY = 15
# What is taken of the memory available; the next images are decoded meanwhile.
_SHARE = 0.8


class Memory(NamedTuple):
    """The memory that images take, from the file to the answer.

    Attributes:
        bytes_per_pixel: of the image.
        crops: for each network that sees no more than crops of a large image (`NativeCrops`), the
            bytes that a pixel of them takes, and their side in pixels.
    """

    bytes_per_pixel: float = 24
    crops: tuple[tuple[float, int], ...] = ()

    def of(self, height, width):
        """Bytes of an image; height and width are numbers, or float scalars of a graph."""
        total = self.bytes_per_pixel * height * width
        for cost, side in self.crops:
            rows, columns, high, wide = native_crops.grid(height, width, side)
            total += cost * rows * columns * high * wide
        return total

    @property
    def sides(self) -> list[int]:
        """The sides of the crops, each once."""
        return sorted({side for _, side in self.crops})

    def is_cut(self, height: int, width: int) -> bool:
        """Whether a network sees no more than crops of an image."""
        return bool(self.crops) and max(height, width) > self.sides[0]

    def crops_of(self, height: int, width: int) -> int:
        """How many crops of an image a network sees, at most; 1 where it is not larger."""
        grids = [native_crops.grid(height, width, side)[:2] for side in self.sides]
        return max((rows * columns for rows, columns in grids), default=1)

    @property
    def crops_at_most(self) -> float:
        """Bytes of the crops of an image, however large it is."""
        return sum(cost * native_crops.most_crops(side) * side**2 for cost, side in self.crops)


def told(larger: int, sides: Sequence[int]) -> str:
    """What is said of images that are larger than crops of some sides."""
    sizes = " or ".join(f"{side} x {side}" for side in sides)
    most = max(map(native_crops.most_crops, sides))
    what = f"the logits of up to {most} crops of each are averaged."
    if most == 1:
        what = "of each the middle is seen."
    return f"Images larger than {sizes}: {larger}; {what}"


class Limits(NamedTuple):
    """What an image may be for a model to answer.

    Attributes:
        smallest_image: pixels a side.
        memory: that it takes; see `models.memory`.
        max_pixels: whatever the memory is.
    """

    smallest_image: int = 1
    memory: Memory = Memory()
    max_pixels: int = decode.MAX_PIXELS

    def most_pixels(self) -> int:
        """Pixels of the largest image that there is memory for now, but for its crops."""
        most = int(_SHARE * hardware.available_bytes() / self.memory.bytes_per_pixel)
        return min(self.max_pixels, most)

    def refusal(self, height: int, width: int) -> str:
        """Why an image of this size is not answered; "" if it is."""
        pixels, most = height * width, self.max_pixels
        if min(height, width) < self.smallest_image:
            return (
                f"the model cannot take an image of {width} x {height} pixels: it needs "
                f"{self.smallest_image} a side"
            )
        if pixels > most:
            return f"{width} x {height} pixels, more than {round(most / 1e6, 2):g} megapixels"
        needed, there = self.memory.of(height, width) / _SHARE, hardware.available_bytes()
        if needed > there:
            return (
                f"{width} x {height} pixels would need about {needed / 2**30:.1f} GiB with this "
                f"model, {there / 2**30:.1f} GiB are available; crop the image, or free memory"
            )
        return ""

    def at_once(self, height: int, width: int, batch_size: int, ready: int = 0) -> int:
        """How many images of one size share a call.

        Args:
            ready: how many calls' images are decoded besides, which count as the call's own.
        """
        most = min(CALL_BYTES, _SHARE * hardware.available_bytes())
        each = self.memory.of(height, width) + ready * _READY * height * width
        return max(1, min(batch_size, int(most / each)))
