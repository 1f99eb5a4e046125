"""The graph that other formats are converted from: pixels in, probabilities out."""

from __future__ import annotations

import tensorflow as tf

from dfk.export.dense import Dense
from dfk.layers.tiles import portable

PIXELS, ANSWER = "images", "probabilities"


class Graph(tf.Module):
    """A dense part with its resizing, of operations that other runtimes have.

    Args:
        dense: which nothing has called before.
    """

    def __init__(self, dense: Dense):
        super().__init__()
        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name=PIXELS)

        @tf.function(input_signature=[pixels], autograph=False)
        def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
            batch = [
                layer(images) if layer else tf.cast(images, tf.float32)
                for layer in dense.resizes.values()
            ]
            return {ANSWER: dense.function(*batch)}

        self.function = answer
        with portable():
            self.traced = answer.get_concrete_function()
        # Those of an ensemble's combiner: a SavedModel keeps the variables that it can reach.
        self.weights = list(self.traced.graph.variables)
