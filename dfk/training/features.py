"""What learns, on features that the fixed part of a network answers once, not in every epoch.

The fixed part is VGG16's base while its head is trained, and the counting of `RichNet`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from dfk import models
from dfk.config import Config
from dfk.data import augment
from dfk.data.catalog import UNLABELLED, Catalog, Split, joined
from dfk.data.pipeline import make_dataset
from dfk.errors import UsageError
from dfk.layers import Frozen, Resizing
from dfk.system import hardware
from dfk.system.progress import Bar
from dfk.training import strategy
from dfk.training.scoring import predict

_SPLITS = ("train", "holdout")


def stay_the_same(config: Config) -> bool:
    """Whether what is fixed answers the same to an image in every epoch of this training.

    It does where nothing is drawn for an image, or a number of draws is all that is wanted. A
    strategy or a data service would have to be given the features, so there they are not
    computed ahead.
    """
    drawn = (config.input.augment or config.input.train_crop) and not config.options.feature_draws
    drawn = drawn or config.input.cutmix_alpha or config.input.mixup_alpha
    return not drawn and config.fit.strategy == strategy.NONE and not config.input.data_service


def head_of(config: Config, model: keras.Model, *, answers: int = 0) -> keras.Model:
    """The layers of a model of `config` after what is fixed, which they share with it.

    Args:
        answers: how many numbers of a teacher stand behind the features, which it passes over.

    Returns:
        A model from features float32 [N, 1, 1, D + answers], as `of_images` makes them, to logits
        [N, C].
    """
    network = models.network_of(model)
    fixed = _last_fixed(config, network)
    width = fixed.output.shape[-1]
    features = keras.Input((1, 1, width + answers), name="features")
    x = features[:, 0, 0, :width]
    for layer in network.layers[network.layers.index(fixed) + 1 :]:
        x = layer(x)
    return keras.Model(features, x, name="head")


def answers_of(head: keras.Model, answers: int) -> keras.Model:
    """A model from what `head` takes to the teacher's answers in it, [N, answers]."""
    return keras.Model(head.input, head.input[:, 0, 0, -answers:], name="answers")


def _last_fixed(config: Config, network: keras.Model) -> keras.layers.Layer:
    """What answers the features, [N, D]."""
    return network.get_layer(models.KINDS[config.model].last_fixed)


def of_images(
    config: Config, data: Catalog, model: keras.Model, teacher: keras.Model | None = None
) -> tuple[Config, Catalog]:
    """Runs what is fixed of a model of `config` over train and holdout, and the teacher.

    Returns:
        The catalog with features float32 [1, 1, D + answers] in place of images, those of train
        `1 + feature_draws` times, and the settings that feed them to `head_of`:
        no resizing, and nothing more to draw. What the teacher answers to the image as it was
        drawn stands behind its features.

    Raises:
        UsageError: if they would not fit into memory, or the images the crop.
    """
    network = models.network_of(model)
    _check_features_fit(config, data, _last_fixed(config, network).output.shape[-1])
    logging.info("Computing the features that the layers before them answer, once for all epochs.")
    images = x = keras.Input((None, None, 3), name="images")
    for layer in model.layers:
        if isinstance(layer, Resizing):
            x = layer(x)
    base = _fixed(config, network, teacher)
    extractor = keras.Model(images, base(x))
    # Ahead of the others, since these may be refused.
    drawn = [_drawn(config, data, network, teacher)] if config.options.feature_draws else []
    splits = {}
    for name in _SPLITS:
        split = data.splits[name]
        bar = f"features of {name}"
        features = predict(extractor, split, batch_size=config.keras.batch_size, progress=bar)
        splits[name] = dataclasses.replace(split, images=_as_images(features))
    splits["train"] = joined(splits["train"], *drawn)
    plain = config.with_(image_size=0, augment=(), train_crop=0)
    return plain, dataclasses.replace(data, splits=splits)


def _fixed(
    config: Config, network: keras.Model, teacher: keras.Model | None, *, pairs: bool = False
) -> keras.Model:
    """From images, or pairs of views of which the teacher sees the second, to features."""
    images = keras.Input((None, None, 6 if pairs else 3), name="views")
    fixed = keras.Model(network.input, _last_fixed(config, network).output)(images[..., :3])
    if teacher is not None:
        answers = Frozen(teacher.input, teacher.output)(images[..., -3:])
        fixed = keras.layers.Concatenate(dtype="float32")([fixed, answers])
    return keras.Model(images, fixed)


def _as_images(features: np.ndarray) -> list[np.ndarray]:
    """Features [N, D] as N images [1, 1, D]."""
    return list(features[:, None, None])


def _check_features_fit(config: Config, data: Catalog, width: int) -> None:
    draws = 1 + config.options.feature_draws
    images = len(data.splits["train"]) * draws + len(data.splits["holdout"])
    needed, there = 4 * images * width, hardware.available_bytes()
    if needed > there / 2:
        raise UsageError(
            f"the features of {images} images need {needed / 2**30:.0f} GiB; available are "
            f"{there / 2**30:.0f} GiB. Fewer --feature_draws or images (--limit) need less."
        )


def draws(config: Config, data: Catalog) -> tf.data.Dataset:
    """The training images, augmented and cropped `feature_draws` times.

    Raises:
        UsageError: as `make_dataset`.
    """
    return make_dataset(
        split=data.splits["train"],
        classes=len(data.class_names),
        batch_size=config.keras.batch_size,
        image_size=config.input.image_size,
        training=True,
        augmentations=augment.parse(config.input.augment),
        pairs=config.fit.teacher_sees == "clean",
        crop=config.input.train_crop,
        seed=config.run.seed,
        epochs=config.options.feature_draws,
    )


def _drawn(
    config: Config, data: Catalog, network: keras.Model, teacher: keras.Model | None
) -> Split:
    """Features of the draws."""
    features, labels, dataset = [], [], draws(config, data)
    pairs = dataset.element_spec[0].shape[-1] == 6
    base = _fixed(config, network, teacher, pairs=pairs)
    for images, one_hot in Bar(dataset, desc="features of draws", unit=" batches"):
        features += _as_images(base.predict_on_batch(images.numpy()))  # JAX takes no tensors
        # Nothing is mixed here: a label that is spread over the classes is none.
        is_one = np.max(one_hot, axis=1) == 1
        labels += np.where(is_one, np.argmax(one_hot, axis=1), UNLABELLED).tolist()
    names = [f"draw {number}" for number in range(len(labels))]
    return Split(
        ids=names,
        paths=[Path(name) for name in names],
        labels=np.array(labels, np.int32),
        origins=names,
        images=features,
    )
