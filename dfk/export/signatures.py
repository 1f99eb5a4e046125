"""The graph that is served: image bytes or pixels in, a dictionary of answers out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from dfk.data import decode
from dfk.data.limits import CALL_BYTES
from dfk.export.dense import Dense
from dfk.models.limits import DECODED

BYTES, IMAGES = "serving_default", "serve_images"

# Images of a batch that are decoded at once, whatever the number of cores.
_DECODED_AT_ONCE = 4
# What a request may take beside the files of its images, unless a limit of pixels is given.
BUDGET_BYTES = 2**32

_Pixels = list[tf.Tensor]


class Served:
    """A model as TF Serving sees it.

    An image that cannot be decoded, or that the network has no answer for (smaller than it
    can take), is answered by valid = false, zeros and "", and does not disturb its neighbours.

    Args:
        dense: from images of its sizes to probabilities [N, C].
        class_names: C names.
        max_pixels: of an image; a larger one is refused by its header. By default those that
            `largest_image` finds.
        least_logit: the centred logit from which an image counts as of a known generator, as
            `dfk.evaluation.conformal` has it; 0 where all do.
    """

    def __init__(
        self,
        dense: Dense,
        class_names: Sequence[str],
        max_pixels: int = 0,
        least_logit: float = 0.0,
    ):
        self._resizes, self._dense = dense.resizes, dense.function
        self._smallest, self._class_names = dense.smallest, tuple(class_names)
        self._least_logit = least_logit
        self.max_pixels = max_pixels or largest_image(dense)
        self._memory = dense.memory

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False
    )
    def serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for image files, string [N]; N may be 0."""
        count = tf.size(image_bytes, tf.int64)
        index, pixels = self._decoded(image_bytes)
        valid = tf.scatter_nd(index, tf.ones_like(index[:, 0], tf.bool), [count])
        if None in self._resizes:
            return self._answers(self._one_size_at_a_time(index, pixels, count), valid)
        # The broken ones stay as black images, so that no shape depends on what is in the files;
        # and a batch of none is one of a black image, TensorFlow's convolutions fail without.
        rows = tf.maximum(count, 1)
        batch = [tf.scatter_nd(index, x, [rows, *x.shape[1:]]) for x in pixels]
        return self._answers(self._dense(*batch)[:count], valid)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")],
        autograph=False,
    )
    def serve_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for pixels, uint8 [N, H, W, 3]; N may be 0."""
        count, side = tf.shape(images)[0], self._smallest
        shape = tf.shape(images, tf.int64)
        valid = _fits(shape[1:3], side) & (shape[1] * shape[2] <= self.max_pixels)
        usable = tf.cond(
            valid & (count > 0),
            lambda: images,
            lambda: tf.zeros([tf.maximum(count, 1), side, side, 3], tf.uint8),
        )
        return self._answers(self._in_parts(usable)[:count], tf.fill([count], valid))

    def _in_parts(self, images: tf.Tensor) -> tf.Tensor:
        """Probabilities [N, C] of uint8 [N, H, W, 3], of so many at a time as memory allows."""
        count, height, width = (tf.shape(images)[i] for i in range(3))
        at_once = self._at_once(height, width)

        def answer(start: tf.Tensor, answers: tf.Tensor):
            part = images[start : start + at_once]
            answered = self._dense(*[_resized(part, layer) for layer in self._resizes.values()])
            return start + at_once, tf.concat([answers, answered], 0)

        _, answers = tf.while_loop(
            lambda start, _: start < count,
            answer,
            [tf.constant(0), tf.zeros([0, len(self._class_names)])],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, len(self._class_names)])],
            parallel_iterations=1,
        )
        return answers

    def _at_once(self, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """How many images of a size share a call: while they take no more than an image may."""
        height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
        by_pixels = self.max_pixels / (height * width)
        by_memory = CALL_BYTES / self._memory.of(height, width)
        return tf.maximum(tf.cast(tf.minimum(by_pixels, by_memory), tf.int32), 1)

    def save(self, folder: Path) -> None:
        """Writes the SavedModel with its two signatures; the dense part is its `tpu_func`."""
        module = tf.Module()
        module.dense = self._dense
        # Those of an ensemble's combiner: a SavedModel keeps the variables that it can reach.
        module.weights = list(self._dense.get_concrete_function().graph.variables)
        options = tf.saved_model.SaveOptions(function_aliases={"tpu_func": module.dense})
        signatures = {BYTES: self.serve_bytes, IMAGES: self.serve_images}
        with quiet():
            tf.saved_model.save(module, str(folder), signatures=signatures, options=options)

    def _decoded(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, _Pixels]:
        """The images that can be read: where they were, int64 [K, 1], and per size their pixels.

        Those that keep their own size come as serialised tensors, string [K].
        """
        count = tf.size(image_bytes, tf.int64)

        def read(index: tf.Tensor, data: tf.Tensor):
            image = decode.decode(data, self.max_pixels)
            fits = tf.debugging.Assert(_fits(tf.shape(image)[:2], self._smallest), [index])
            with tf.control_dependencies([fits]):
                image = tf.identity(image)
            return index, *[
                _resized(image, layer) if layer else tf.io.serialize_tensor(image)
                for layer in self._resizes.values()
            ]

        # What fails in a dataset can be left out; elsewhere in a graph it fails the whole batch.
        files = tf.data.Dataset.from_tensor_slices((tf.range(count), image_bytes))
        images = files.map(read, num_parallel_calls=_DECODED_AT_ONCE).ignore_errors()
        # Another element at the end: there is no batch of nothing.
        last = [tf.zeros(spec.shape, spec.dtype) for spec in images.element_spec]
        images = images.concatenate(tf.data.Dataset.from_tensors(tuple(last)))
        options = tf.data.Options()
        options.autotune.enabled = False  # It would start a thread per request.
        batch = images.batch(count + 1).with_options(options).get_single_element()
        index, *pixels = [x[:-1] for x in batch]
        return index[:, None], pixels

    def _one_size_at_a_time(self, index: tf.Tensor, pixels: _Pixels, count: tf.Tensor) -> tf.Tensor:
        """Probabilities [N, C] of images of any sizes: those of one size share a batch."""
        native = list(self._resizes).index(None)
        # int64: of a bare tf.shape in a loop, TensorFlow warns that its type is not inferred.
        shapes = tf.map_fn(
            lambda x: tf.cast(tf.shape(_parsed(x)), tf.int64),
            pixels[native],
            fn_output_signature=tf.int64,
        )

        def answer(left: tf.Tensor, probabilities: tf.Tensor):
            shape = shapes[tf.argmax(left)]
            at_once = self._at_once(*tf.unstack(shape[:2]))
            rows = tf.where(left & tf.reduce_all(shapes == shape, axis=1))[:at_once]
            batch = [tf.gather(x, rows[:, 0]) for x in pixels]
            images = tf.map_fn(_parsed, batch[native], fn_output_signature=_IMAGE)
            batch[native] = tf.cast(images, tf.float32)
            answers = self._dense(*batch)
            done = tf.zeros_like(rows[:, 0], tf.bool)
            return (
                tf.tensor_scatter_nd_update(left, rows, done),
                tf.tensor_scatter_nd_update(probabilities, tf.gather(index, rows[:, 0]), answers),
            )

        _, probabilities = tf.while_loop(
            lambda left, _: tf.reduce_any(left),
            answer,
            [
                tf.ones_like(index[:, 0], tf.bool),
                tf.zeros([count, len(self._class_names)]),
            ],
        )
        return probabilities

    def _answers(self, probabilities: tf.Tensor, valid: tf.Tensor) -> dict[str, tf.Tensor]:
        # A client is never sent NaN, whatever the weights are.
        valid &= tf.reduce_all(tf.math.is_finite(probabilities), axis=1)
        probabilities = tf.where(valid[:, None], probabilities, 0.0)
        names = tf.gather(tf.constant(self._class_names), tf.argmax(probabilities, axis=1))
        return {
            "probabilities": probabilities,
            "confidence": tf.reduce_max(probabilities, axis=1),
            "label": tf.where(valid, names, ""),
            "valid": valid,
            "known": valid & (_centred_logit(probabilities) >= self._least_logit),
        }


def _centred_logit(probabilities: tf.Tensor) -> tf.Tensor:
    """As `conformal.centred_logit`, of float32 [N, C]; never negative, for rounding neither."""
    logs = tf.math.log(tf.maximum(probabilities, np.finfo(np.float32).tiny))
    return tf.maximum(tf.reduce_max(logs, axis=1) - tf.reduce_mean(logs, axis=1), 0.0)


def largest_image(dense: Dense) -> int:
    """Pixels of the largest image whose request stays within `BUDGET_BYTES`."""
    decoded = dense.memory.bytes_per_pixel + (_DECODED_AT_ONCE - 1) * DECODED
    whole = BUDGET_BYTES / (decoded + sum(cost for cost, _ in dense.memory.crops))
    cropped = (BUDGET_BYTES - dense.memory.crops_at_most) / decoded
    return min(decode.MAX_PIXELS, int(max(whole, cropped)))


@contextlib.contextmanager
def quiet(level: int = logging.WARNING) -> Iterator[None]:
    """Keeps libraries from telling the user of names within the graph and of files."""
    before = logging.root.manager.disable
    logging.disable(level)  # Whatever levels its loggers and absl's have.
    try:
        yield
    finally:
        logging.disable(before)


def _fits(sides: tf.Tensor, smallest: int) -> tf.Tensor:
    return tf.reduce_all(sides >= smallest)


_IMAGE = tf.TensorSpec([None, None, 3], tf.uint8)


def _parsed(data: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.io.parse_tensor(data, tf.uint8), _IMAGE.shape)


def _resized(images: tf.Tensor, layer) -> tf.Tensor:
    """Float32 images, [N, H, W, 3] or [H, W, 3], in the size of `layer`."""
    return layer(images) if layer else tf.cast(images, tf.float32)
