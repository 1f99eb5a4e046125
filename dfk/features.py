"""What learns, on features that the fixed part of a network answers once, not in every epoch.

The fixed part is VGG16's base while its head is trained, and the counting of `RichNet`.
"""

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
# The last layer of the fixed part of VGG16 and of RichNet: [N, D].
_LAST_FIXED = ("average", "features")


def stay_the_same(config: Config) -> bool:
    """Whether what is fixed answers the same to an image in every epoch of this training.

    It does where nothing is drawn for an image. A strategy or a data service would have to be
    given the features, so there they are not computed ahead.
    """
    drawn = config.augment or config.train_crop or config.cutmix_alpha or config.mixup_alpha
    drawn = drawn or config.teacher  # It looks at images.
    return not drawn and config.strategy == strategy.NONE and not config.data_service


def head_of(model: keras.Model) -> keras.Model:
    """The layers of a `VGG16` or `RichNet` after what is fixed, which they share with it.

    Returns:
        A model from features float32 [N, 1, 1, D], as `of_images` makes them, to logits [N, C].
    """
    network = models.network_of(model)
    fixed = _last_fixed(network)
    features = keras.Input((1, 1, fixed.output.shape[-1]), name="features")
    x = keras.layers.Reshape(features.shape[-1:])(features)
    for layer in network.layers[network.layers.index(fixed) + 1 :]:
        x = layer(x)
    return keras.Model(features, x, name="head")


def _last_fixed(network: keras.Model) -> keras.layers.Layer:
    return next(layer for layer in network.layers if layer.name in _LAST_FIXED)


def of_images(config: Config, data: Catalog, model: keras.Model) -> tuple[Config, Catalog]:
    """Runs what is fixed of a `VGG16` or `RichNet` over train and holdout.

    Returns:
        The catalog with features float32 [1, 1, D] in place of images, and the settings that
        feed them to `head_of(model)`: no resizing.
    """
    logging.info("Computing the features that the layers before them answer, once for all epochs.")
    network = models.network_of(model)
    images = x = keras.Input((None, None, 3), name="images")
    for layer in model.layers:
        if isinstance(layer, Resizing):
            x = layer(x)
    base = keras.Model(network.input, _last_fixed(network).output)
    extractor = keras.Model(images, base(x))
    splits = {}
    for name in _SPLITS:
        split = data.splits[name]
        features = predict(extractor, split, batch_size=config.batch_size)
        splits[name] = dataclasses.replace(split, images=list(features[:, None, None]))
    return dataclasses.replace(config, image_size=0), dataclasses.replace(data, splits=splits)
