"""Which image stands where: a training batch's indices, a pure function of the seed and the step.

So a dataset can begin at any step, and each of several machines can make its own part of the
batches: nothing has to be handed on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# From positions, int64 [B], counted over all epochs, to indices of images, int64 [B].
Order = Callable[[tf.Tensor], tf.Tensor]

# What the stateless draws of a run are for; each gets a seed of its own. Those from SAMPLE on
# belong to the classes.
SHUFFLE, AUGMENT, CROP, MIX, SAMPLE = range(5)


def key(seed: int, purpose: int, count: tf.Tensor) -> tf.Tensor:
    """A stateless seed, int64 [2], of (seed, purpose, epoch or step)."""
    return tf.stack([tf.constant(seed * 1_000 + purpose, tf.int64), tf.cast(count, tf.int64)])


def shuffled(images: int, length: int, seed: int) -> Order:
    """Every epoch shows `length` of the images, each at most once, in an order of its own.

    The positions of a call must lie in one epoch.
    """

    def order(positions: tf.Tensor) -> tf.Tensor:
        epoch = positions[0] // length
        return tf.random.experimental.index_shuffle(
            positions % length, key(seed, SHUFFLE, epoch), tf.constant(images - 1, tf.int64)
        )

    return order


def balanced(labels: np.ndarray, seed: int) -> Order:
    """Every class comes equally often, and each of its images once before any comes again.

    Args:
        labels: int [N], the class of each image.
    """
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    # All images, class after class; where each class begins, and how many it has.
    images = tf.constant(np.concatenate(groups), tf.int64)
    counts = tf.constant([len(group) for group in groups], tf.int64)
    starts = tf.cumsum(counts, exclusive=True)

    def order(positions: tf.Tensor) -> tf.Tensor:
        # Turns of one image of each class; within a turn the classes are shuffled.
        turn, place = positions // len(groups), positions % len(groups)
        last = tf.fill(tf.shape(positions), tf.constant(len(groups) - 1, tf.int64))
        label = _shuffle(place, last, seed, tf.zeros_like(turn), turn)
        count = tf.gather(counts, label)
        within = _shuffle(turn % count, count - 1, seed, 1 + label, turn // count)
        return tf.gather(images, tf.gather(starts, label) + within)

    return order


def _shuffle(index, last, seed: int, purpose, count) -> tf.Tensor:
    """`index_shuffle` with a seed per element, which its Python function does not take."""
    seeds = tf.stack([seed * 1_000 + SAMPLE + purpose, count, tf.zeros_like(count)], axis=1)
    return tf.raw_ops.RandomIndexShuffle(index=index, seed=seeds, max_index=last, rounds=4)
