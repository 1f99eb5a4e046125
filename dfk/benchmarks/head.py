"""VGG16's head on features computed once, beside training through the frozen base each epoch."""

from __future__ import annotations

from dfk.benchmarks import pictures
from dfk.benchmarks.contest import Contestant, Measured, contest
from dfk.benchmarks.rows import Row, ratio
from dfk.system import hardware

_IMAGES, _SIDE, _BATCH, _EPOCHS = 128, 100, 32, 5


def rows(full: bool) -> list[Row]:
    """Five epochs of the head phase, without augmentation."""
    rivals = [
        Contestant("stock Keras float32, through the base", stock_head),
        Contestant("dfk, through the base", through_the_base),
    ]
    measured = contest(
        Contestant(f"VGG16's head, {_EPOCHS} epochs", features_once),
        rivals,
        rounds=3 if full else 1,
    )
    return [
        ratio(f"VGG16's head phase, {_EPOCHS} epochs: x {result.name}", [result], required)
        for result, required in zip(measured.results, (5.0, None), strict=True)
    ]


def features_once() -> Measured:
    """What `dfk train` does: the base runs once, the head trains on what it answered."""
    from dfk import config
    from dfk.training import features

    model, data = _model(), _catalog()
    arguments = ["--data_dir=demo", "--model=vgg16", "--augment=", f"--batch_size={_BATCH}"]
    settings = config.parse(arguments)[0]
    head = features.head_of(settings, model)
    _compile(head)

    def run() -> None:
        _, answered = features.of_images(settings, data, model)
        _fit(head, answered.splits["train"])

    return run


def through_the_base() -> Measured:
    """The same through the frozen base, in the same precision."""
    from dfk import models

    network, split = models.network_of(_model()), _catalog().splits["train"]
    _compile(network)
    return lambda: _fit(network, split)


def stock_head() -> Measured:
    """The same with Keras' own layers."""
    from dfk.benchmarks import stock

    network, split = stock.vgg16("float32"), _catalog().splits["train"]
    for layer in network.layers[:-3]:  # Without hidden, dropout and logits
        layer.trainable = False
    _compile(network)
    return lambda: _fit(network, split)


def _model():
    import keras

    from dfk import models

    keras.utils.set_random_seed(0)
    precision = hardware.resolve_precision("auto")
    model = models.VGG16(input_shape=(None, None, 3), dtype=precision)
    models.set_trainable_from(model, "")
    return model


def _catalog():
    from dfk.data.catalog import Catalog

    train = pictures.split(pictures.images(_IMAGES, _SIDE))
    holdout = train.take(range(_BATCH))
    names = tuple(map(str, range(pictures.CLASSES)))
    return Catalog(class_names=names, splits={"train": train, "holdout": holdout})


def _compile(network) -> None:
    import keras

    network.compile(keras.optimizers.Adam(1e-4), keras.losses.CategoricalCrossentropy(True))


def _fit(network, split) -> None:
    from dfk.data.pipeline import make_dataset, steps_per_epoch

    dataset = make_dataset(
        split=split,
        classes=pictures.CLASSES,
        batch_size=_BATCH,
        training=True,
        epochs=_EPOCHS,
    )
    steps = steps_per_epoch(_IMAGES, _BATCH)
    network.fit(dataset, epochs=_EPOCHS, steps_per_epoch=steps, shuffle=False, verbose=0)
