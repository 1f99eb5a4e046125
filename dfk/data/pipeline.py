"""Split -> tf.data: shuffle or sample, fetch, resize, augment, crop, mix, weigh, prefetch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dfk.data import augment
from dfk.data.catalog import Split
from dfk.layers import Resizing

# (images, labels, seed) -> (images, labels), as `mixing.make_mixer` gives it.
Mixer = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# What the stateless draws of a run are for; each gets a seed of its own.
_SHUFFLE, _AUGMENT, _CROP, _MIX, _SAMPLE = range(5)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches of a training epoch. The rest that fills no batch waits for another epoch's order."""
    return max(1, images // batch_size)


def make_dataset(
    *,
    split: Split,
    classes: int,
    batch_size: int,
    image_size: int = 0,
    training: bool = False,
    augmentations: Sequence[augment.Step] = (),
    crop: int = 0,
    mixer: Mixer | None = None,
    class_weight: Sequence[float] | None = None,
    balanced: bool = False,
    seed: int = 0,
    first_epoch: int = 0,
    epochs: int = 1,
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
            must then be the same for all.
        training: shuffle, augment and crop.
        augmentations: as `augment.parse` gives them.
        crop: side of the random training crop; 0 for none.
        mixer: what mixes the images and labels of a batch.
        class_weight: C weights w; an image with the label y, mixed or not, weighs
            sum_k w_k y_k. Keras' own `class_weight` would take the argmax of a mixed label.
        balanced: draw every class equally often, with repetition, instead of every image once.
        seed: of the order and the augmentations.
        first_epoch, epochs: training epochs first_epoch..epochs-1, counted from 0.

    Returns:
        A dataset of known cardinality of (images float32 [B, H, W, 3] in 0..255, labels
        float32 one-hot [B, C], zeros where unlabelled), and weights float32 [B] if there is
        a `class_weight`.

    Raises:
        ValueError: for an empty split, images of different sizes without an
            `image_size`, a crop larger than the images, or turns of what is not square.
    """
    count = len(split)
    if not count:
        raise ValueError("the split holds no image")
    fetch = _fetcher(split, image_size)
    batch_size = min(batch_size, count)
    labels = tf.one_hot(split.labels, classes)

    if not training:
        steps = tf.data.Dataset.range(0, count, batch_size)

        def ordered(start: tf.Tensor):
            indices = tf.range(start, tf.minimum(start + batch_size, count))
            return fetch(indices), tf.gather(labels, indices)

        return steps.map(ordered, tf.data.AUTOTUNE).prefetch(2)

    _check_crop(split, image_size, crop)
    height, width = (image_size,) * 2 if image_size else split.images[0].shape[:2]
    augment.check(augmentations, height, width)
    per_epoch = steps_per_epoch(count, batch_size)
    steps = tf.data.Dataset.range(first_epoch * per_epoch, epochs * per_epoch)
    order = _balanced_order if balanced else _shuffled_order
    indices = order(split, seed, first_epoch, epochs, per_epoch * batch_size)
    batches = indices.batch(batch_size, drop_remainder=True)

    def drawn(step: tf.Tensor, indices: tf.Tensor):
        images = augment.augment(fetch(indices), augmentations, _key(seed, _AUGMENT, step))
        if crop:
            images = augment.random_crop(images, crop, _key(seed, _CROP, step))
        targets = tf.ensure_shape(tf.gather(labels, indices), [batch_size, classes])
        if mixer:
            images, targets = mixer(images, targets, _key(seed, _MIX, step))
        if class_weight is None:
            return images, targets
        return images, targets, tf.linalg.matvec(targets, tf.constant(class_weight, tf.float32))

    # Of the steps, whose number is known; what comes out of a flat_map has none.
    drawn_batches = tf.data.Dataset.zip(steps, batches).map(drawn, tf.data.AUTOTUNE)
    cardinality = tf.data.experimental.assert_cardinality((epochs - first_epoch) * per_epoch)
    return drawn_batches.apply(cardinality).prefetch(tf.data.AUTOTUNE)


def _shuffled_order(
    split: Split, seed: int, first_epoch: int, epochs: int, length: int
) -> tf.data.Dataset:
    """Indices of `length` images per epoch, each at most once, in an order of its own."""
    last = len(split) - 1

    def epoch_order(epoch: tf.Tensor) -> tf.data.Dataset:
        key = _key(seed, _SHUFFLE, epoch)
        places = tf.data.Dataset.range(length)
        return places.map(lambda i: tf.random.experimental.index_shuffle(i, key, last))

    return tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_order)


def _balanced_order(
    split: Split, seed: int, first_epoch: int, epochs: int, length: int
) -> tf.data.Dataset:
    """Indices of `length` images per epoch, every class as often, each of its images in turn."""
    classes = [np.flatnonzero(split.labels == label) for label in np.unique(split.labels)]

    def rounds(epoch: int, label: int) -> tf.data.Dataset:
        """The images of a class without end, in another order every time around."""
        members = tf.constant(classes[label])
        count = len(classes[label])

        def pick(i: tf.Tensor) -> tf.Tensor:
            key = _key(seed, _SAMPLE + label, epoch * length + i // count)
            place = tf.random.experimental.index_shuffle(i % count, key, count - 1)
            return tf.gather(members, place)

        return tf.data.Dataset.counter().map(pick)

    def epoch_order(epoch: int) -> tf.data.Dataset:
        # The seed must be a number of Python's, so each epoch is a dataset of its own.
        datasets = [rounds(epoch, label) for label in range(len(classes))]
        drawn = tf.data.Dataset.sample_from_datasets(datasets, seed=seed * 1_000 + epoch)
        return drawn.take(length)

    orders = map(epoch_order, range(first_epoch, epochs))
    return functools.reduce(tf.data.Dataset.concatenate, orders)


def _fetcher(split: Split, image_size: int):
    """A graph function from indices [B] to images float32 [B, H, W, 3]."""
    images = split.images
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1 and not image_size:
        smallest, largest = min(sizes), max(sizes)
        raise ValueError(
            f"the images have {len(sizes)} sizes, from {smallest[1]} x {smallest[0]} to "
            f"{largest[1]} x {largest[0]}; choose one with --image_size"
        )
    # The layer that the model holds, so that training and serving resize alike.
    resize = Resizing(image_size, image_size) if image_size else None

    def same_size(indices: tf.Tensor) -> tf.Tensor:
        batch = tf.numpy_function(
            lambda rows: np.stack([images[i] for i in rows]), [indices], tf.uint8, stateful=False
        )
        batch = tf.cast(tf.ensure_shape(batch, [indices.shape[0], *images[0].shape]), tf.float32)
        return resize(batch) if resize else batch

    def any_size(indices: tf.Tensor) -> tf.Tensor:
        def one(index: tf.Tensor) -> tf.Tensor:
            image = tf.numpy_function(lambda i: images[i], [index], tf.uint8, stateful=False)
            return resize(tf.cast(tf.ensure_shape(image, [None, None, 3]), tf.float32))

        spec = tf.TensorSpec([image_size, image_size, 3], tf.float32)
        return tf.map_fn(one, indices, fn_output_signature=spec)

    return same_size if len(sizes) == 1 else any_size


def _check_crop(split: Split, image_size: int, crop: int) -> None:
    smallest = image_size or min(split.images[0].shape[:2])
    if crop > smallest:
        raise ValueError(f"--train_crop={crop} does not fit images of {smallest} pixels")


def _key(seed: int, purpose: int, count: tf.Tensor) -> tf.Tensor:
    """A stateless seed, int64 [2], of (seed, purpose, epoch or step)."""
    return tf.stack([tf.constant(seed * 1_000 + purpose, tf.int64), tf.cast(count, tf.int64)])
