"""What trains without gradients: the discriminant of features, from all of them at once."""

from __future__ import annotations

import keras
import numpy as np
from absl import logging

from dfk import models
from dfk.config import Config
from dfk.data.catalog import Catalog
from dfk.errors import UsageError
from dfk.models import fisher
from dfk.system import hardware
from dfk.training import features


def check(config: Config, data: Catalog) -> None:
    """Refuses a training whose numbers do not fit into memory; says what goes unused.

    Raises:
        UsageError: if so.
    """
    if not config.options.feature_draws and (config.input.augment or config.input.train_crop):
        logging.warning(
            "--augment and --train_crop go unused: --model=fisher sees what they make in "
            "--feature_draws, of which there are none."
        )
    images = len(data.splits["train"]) * (1 + config.options.feature_draws)
    width = models.network_of(models.build(config, ("a", "b"), precision="float32"))
    width = width.layers[-1].kernel.shape[0]
    # The features as they are counted and in one array; the products in both precisions.
    needed = 8 * images * width + 12 * min(images, width) ** 2
    there = hardware.available_bytes()
    if needed > 0.8 * there:
        raise UsageError(
            f"the discriminant of {images} images needs {needed / 2**30:.1f} GiB; available are "
            f"{there / 2**30:.1f} GiB. Fewer --feature_draws or images (--limit) need less."
        )


def fit(config: Config, data: Catalog, model: keras.Model) -> None:
    """Gives a network of `config` its only weights: what standardises features, and the logits'.

    Raises:
        UsageError: if the features do not fit into memory.
    """
    network = models.network_of(model)
    _, seen = features.of_images(config, data, model)
    train = seen.splits["train"]
    x = np.concatenate(train.images).reshape(len(train), -1)
    standardise = network.get_layer("standardise")
    standardise.moving_mean.assign(x.mean(axis=0))
    standardise.moving_variance.assign(x.var(axis=0))
    x -= np.asarray(standardise.moving_mean)
    x /= np.sqrt(np.asarray(standardise.moving_variance) + standardise.epsilon)
    logging.info("Solving for the discriminant of %d images, %d features each.", *x.shape)
    kernel, bias = fisher.discriminant(x, train.labels, shrinkage=config.options.shrinkage)
    network.layers[-1].kernel.assign(kernel)
    network.layers[-1].bias.assign(bias)
