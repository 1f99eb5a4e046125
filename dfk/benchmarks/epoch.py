"""A whole epoch through the input pipeline beside the same number of bare steps."""

from __future__ import annotations

from typing import NamedTuple

from dfk.benchmarks import pictures
from dfk.benchmarks.contest import Contestant, Measured, contest
from dfk.benchmarks.rows import Row, rounded
from dfk.system import hardware

_SIDE = 100
# Times its bare steps. The pipeline works on the cores that the steps work on: an image costs it
# 4.8 % of the CPU time of a step of deepfakenet2 in bfloat16 (AMD EPYC, AVX512_BF16).
_MOST = 1.1


class Training(NamedTuple):
    """An experiment of the study as its flag file has it: `rounds` epochs of `steps` batches."""

    model: str
    crop: int
    batch_size: int
    steps: int
    augment: tuple[str, ...]
    mixing: float
    class_weight: tuple[float, ...]
    rounds: int


_TRAININGS = {
    "deepfakenet2": Training(
        "deepfakenet",
        64,
        32,
        40,
        ("flip", "rotate=10", "jitter=0.1", "blur=2"),
        0.0,
        (1, 1, 1, 1, 2.7),
        5,
    ),
    "vgg16": Training("vgg16", 48, 64, 6, ("flip",), 0.2, (1, 1, 1, 1, 1.7), 3),
}


def rows(full: bool) -> list[Row]:
    """How many times as long as its bare steps an epoch of `deepfakenet2` and of `vgg16` takes."""
    figures = []
    for name, training in _TRAININGS.items():
        epoch = Contestant(f"{name}, an epoch", fit, {"name": name, "fed": True})
        bare = Contestant(f"{name}, bare steps", fit, {"name": name, "fed": False})
        (result,) = contest(epoch, [bare], rounds=(2 if full else 1) * training.rounds).results
        if result.ratio is None:
            raise RuntimeError(f"{bare.name}: {result.problem}")
        what = f"an epoch of {name} through the pipeline, x its bare steps"
        figures.append(Row(what, rounded(1 / result.ratio), _MOST, at_most=True))
    return figures


def fit(*, name: str, fed: bool) -> Measured:
    """An epoch of Keras' `fit`, fed by the pipeline or with finished batches from memory."""
    import keras

    from dfk import models
    from dfk.data import augment
    from dfk.data.mixing import make_mixer
    from dfk.data.pipeline import make_dataset

    training = _TRAININGS[name]
    precision = hardware.resolve_precision("auto")
    keras.utils.set_random_seed(0)
    network = models.network_of(
        models.BUILDERS[training.model](input_shape=(None, None, 3), dtype=precision)
    )
    network.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    count = training.batch_size * training.steps
    dataset = make_dataset(
        split=pictures.split(pictures.images(count, _SIDE)),
        classes=pictures.CLASSES,
        batch_size=training.batch_size,
        training=True,
        augmentations=augment.parse(training.augment),
        crop=training.crop,
        mixer=make_mixer(training.mixing, training.mixing, 0.5) if training.mixing else None,
        class_weight=training.class_weight,
    )
    if not fed:
        dataset = dataset.cache()  # Filled by the run that warms up
    return lambda: network.fit(dataset, epochs=1, shuffle=False, verbose=0)
