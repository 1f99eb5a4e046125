"""CutMix and MixUp: keras-cv's layers with draws that repeat and labels that are right.

keras-cv draws from a global state, and its CutMix labels by the box before it was clipped
at the border. These subclasses draw from a stateless seed and label by the share of pixels
really pasted. All of keras-cv that dfk uses is in this file.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_cv
import tensorflow as tf
from keras_cv.src.utils.fill_utils import fill_rectangle

from dfk.data import draws, kernels
from dfk.data.draws import count_of
from dfk.data.pipeline import Mixer


@keras.saving.register_keras_serializable(package="dfk")
class MixUp(keras_cv.layers.MixUp):
    """Blends each image with another of its batch (Zhang et al., 2018, "mixup").

    Call it with a dict of `images` float32 [N, H, W, 3], one-hot `labels` float32 [N, C] and a
    stateless `seed`, int64 [2]; it answers the first two, mixed.
    """

    def __init__(self, alpha: float, **kwargs: Any):
        # In float32 whatever Keras' policy: it would cast images and labels to bfloat16.
        super().__init__(alpha, **{"dtype": "float32", **kwargs})

    def _batch_augment(self, inputs):
        self._validate_inputs(inputs)
        images, labels = _exact(inputs)
        share, order = draws.mixup(count_of(images), self.alpha, inputs["seed"])
        mixed = kernels.blend(images, share, order)
        return _answer(self, mixed, self._update_labels(labels, share, order))

    def _validate_inputs(self, inputs):
        super()._validate_inputs(inputs)
        _check_one_hot(inputs["labels"])


@keras.saving.register_keras_serializable(package="dfk")
class CutMix(keras_cv.layers.CutMix):
    """Pastes a box of another image of the batch into each (Yun et al., 2019, "CutMix").

    Called like `MixUp`.
    """

    def __init__(self, alpha: float, **kwargs: Any):
        super().__init__(alpha, **{"dtype": "float32", **kwargs})

    def _batch_augment(self, inputs):
        self._validate_inputs(inputs)
        images, labels = _exact(inputs)
        count, height, width, _ = tf.unstack(tf.shape(images))
        box, order = draws.cutmix(count, height, width, self.alpha, inputs["seed"])
        mixed, share = _paste(images, order, *tf.unstack(box, axis=1))
        return _answer(self, mixed, self._update_labels(labels, share, order))

    def _validate_inputs(self, inputs):
        super()._validate_inputs(inputs)
        _check_one_hot(inputs["labels"])


@kernels.compiled
def _paste(images, order, centers_x, centers_y, widths, heights):
    """Images with a box of others in them, and the share of each that is left, [N]."""
    box = (centers_x, centers_y, widths, heights)
    mixed = fill_rectangle(images, *box, fill_values=tf.gather(images, order))
    # Painted with the same box, ones tell how much of it lay inside the image.
    blank = tf.zeros_like(images[..., :1])
    pasted = fill_rectangle(blank, *box, fill_values=tf.ones_like(blank))
    return mixed, 1 - tf.reduce_mean(pasted, axis=[1, 2, 3])


def make_mixer(mixup_alpha: float, cutmix_alpha: float, switch_prob: float) -> Mixer | None:
    """Makes what mixes a batch; None if both alphas are 0.

    Args:
        mixup_alpha, cutmix_alpha: of Beta(alpha, alpha); 0 leaves that one out.
        switch_prob: with both, the share of batches that CutMix mixes instead of MixUp.
    """
    layers = [layer(alpha) for layer, alpha in _chosen(mixup_alpha, cutmix_alpha)]
    if not layers:
        return None

    def mix(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        switch_key, seed = draws.keys(seed, 2)
        batch = {"images": images, "labels": labels, "seed": seed}
        if len(layers) == 1:
            mixed = layers[0](batch)
        else:
            is_cutmix = draws.is_cutmix(switch_prob, switch_key)
            mixed = tf.cond(is_cutmix, lambda: layers[1](batch), lambda: layers[0](batch))
        # The conditional and the permutation lose the static shape.
        return (
            tf.ensure_shape(mixed["images"], images.shape),
            tf.ensure_shape(mixed["labels"], labels.shape),
        )

    return mix


def _chosen(mixup_alpha: float, cutmix_alpha: float):
    return [pair for pair in ((MixUp, mixup_alpha), (CutMix, cutmix_alpha)) if pair[1] > 0]


def _exact(inputs: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    """Images and labels in float32, whatever the layer's dtype policy."""
    return [tf.cast(inputs[name], tf.float32) for name in ("images", "labels")]


def _answer(layer: keras.layers.Layer, *mixed: tf.Tensor) -> dict[str, tf.Tensor]:
    """Images and labels in the dtype of the layer's policy."""
    images, labels = (tf.cast(x, layer.compute_dtype) for x in mixed)
    return {"images": images, "labels": labels}


def _check_one_hot(labels: tf.Tensor) -> None:
    """Labels of shape [N] would broadcast to [N, N] without a word."""
    if labels.shape.rank != 2:
        raise ValueError(f"labels must be one-hot, [N, C]; got the shape {labels.shape}")
