"""VGG16's head on features that the frozen base answers once, instead of in every epoch."""

from __future__ import annotations

import dataclasses

import keras
from absl import logging

from dfk import models, strategy
from dfk.config import Config
from dfk.data.catalog import Catalog
from dfk.evaluation.evaluate import predict
from dfk.layers import Resizing

_SPLITS = ("train", "holdout")
# The first layer of the head, which leaves of an image one number a channel.
_AVERAGE = "average"


def stay_the_same(config: Config) -> bool:
    """Whether a frozen base answers the same to an image in every epoch of this training.

    It does where nothing is drawn for an image. A strategy or a data service would have to be
    given the features, so there they are not computed ahead.
    """
    drawn = config.augment or config.train_crop or config.cutmix_alpha or config.mixup_alpha
    return not drawn and config.strategy == strategy.NONE and not config.data_service


def head_of(model: keras.Model) -> keras.Model:
    """The layers of a `VGG16` after its base, which they share with it.

    Returns:
        A model from features float32 [N, 1, 1, D], as `of_images` makes them, to logits [N, C].
    """
    network = models.network_of(model)
    average = network.get_layer(_AVERAGE)
    features = x = keras.Input((1, 1, average.output.shape[-1]), name="features")
    for layer in network.layers[network.layers.index(average) :]:
        x = layer(x)
    return keras.Model(features, x, name="head")


def of_images(config: Config, data: Catalog, model: keras.Model) -> tuple[Config, Catalog]:
    """Runs the base of a `VGG16` over train and holdout.

    Returns:
        The catalog with features float32 [1, 1, D] in place of images, and the settings that
        feed them to `head_of(model)`: no resizing.
    """
    logging.info("Computing the features of the frozen base, once for all epochs of the head.")
    network = models.network_of(model)
    images = x = keras.Input((None, None, 3), name="images")
    for layer in model.layers:
        if isinstance(layer, Resizing):
            x = layer(x)
    base = keras.Model(network.input, network.get_layer(_AVERAGE).output)
    extractor = keras.Model(images, base(x))
    splits = {}
    for name in _SPLITS:
        split = data.splits[name]
        features = predict(extractor, split, batch_size=config.batch_size)
        splits[name] = dataclasses.replace(split, images=list(features[:, None, None]))
    return dataclasses.replace(config, image_size=0), dataclasses.replace(data, splits=splits)
