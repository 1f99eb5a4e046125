"""What `dfk.data.kernels` does to the pixels of a batch, in JAX: for images that lie on a device.

Nothing is drawn here: the arguments are what `dfk.data.draws` gives. Images are uint8 or float32
[N, H, W, 3] in 0..255. Only what trains on JAX imports this.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma


def mirror(images: jax.Array, chosen: jax.Array, axis: int) -> jax.Array:
    """Reverses the chosen images, bool [N], along an axis of the batch."""
    return jnp.where(chosen[:, None, None, None], jnp.flip(images, axis), images)


def turn(images: jax.Array, quarters: jax.Array) -> jax.Array:
    """Turns square images by `quarters` int32 [N] times 90 degrees, counter-clockwise."""
    turned = [jnp.rot90(images, k, axes=(1, 2)) for k in range(4)]
    return lax.select_n(jnp.broadcast_to(quarters[:, None, None, None], images.shape), *turned)


def rotate(images: jax.Array, angle: jax.Array) -> jax.Array:
    """Turns about the centre by radians [N]: the nearest pixel, the border reflected."""
    count, height, width, channels = images.shape
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    x, y = (width - 1) / 2, (height - 1) / 2
    across = jnp.arange(width, dtype=jnp.float32)
    down = jnp.arange(height, dtype=jnp.float32)[:, None]
    column = _nearest(cos * across - sin * down + (x - x * cos + y * sin), width)
    row = _nearest(sin * across + cos * down + (y - x * sin - y * cos), height)
    places = (row * width + column).reshape(count, -1, 1)
    pixels = images.reshape(count, -1, channels)
    return jnp.take_along_axis(pixels, places, axis=1).reshape(images.shape)


def _nearest(place: jax.Array, size: int) -> jax.Array:
    """The index within 0..size-1 of where a coordinate falls, reflected at the edges."""
    inside = jnp.where(place < 0, -place - 1, place)
    inside = jnp.where(inside >= size, 2 * size - 1 - inside, inside)
    return jnp.floor(jnp.clip(inside, 0, size - 1) + 0.5).astype(jnp.int32)


def jitter(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Changes brightness, contrast about the mean grey level and saturation by factors [N, 3]."""
    brightness, contrast, saturation = factors.T[..., None, None]
    to_grey = jnp.tile(_GREY[:, None], (1, 3))
    matrix = saturation * jnp.eye(3) + (1 - saturation) * to_grey
    mean = jnp.sum(images.mean(axis=(1, 2)) * _GREY, axis=-1)[:, None, None]
    matrix, offset = brightness * contrast * matrix, brightness * (1 - contrast) * mean
    # Three columns at a time: a product with so small a matrix would not be fused, nor be exact.
    mixed = sum(images[..., k : k + 1] * matrix[:, None, None, k] for k in range(3))
    return jnp.clip(mixed + offset[:, None], 0, 255)


def blur(images: jax.Array, weight: jax.Array) -> jax.Array:
    """Mixes each pixel with its neighbours, `weight` [N] of either, the edges reflected."""
    side = weight[:, None, None, None]
    for axis in (1, 2):
        before, after = (_shifted(images, axis, by) for by in (-1, 1))
        images = (1 - 2 * side) * images + side * (before + after)
    return images


def gaussian(images: jax.Array, sigma: jax.Array) -> jax.Array:
    """Blurs with a whole Gaussian of `sigma` [N] pixels; whole numbers, as a file would hold."""
    for axis in (1, 2):
        place = jnp.arange(images.shape[axis], dtype=jnp.float32)
        weight = jnp.exp(-(((place - place[:, None]) / sigma[:, None, None]) ** 2) / 2)
        weight = weight / weight.sum(axis=2, keepdims=True)
        way = "nij,njwc->niwc" if axis == 1 else "nij,nhjc->nhic"
        # A GPU would multiply in TF32, which tells one grey level from the next no more.
        images = jnp.einsum(way, weight, images, precision=lax.Precision.HIGHEST)
    return _whole(images)


def noise(images: jax.Array, drawn: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Adds Gaussian noise of a standard deviation [N], from a seed uint32 [2]; whole numbers.

    The noise itself is JAX's: as strong as the host's, and other.
    """
    sigma, seed = drawn
    normal = jax.random.normal(jax.random.wrap_key_data(seed, impl="threefry2x32"), images.shape)
    return _whole(images + sigma[:, None, None, None] * normal)


def tone(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Changes brightness, contrast about the mean and gamma by factors [N, 3]; whole numbers."""
    brightness, contrast, gamma = factors.T[..., None, None, None]
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    changed = jnp.clip((images * brightness - mean) * contrast + mean, 0, 255)
    return _whole(255 * (changed / 255) ** gamma)


def cut(images: jax.Array, drawn: jax.Array) -> jax.Array:
    """Cuts shares of the sides away, [N, 2, 2], and fills what is free by reflection."""
    for axis in (1, 2):
        size = images.shape[axis]
        share, where = drawn[:, axis - 1, :, None].swapaxes(0, 1)
        kept = jnp.maximum(jnp.round(size * (1 - share)), 2)
        first = jnp.floor(where * (size - kept + 1))
        place = jnp.arange(size, dtype=jnp.float32) % (2 * kept - 2)
        place = (first + jnp.minimum(place, 2 * kept - 2 - place)).astype(jnp.int32)
        place = place[:, :, None, None] if axis == 1 else place[:, None, :, None]
        images = jnp.take_along_axis(images, place, axis=axis)
    return images


def _whole(images: jax.Array) -> jax.Array:
    return jnp.clip(jnp.round(images), 0, 255)


def _shifted(images: jax.Array, axis: int, by: int) -> jax.Array:
    """Each pixel's neighbour; beyond the first pixel lies the second."""
    size = images.shape[axis]
    place = jnp.abs(jnp.arange(size) + by)
    return jnp.take(images, jnp.where(place < size, place, size - 2), axis=axis)


def crop(images: jax.Array, places: jax.Array, size: int) -> jax.Array:
    """Cuts the `size` x `size` window that begins at `places`, int32 [N, 2], from each image."""

    def cut(image: jax.Array, place: jax.Array) -> jax.Array:
        return lax.dynamic_slice(image, (place[0], place[1], 0), (size, size, image.shape[-1]))

    return jax.vmap(cut)(images, places)


def blend(images: jax.Array, labels: jax.Array, share: jax.Array, order: jax.Array):
    """MixUp: `share` [N] of each image and label, and the rest of those that `order` [N] names."""
    part = share[:, None, None, None]
    mixed = part * images + (1 - part) * images[order]
    return mixed, _blended(labels, share, order)


def paste(images: jax.Array, labels: jax.Array, boxes: jax.Array, order: jax.Array):
    """CutMix: fills a box [N, 4] of each image from another; labels tell the pixels pasted."""
    x, y, width, height = boxes.astype(jnp.float32).T[..., None]
    across, down = (jnp.arange(size, dtype=jnp.float32) for size in images.shape[2:0:-1])
    columns = (across >= x - width / 2) & (across < x + width / 2)
    rows = (down >= y - height / 2) & (down < y + height / 2)
    inside = rows[:, :, None] & columns[:, None]
    mixed = jnp.where(inside[..., None], images[order], images)
    return mixed, _blended(labels, 1 - inside.mean(axis=(1, 2)), order)


def _blended(labels: jax.Array, share: jax.Array, order: jax.Array) -> jax.Array:
    share = share[:, None]
    return share * labels + (1 - share) * labels[order]
