"""Split -> tf.data: shuffle or sample, fetch, resize, augment, crop, mix, weigh, prefetch."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from dfk.data import augment, batch_order
from dfk.data.catalog import Split
from dfk.data.decode import decode
from dfk.data.service import distribute
from dfk.errors import UsageError
from dfk.layers import Resizing

# (images, labels, seed) -> (images, labels), as `mixing.make_mixer` gives it.
Mixer = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


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
    shard: tuple[int, int] = (0, 1),
    service: str = "",
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
        shard: (i, n) makes the i-th of n equal shares of every training batch, for one of n
            processes that train together.
        service: grpc://HOST:PORT of a tf.data service whose workers make the training batches
            from the images' files, which they must see under the same paths; the batches of
            an epoch then come in any order.

    Returns:
        A dataset of known cardinality of (images float32 [B, H, W, 3] in 0..255, labels
        float32 one-hot [B, C], zeros where unlabelled), and weights float32 [B] if there is
        a `class_weight`.

    Raises:
        UsageError: for an empty split, images of different sizes without an
            `image_size`, a crop larger than the images, turns of what is not square, or a
            batch that does not part into equal shares.
    """
    count = len(split)
    if not count:
        raise UsageError("the split holds no image")
    fetch = _fetcher(split, image_size, from_files=bool(service))
    batch_size = min(batch_size, count)
    labels = tf.one_hot(split.labels, classes)

    if not training:
        steps = tf.data.Dataset.range(0, count, batch_size)

        def ordered(start: tf.Tensor):
            indices = tf.range(start, tf.minimum(start + batch_size, count))
            return tf.cast(fetch(indices), tf.float32), tf.gather(labels, indices)

        return steps.map(ordered, tf.data.AUTOTUNE).prefetch(2)

    _check_crop(split, image_size, crop)
    height, width = (image_size,) * 2 if image_size else split.images[0].shape[:2]
    augment.check(augmentations, height, width)
    part, parts = shard
    if batch_size % parts:
        raise UsageError(f"batches of {batch_size} images do not part into {parts} equal shares")
    share, per_epoch = batch_size // parts, steps_per_epoch(count, batch_size)
    if balanced:
        indices_at = batch_order.balanced(split.labels, seed)
    else:
        indices_at = batch_order.shuffled(count, per_epoch * batch_size, seed)

    def drawn(step: tf.Tensor):
        indices = indices_at(step * batch_size + part * share + tf.range(share, dtype=tf.int64))
        key = functools.partial(batch_order.key, seed, count=step * parts + part)
        images = augment.augment(fetch(indices), augmentations, key(batch_order.AUGMENT))
        if crop:
            images = augment.random_crop(images, crop, key(batch_order.CROP))
        images = tf.cast(images, tf.float32)
        targets = tf.gather(labels, indices)
        if mixer:
            images, targets = mixer(images, targets, key(batch_order.MIX))
        if class_weight is None:
            return images, targets
        return images, targets, tf.linalg.matvec(targets, tf.constant(class_weight, tf.float32))

    def steps(first: int, end: int) -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(first * per_epoch, end * per_epoch)
        return numbers.map(drawn, tf.data.AUTOTUNE)

    if not service:
        return steps(first_epoch, epochs).prefetch(tf.data.AUTOTUNE)
    batches = distribute([steps(e, e + 1) for e in range(first_epoch, epochs)], service)
    # What comes from elsewhere does not tell its number.
    cardinality = tf.data.experimental.assert_cardinality((epochs - first_epoch) * per_epoch)
    return batches.apply(cardinality).prefetch(tf.data.AUTOTUNE)


def _fetcher(split: Split, image_size: int, *, from_files: bool):
    """A graph function from indices [B] to images [B, H, W, 3]: uint8, or float32 if resized."""
    images = split.images
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1 and not image_size:
        smallest, largest = min(sizes), max(sizes)
        raise UsageError(
            f"the images have {len(sizes)} sizes, from {smallest[1]} x {smallest[0]} to "
            f"{largest[1]} x {largest[0]}; choose one with --image_size"
        )
    # The layer that the model holds, so that training and serving resize alike.
    resize = Resizing(image_size, image_size) if image_size else None

    read = _file_reader(split) if from_files else _memory_reader(images)

    def same_size(indices: tf.Tensor) -> tf.Tensor:
        if from_files:
            batch = tf.map_fn(read, indices, fn_output_signature=tf.uint8)
        else:
            batch = tf.numpy_function(
                lambda rows: np.stack([images[i] for i in rows]),
                [indices],
                images[0].dtype,
                stateful=False,
            )
        batch = tf.ensure_shape(batch, [indices.shape[0], *images[0].shape])
        return resize(batch) if resize else batch

    def any_size(indices: tf.Tensor) -> tf.Tensor:
        def one(index: tf.Tensor) -> tf.Tensor:
            return resize(read(index))

        spec = tf.TensorSpec([image_size, image_size, 3], tf.float32)
        return tf.map_fn(one, indices, fn_output_signature=spec)

    return same_size if len(sizes) == 1 else any_size


def _memory_reader(images: Sequence[np.ndarray]):
    """A graph function from an index to a decoded image, uint8 [H, W, 3]."""

    def read(index: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(lambda i: images[i], [index], tf.uint8, stateful=False)
        return tf.ensure_shape(image, [None, None, 3])

    return read


def _file_reader(split: Split):
    """The same from files, for other processes, which do not have what is in memory here."""
    paths = tf.constant([os.path.abspath(path) for path in split.paths])
    return lambda index: decode(tf.io.read_file(tf.gather(paths, index)))


def _check_crop(split: Split, image_size: int, crop: int) -> None:
    smallest = image_size or min(split.images[0].shape[:2])
    if crop > smallest:
        raise UsageError(f"--train_crop={crop} does not fit images of {smallest} pixels")
