"""Training batches of images that lie on a device: drawn here, made there.

The pipeline (`dfk.data.pipeline`) draws for each step which images it has and what becomes of
them, a few numbers an image, and hands over those of many steps at once. From these and the
images, which are on the device already, JAX makes the batches. What is drawn is what
`make_dataset` draws with the same arguments; the batches are the same but for rounding, and for
`noise`, whose values are too many to be handed over: they come from a seed that is drawn.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from dfk.config.augmentation import Step
from dfk.data import augment, batch_order, draws, pipeline
from dfk.data.catalog import Split

# Steps that are drawn, and done, at once; what is to be seen of them is seen after so many.
AT_ONCE = 128


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the batches of a training are made; the names are those of `make_dataset`.

    Attributes:
        height, width: of the images before they are cropped.
        mixup_alpha, cutmix_alpha, switch_prob: as `dfk.data.mixing.make_mixer` has them.
    """

    classes: int
    batch_size: int
    height: int
    width: int
    image_size: int = 0
    augmentations: Sequence[Step] = ()
    crop: int = 0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    switch_prob: float = 0.5
    class_weight: Sequence[float] | None = None
    balanced: bool = False
    seed: int = 0

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what a network sees."""
        return (self.crop, self.crop) if self.crop else (self.height, self.width)


class Held(NamedTuple):
    """What lies on the device: images [N, H, W, 3], mostly uint8, and labels float32 [N, C]."""

    images: Any
    labels: Any


def _seeded_noise(count: int, sigma: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """How strong the noise of each image is, and a seed of it as JAX has them, uint32 [2]."""
    drawn, key = draws.noise(count, sigma, seed)
    return drawn, tf.bitcast(tf.cast(key, tf.int32), tf.uint32)


# What is drawn for an augmentation: from the number of images, its strength and a seed.
_DRAWN: dict[str, Callable[[int, float, tf.Tensor], Any]] = {
    "flip": draws.flip,
    "vflip": draws.flip,
    "turn": draws.turn,
    "rotate": draws.rotate,
    "jitter": draws.jitter,
    "blur": draws.blur,
    "gaussian": draws.gaussian,
    "noise": _seeded_noise,
    "tone": draws.tone,
    "cut": draws.cut,
}


def others(augmentations: Sequence[Step]) -> list[str]:
    """The augmentations that a device cannot do: what writes files, or resizes by what is drawn."""
    return [step.name for step in augmentations if step.name not in _DRAWN]


def blocks(steps: int) -> list[int]:
    """How many of the steps of an epoch are done at once, one after the other.

    All the same number where that is not far below `AT_ONCE`, since JAX compiles for each number;
    else two that differ by one.
    """
    least = math.ceil(steps / AT_ONCE)
    count = next((n for n in range(least, 4 * least) if steps % n == 0), least)
    each, more = divmod(steps, count)
    return [each + (i < more) for i in range(count)]


def drawn(labels: np.ndarray, recipe: Recipe, *, first_epoch: int, epochs: int) -> tf.data.Dataset:
    """What is drawn for the steps of epochs first_epoch..epochs-1, a block of them an element.

    Args:
        labels: int [N], the class of each image.

    Returns:
        Dictionaries with a first axis over the steps of a block: `indices` int32 [K, B], what each
        augmentation draws, `crop` and what is mixed.
    """
    steps = pipeline.steps_per_epoch(len(labels), recipe.batch_size)
    sizes = blocks(steps)
    ends = tf.constant(np.cumsum(sizes), tf.int64)
    indices_at = pipeline.order(labels, recipe.batch_size, recipe.balanced, recipe.seed)
    one = functools.partial(_one, recipe, min(recipe.batch_size, len(labels)), indices_at)
    like = tf.function(one).get_concrete_function(tf.TensorSpec([], tf.int64)).structured_outputs
    spec = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), like)

    def block(number: tf.Tensor) -> dict[str, Any]:
        epoch, place = number // len(sizes), number % len(sizes)
        end = epoch * steps + ends[place]
        start = end - tf.gather(tf.constant(sizes, tf.int64), place)
        return tf.map_fn(one, tf.range(start, end), fn_output_signature=spec)

    numbers = tf.data.Dataset.range(first_epoch * len(sizes), epochs * len(sizes))
    return numbers.map(block, tf.data.AUTOTUNE).prefetch(2)


def _one(recipe: Recipe, count: int, indices_at: batch_order.Order, step: tf.Tensor):
    """What is drawn for a step, int64 []."""
    key = functools.partial(batch_order.key, recipe.seed, count=step)
    indices = indices_at(step * count + tf.range(count, dtype=tf.int64))
    numbers = {"indices": tf.ensure_shape(tf.cast(indices, tf.int32), [count])}
    for position, (name, strength) in enumerate(recipe.augmentations):
        seed = tf.random.experimental.stateless_fold_in(key(batch_order.AUGMENT), position)
        numbers[f"augment{position}"] = _DRAWN[name](count, strength, seed)
    if recipe.crop:
        place = count, recipe.height, recipe.width, recipe.crop
        numbers["crop"] = draws.crop(*place, key(batch_order.CROP))
    switch_key, seed = draws.keys(key(batch_order.MIX), 2)
    if recipe.mixup_alpha:
        numbers["mixup"] = draws.mixup(count, recipe.mixup_alpha, seed)
    if recipe.cutmix_alpha:
        numbers["cutmix"] = draws.cutmix(count, *recipe.sides, recipe.cutmix_alpha, seed)
    if recipe.mixup_alpha and recipe.cutmix_alpha:
        numbers["is_cutmix"] = draws.is_cutmix(recipe.switch_prob, switch_key)
    return numbers


def made(recipe: Recipe, held: Held, numbers: dict[str, Any]) -> tuple[Any, ...]:
    """The batch of a step, in JAX, from what was drawn for it.

    Returns:
        Images float32 [B, H, W, 3], labels float32 [B, C], and weights float32 [B] where classes
        have some.
    """
    import jax.numpy as jnp
    from jax import lax

    from dfk.data import device_kernels as kernels
    from dfk.layers import Resizing

    images, labels = (x[numbers["indices"]] for x in held)
    if recipe.image_size:
        images = Resizing(recipe.image_size, recipe.image_size)(images)
    apply = {
        "flip": functools.partial(kernels.mirror, axis=2),
        "vflip": functools.partial(kernels.mirror, axis=1),
        **{name: getattr(kernels, name) for name in _DRAWN.keys() - {"flip", "vflip"}},
    }
    for position, (name, _) in enumerate(recipe.augmentations):
        if name not in augment.MOVES:
            images = images.astype(jnp.float32)
        images = apply[name](images, numbers[f"augment{position}"])
    if recipe.crop:
        images = kernels.crop(images, numbers["crop"], recipe.crop)
    images = images.astype(jnp.float32)

    def cutmix(images, labels):
        return kernels.paste(images, labels, *numbers["cutmix"])

    def mixup(images, labels):
        return kernels.blend(images, labels, *numbers["mixup"])

    if "is_cutmix" in numbers:
        images, labels = lax.cond(numbers["is_cutmix"], cutmix, mixup, images, labels)
    elif "cutmix" in numbers:
        images, labels = cutmix(images, labels)
    elif "mixup" in numbers:
        images, labels = mixup(images, labels)
    if recipe.class_weight is None:
        return images, labels
    return images, labels, labels @ jnp.array(recipe.class_weight, jnp.float32)


def stacked(split: Split) -> np.ndarray:
    """The images of a split, all of one size, in one array [N, H, W, 3]."""
    first = np.asarray(split.images[0])
    images = np.empty((len(split), *first.shape), first.dtype)
    for i in range(len(split)):
        images[i] = split.images[i]
    return images
