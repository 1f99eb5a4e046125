"""What augmentations draw: without state, so that a seed says it all."""

from __future__ import annotations

import tensorflow as tf


def uniform(
    images: tf.Tensor, seed: tf.Tensor, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Draws float32 [N, *shape] in [low, high), a value of its own for each image."""
    return tf.random.stateless_uniform([tf.shape(images)[0], *shape], seed, low, high)
