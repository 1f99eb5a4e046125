"""Small networks whose answers depend on the image, as trained ones' do."""

import keras
import numpy as np

from dfk import models
from tests.pictures import noise

CLASSES = ("cat", "dog", "übung")
_VGG16 = keras.applications.VGG16


def save_tiny(path, class_names, seed, trained_on=None):
    """Saves the smallest classifier of 16 x 16 pixels that there is, with fresh weights."""
    shape = {"classes": len(class_names), "filters": (4,), "dropout": (0,)}
    model = models.DeepFakeNet(class_names=class_names, input_shape=(16, 16, 3), seed=seed, **shape)
    models.set_trained_on(model, trained_on)
    model.save(path)
    return str(path)


def network(side=16, seed=0, make=models.DeepFakeNet, **options):
    """A classifier with statistics and weights as if trained; `side` None for native size."""
    if make is models.DeepFakeNet:
        options = {"filters": (8, 8, 8), **options}
    model = make(
        input_shape=(side, side, 3), classes=3, class_names=CLASSES, temperature=1.5, **options
    )
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        kind = variable.path.rsplit("/", 1)[-1]
        if kind in ("moving_variance", "gamma"):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
        elif kind in ("moving_mean", "beta", "bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
        elif kind == "kernel":
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, (2 / fan_in) ** 0.5, variable.shape))
    _spread(model)
    return model


def _spread(model):
    """Scales the last layer so that logits of different images have mean 0 and deviation 2."""
    images = np.stack([noise(32, 32, seed) for seed in range(16)]).astype("float32")
    logits = models.logits_of(model).predict_on_batch(images)
    last = models.network_of(model).get_layer("logits")
    scale = 2 / logits.std(axis=0)
    last.kernel.assign(last.kernel * scale)
    last.bias.assign((last.bias - logits.mean(axis=0)) * scale)


def ensemble(*sides):
    """An ensemble of members of these sizes; by default two of them share a resize."""
    sides = sides or (16, 24, 16)
    members = [network(side, seed) for seed, side in enumerate(sides, start=1)]
    return models.Ensemble(members, name="ensemble")


def narrow_vgg16(**options):
    """`keras.applications.VGG16` with a sixteenth of its channels, for what trains it in tests."""

    def narrow(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Conv2D):
            config["filters"] //= 16
        return type(layer).from_config(config)

    wide = _VGG16(**{**options, "weights": None, "include_top": False})
    return keras.models.clone_model(wide, clone_function=narrow)


def gated(members, **options):
    """An ensemble whose gate has weights as if learned."""
    model = models.Ensemble(members, method="gated", seed=0, **options)
    blend = models.network_of(model).get_layer("combine").get_layer("blend")
    images = np.stack([noise(32, 32, seed) for seed in range(8)])
    seen = np.asarray(models.statistics_of(model)(images))
    blend.adapt(seen[::2], seen[1::2])
    draw = np.random.default_rng(0)
    blend.log_weights.assign(draw.normal(0, 1, blend.log_weights.shape))
    return model
