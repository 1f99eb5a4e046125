"""Split -> tf.data: shuffle or sample, fetch, resize, augment, crop, mix, weigh, prefetch."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dfk.data import augment, batch_order, reading, stored
from dfk.data.catalog import Split
from dfk.data.service import distribute
from dfk.errors import UsageError
from dfk.system import hardware

# (images, labels, seed) -> (images, labels), as `mixing.make_mixer` gives it.
Mixer = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


# Images of one size with no more pixels are augmented whole before they are cropped.
_WHOLE = 2**16
# Windows of each image of a holdout, at these shares of the room that there is for them.
_SPREAD = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
READY = 2  # Batches of what is not training that wait, at most
# What of the memory available the batches in work may take; bytes of a pixel that is decoded, and
# of one in a batch, in each of its shapes from uint8 to what is handed over.
_IN_WORK, _DECODED, _BATCHED = 0.25, 12, 40


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches of a training epoch. The rest that fills no batch waits for another epoch's order."""
    return max(1, images // batch_size)


def order(labels: np.ndarray, batch_size: int, balanced: bool, seed: int) -> batch_order.Order:
    """Which image stands where in the training batches of a split with these labels, int [N]."""
    if balanced:
        return batch_order.balanced(labels, seed)
    batch_size = min(batch_size, len(labels))
    length = steps_per_epoch(len(labels), batch_size) * batch_size
    return batch_order.shuffled(len(labels), length, seed)


def targets_of(labels: np.ndarray, classes: int) -> tf.Tensor:
    """What a network is to answer in training, float32 [N, C]: one-hot, or evenly without a label.

    Args:
        labels: int [N].
    """
    return tf.where(labels[:, None] < 0, 1 / classes, tf.one_hot(labels, classes))


def make_dataset(
    *,
    split: Split,
    classes: int,
    batch_size: int,
    image_size: int = 0,
    training: bool = False,
    augmentations: Sequence[augment.Step] = (),
    pairs: bool = False,
    crop: int = 0,
    mixer: Mixer | None = None,
    class_weight: Sequence[float] | None = None,
    balanced: bool = False,
    seed: int = 0,
    first_epoch: int = 0,
    epochs: int = 1,
    shard: tuple[int, int] = (0, 1),
    service: str = "",
    batches: Sequence[Sequence[int]] | None = None,
) -> tf.data.Dataset:
    """Makes the one input pipeline of the project.

    For training, every epoch has an order of its own, and everything random is drawn
    without state from (seed, step): the same arguments give the same batches whatever
    the number of threads, and a dataset that starts at `first_epoch` gives what an
    uninterrupted one gives from there. Otherwise the images come once, in order, the
    last batch as small as it is.

    Args:
        split: decoded images (`images.load`).
        classes: C, the length of a one-hot label.
        batch_size: images per batch; fewer where the split has fewer.
        image_size: side in pixels that images are resized to; 0 keeps their size, which
            must then be the same for all unless there is a `crop`.
        training: shuffle, and crop at random.
        augmentations: as `augment.parse` gives them. What is not training gets them where it
            stands in its batch: the same batches are drawn alike.
        pairs: show the view before an image degrades, too, in channels 3 to 5, where it does.
        crop: side of the random training crop; 0 for none. What is not training shows four crops
            of each image then, always the same, one after the other. Images that are smaller are
            padded by their reflection.
        mixer: what mixes the images and labels of a batch.
        class_weight: C weights w; an image with the label y, mixed or not, weighs
            sum_k w_k y_k. Keras' own `class_weight` would take the argmax of a mixed label.
        balanced: draw every class equally often, with repetition, instead of every image once.
        seed: of the order and the augmentations.
        first_epoch, epochs: training epochs first_epoch..epochs-1, counted from 0.
        shard: (i, n) makes the i-th of n equal shares of every training batch, for one of n
            processes that train together.
        service: grpc://HOST:PORT of a tf.data service whose workers make the training batches
            from the images' files, which they must see under the same paths; the batches of
            an epoch then come in any order.
        batches: of what is not training, the indices of each; all images of a batch have one
            size. By default all of them in their order, which then have one size or get it.

    Returns:
        A dataset of known cardinality of (images float32 [B, H, W, 3] in 0..255, labels
        float32 one-hot [B, C]; where unlabelled zeros, in training 1/C), and weights float32 [B]
        if there is a `class_weight`.

    Raises:
        UsageError: for an empty split, images of different sizes without an `image_size` or
            a `crop`, a crop larger than every image, turns of what is not square, or a batch that
            does not part into equal shares.
    """
    count = len(split)
    if not count:
        raise UsageError("the split holds no image")
    batch_size = min(batch_size, count)
    one_hot = tf.one_hot(split.labels, classes)
    labels = targets_of(split.labels, classes) if training else one_hot
    split = dataclasses.replace(split, images=stored.held(split.images))

    if not (image_size or crop or batches):
        _check_one_size(split)

    if not training:
        views = len(_SPREAD) if crop else 1
        numbers = range(views * count)
        batches = batches or [numbers[i : i + batch_size] for i in numbers[::batch_size]]
        fetch = reading.fetcher(split, image_size, crop)
        sequence = tf.constant(np.concatenate(batches), tf.int64)
        ends = np.cumsum([len(batch) for batch in batches])
        steps = tf.data.Dataset.from_tensor_slices(([0, *ends[:-1]], ends))
        steps.images = split.images  # See `reading.fetcher`.

        def ordered(start: tf.Tensor, end: tf.Tensor):
            indices, shares = (
                sequence[start:end] // views,
                tf.gather(_SPREAD, sequence[start:end] % views),
            )
            images = fetch(indices, lambda sizes: reading.spread_places(sizes, crop, shares))
            key = batch_order.key(seed, batch_order.AUGMENT, start)
            images = augment.augment(images, augmentations, key)
            return tf.cast(images, tf.float32), tf.gather(labels, indices)

        pixels = [(image_size or crop) ** 2 or math.prod(shape) for shape in split.shapes]
        most = _in_work(split, max(len(batch) * pixels[batch[0] // views] for batch in batches))
        return steps.map(ordered, _threads(most)).prefetch(min(READY, most))

    side = window_side(split, image_size, crop)
    fetch = reading.fetcher(split, image_size, side, from_files=bool(service))
    shown = image_size or side
    augment.check(augmentations, *((shown, shown) if shown else split.shapes[0]))
    grid = reading.GRID if side - crop >= reading.GRID - 1 else 1
    augmented = augment.pairs if pairs and augment.degrades(augmentations) else augment.augment
    part, parts = shard
    if batch_size % parts:
        raise UsageError(f"batches of {batch_size} images do not part into {parts} equal shares")
    share, per_epoch = batch_size // parts, steps_per_epoch(count, batch_size)
    indices_at = order(split.labels, batch_size, balanced, seed)

    def drawn(step: tf.Tensor):
        indices = indices_at(step * batch_size + part * share + tf.range(share, dtype=tf.int64))
        key = functools.partial(batch_order.key, seed, count=step * parts + part)
        seed_of_places = tf.random.experimental.stateless_fold_in(key(batch_order.CROP), 0)
        images = fetch(
            indices, lambda sizes: reading.drawn_places(sizes, side, grid, seed_of_places)
        )
        images = augmented(images, augmentations, key(batch_order.AUGMENT))
        if crop:
            images = augment.random_crop(images, crop, key(batch_order.CROP))
        images = tf.cast(images, tf.float32)
        targets = tf.gather(labels, indices)
        if mixer:
            images, targets = mixer(images, targets, key(batch_order.MIX))
        if class_weight is None:
            return images, targets
        return images, targets, tf.linalg.matvec(targets, tf.constant(class_weight, tf.float32))

    pixels = shown**2 or max(map(math.prod, split.shapes))
    threads = _threads(_in_work(split, share * pixels))

    def steps(first: int, end: int) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(first * per_epoch, end * per_epoch)
        numbers.images = split.images
        return numbers.map(drawn, threads)

    if not service:
        ready = tf.data.AUTOTUNE if threads == tf.data.AUTOTUNE else 1
        return steps(first_epoch, epochs).prefetch(ready)
    batches = distribute([steps(e, e + 1) for e in range(first_epoch, epochs)], service)
    # What comes from elsewhere does not tell its number.
    cardinality = tf.data.experimental.assert_cardinality((epochs - first_epoch) * per_epoch)
    return batches.apply(cardinality).prefetch(tf.data.AUTOTUNE)


def window_side(split: Split, image_size: int, crop: int) -> int:
    """The side of the windows that images are augmented in before they are cropped; 0 for none.

    Images of one size and no more than 256 x 256 pixels are augmented whole, and so are those that
    are resized. A window is larger than the crop, as far as the images that hold a crop allow.

    Raises:
        UsageError: if no image holds a crop.
    """
    sizes = {(image_size, image_size)} if image_size else set(split.shapes)
    holding = [min(size) for size in sizes if min(size) >= crop]
    if not holding:
        largest = max(map(min, sizes))
        raise UsageError(
            f"--train_crop={crop} does not fit images of {largest} pixels; choose {largest} or less"
        )
    if image_size or not crop or (len(sizes) == 1 and math.prod(*sizes) <= _WHOLE):
        return 0
    return min(reading.GRID * math.ceil((crop + reading.GRID) / reading.GRID), *holding)


def _check_one_size(split: Split) -> None:
    if len(sizes := set(split.shapes)) > 1:
        smallest, largest = min(sizes), max(sizes)
        raise UsageError(
            f"the images have {len(sizes)} sizes, from {smallest[1]} x {smallest[0]} to "
            f"{largest[1]} x {largest[0]}: train on crops of them with --train_crop, or resize "
            "them to one size with --image_size"
        )


def _in_work(split: Split, pixels: int) -> int:
    """How many batches of so many pixels memory allows to be in work, at least one."""
    sizes = [math.prod(shape) for shape in split.shapes]
    is_decoded = len(set(sizes)) > 1 or stored.files_of(split.images)
    held = pixels * _BATCHED + max(sizes) * _DECODED * bool(is_decoded)
    return max(1, int(_IN_WORK * hardware.available_bytes() / held))


def _threads(most: int) -> int:
    """AUTOTUNE, which takes up to as many as there are cores, where `most` are these."""
    return tf.data.AUTOTUNE if most >= hardware.cores() else most
