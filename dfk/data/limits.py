"""How large an image may be: for a model, and for the memory that is there."""

from __future__ import annotations

from typing import NamedTuple

from dfk.data import decode
from dfk.system import hardware

# Of a call: images share it while all of them together take no more.
CALL_BYTES = 2**30
# What is taken of the memory available; the next images are decoded meanwhile.
_SHARE = 0.8


class Limits(NamedTuple):
    """What an image may be for a model to answer.

    Attributes:
        smallest_image: pixels a side.
        bytes_per_pixel: of memory, from the file to the answer; see `models.bytes_per_pixel`.
        max_pixels: whatever the memory is.
    """

    smallest_image: int = 1
    bytes_per_pixel: float = 24
    max_pixels: int = decode.MAX_PIXELS

    def most_pixels(self) -> int:
        """Pixels of the largest image that there is memory for now."""
        most = int(_SHARE * hardware.available_bytes() / self.bytes_per_pixel)
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
        if pixels > self.most_pixels():
            needed = pixels * self.bytes_per_pixel / _SHARE / 2**30
            return (
                f"{width} x {height} pixels would need about {needed:.1f} GiB with this model, "
                f"{hardware.available_bytes() / 2**30:.1f} GiB are available; crop the image, or "
                "free memory"
            )
        return ""

    def at_once(self, height: int, width: int, batch_size: int) -> int:
        """How many images of one size share a call."""
        most = min(CALL_BYTES, _SHARE * hardware.available_bytes())
        return max(1, min(batch_size, int(most / (height * width * self.bytes_per_pixel))))
