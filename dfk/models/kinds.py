"""What dfk asks of a kind of model, `--model`, beside its knobs: a record for each.

A network of your own is one file and one record; all else (flags and their help, training,
reports, ensembles, teachers, export) goes by the record. It has two halves, since flags are read
without Keras:

1. `dfk/models/toy.py`: `def ToyNet(*, weights, input_shape, classes, class_names, temperature,
   seed, dtype, name, depth)`, an `image_classifier` of a network; what else `DeepFakeNet` takes is
   `application`'s work.
2. `dfk/config/options.py`: its flags, and `"toy": ToyNet` in `OPTIONS`:

       @dataclasses.dataclass(frozen=True)
       class ToyNet(Network):
           depth: int = knob(2, "How many layers there are.", Number(int, 1, 9))

3. Here: `"toy": Kind(ToyNet, lambda config, _: {"depth": config.options.depth})` in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras

from dfk.config import Config
from dfk.config.start import ALL, AUTO, IMAGENET
from dfk.layers import NoiseStatistics
from dfk.models import deepfakenet, forensic, freezing, residual, rich, starts, vgg
from dfk.models.classifier import network_of
from dfk.models.deepfakenet import DeepFakeNet
from dfk.models.limits import smallest_image
from dfk.models.residual import ResidualNet
from dfk.models.rich import RichNet
from dfk.models.starts import Start
from dfk.models.vgg import VGG16
from dfk.runs import locate


class Phase(NamedTuple):
    """A part of a network's training.

    Attributes:
        until: the epoch that it ends with.
        learning_rate: at its start.
        trainable_from: the first layer or block that trains, as `set_trainable_from` takes it; None
            where the network trains as it was built.
        is_fixed: whether all up to `Kind.last_fixed` stays as it is, and so can answer ahead.
    """

    until: int
    learning_rate: float
    trainable_from: str | None = None
    is_fixed: bool = False


def _phases(config: Config) -> list[Phase]:
    """With given weights it trains its head first, then the base from some layer on, too."""
    fit, fixed = config.fit, bool(KINDS[config.model].last_fixed)
    if not config.starts_with:
        return [Phase(fit.epochs, fit.learning_rate)]
    head = Phase(min(config.start.head_epochs, fit.epochs), fit.learning_rate, "", is_fixed=fixed)
    start, rate = fine_tuning(config)
    rest = Phase(fit.epochs, rate, start, is_fixed=fixed and not start)
    # Either may have no epoch to train.
    return [head] * (head.until > 0) + [rest] * (rest.until > head.until)


def _measured(config: Config) -> int:
    return smallest_image(build(config.with_(image_size=0), ("a", "b"), precision="float32"))


def fine_tuning(config: Config) -> tuple[str, float]:
    """The layer from which on a base trains after its head, and the learning rate then."""
    layer, rate = KINDS[config.model].fine_tuning
    given = config.start
    layer = layer if given.fine_tune_from == AUTO else given.fine_tune_from
    return layer, given.fine_tune_learning_rate or rate or config.fit.learning_rate / 10


def _check_layer(config: Config) -> None:
    if (layer := fine_tuning(config)[0]) not in ("", ALL):
        network = network_of(build(config.with_(image_size=0), ("a", "b"), precision="float32"))
        freezing.first([x.name for x in freezing.base_of(network)], layer)


def _no_arguments(config: Config, start: Start | None) -> dict[str, Any]:
    return {}


class Kind(NamedTuple):
    """A kind of model.

    Attributes:
        network: builds it, if it is a network; it takes what all of `KINDS` take. None for others.
        arguments: those of `network` that only this kind has, of an experiment and what it starts
            with.
        shape: the knobs among them that weights are made for, and no others.
        follows: those that are as the weights have them where they are not given, and may differ.
        shape_of: knows a network of this kind by its layers, as `starts.Reader`; None: by its name.
        find: what weights mean to it, as `starts.find` without a reader; None: nothing of its own.
        check_layer: refuses a `--fine_tune_from` that is no layer of it.
        fine_tuning: what `--fine_tune_from` and `--fine_tune_learning_rate` are where they are left
            to the kind; a rate of 0 is a tenth of `--learning_rate`.
        phases: the parts of its training, in their order; each has an epoch or more.
        last_fixed: the last layer of the part that may stay fixed, [N, D]; "" for none. Its options
            are a `FixedPart`.
        least: pixels a side of the least image that it takes.
        one_size: whether all images must have the same size.
        learns_size: whether it knows images best that are as large as those that it learned on.
    """

    network: Callable[..., keras.Model] | None = None
    arguments: Callable[[Config, Start | None], dict[str, Any]] = _no_arguments
    shape: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    shape_of: starts.Reader | None = None
    find: Callable[[str | Path], Start | None] | None = None
    check_layer: Callable[[Config], None] = _check_layer
    fine_tuning: tuple[str, float] = (ALL, 0.0)
    phases: Callable[[Config], list[Phase]] = _phases
    last_fixed: str = ""
    least: Callable[[Config], int] = _measured
    one_size: bool = False
    learns_size: bool = False


def _of_deepfakenet(config: Config, start: Start | None) -> dict[str, Any]:
    own, shape = config.options, start.shape if start else {}
    dropout = tuple(map(float, own.dropout))
    if len(shape.get("filters", dropout)) != len(dropout):  # Of a network that no flag builds
        dropout = shape["dropout"]
    return {
        "filters": shape.get("filters"),
        "dropout": dropout,
        "input_range": tuple(map(float, own.input_range)),
    }


def _of_residual(config: Config, start: Start | None) -> dict[str, Any]:
    own = config.options
    return {"filters": tuple(map(int, own.filters)), "high_pass": own.high_pass}


def _least_of_residual(config: Config) -> int:
    return residual.smallest_image(config.options.filters, config.options.high_pass)


def _least_of_ensemble(config: Config) -> int:
    """Beside its members': of what a gate looks at."""
    return NoiseStatistics.SMALLEST_IMAGE if config.options.method == "gated" else 1


def _of_rich(config: Config, start: Start | None) -> dict[str, Any]:
    return {"units": start.shape.get("units") if start else None}


def _of_vgg16(config: Config, start: Start | None) -> dict[str, Any]:
    shape = start.shape if start else {}
    batch_norm = vgg.has_batch_norm(start.file if start else None)
    return {"hidden": shape.get("hidden"), "batch_norm": shape.get("batch_norm", batch_norm)}


def _check_layer_of_vgg16(config: Config) -> None:
    batch_norm = _of_vgg16(config, start_of(config))["batch_norm"]
    vgg.check_trainable_from(fine_tuning(config)[0], batch_norm=batch_norm)


def _phases_of_rich(config: Config) -> list[Phase]:
    return [phase._replace(is_fixed=True) for phase in _phases(config)]


KINDS = {
    "deepfakenet": Kind(
        DeepFakeNet,
        _of_deepfakenet,
        follows=("input_range",),
        shape_of=deepfakenet.shape_of,
        last_fixed="average",
        least=lambda _: deepfakenet.SMALLEST_IMAGE,
    ),
    "vgg16": Kind(
        VGG16,
        _of_vgg16,
        shape_of=vgg.shape_of,
        find=vgg.find,
        check_layer=_check_layer_of_vgg16,
        fine_tuning=("block4", 1e-5),
        last_fixed="average",
        least=lambda _: vgg.SMALLEST_IMAGE,
        learns_size=True,
    ),
    "residual": Kind(
        ResidualNet,
        _of_residual,
        shape=("filters", "high_pass"),
        shape_of=residual.shape_of,
        last_fixed="average",
        least=_least_of_residual,
    ),
    "rich": Kind(
        RichNet,
        _of_rich,
        shape_of=rich.shape_of,
        phases=_phases_of_rich,
        last_fixed="features",
        least=lambda _: rich.SMALLEST_IMAGE,
    ),
    "fisher": Kind(
        RichNet,
        lambda config, _: {"units": (), "dropout": 0.0, "name": "fisher"},
        phases=_phases_of_rich,
        last_fixed="features",
        least=lambda _: rich.SMALLEST_IMAGE,
    ),
    "ensemble": Kind(least=_least_of_ensemble),
    "added": Kind(least=lambda _: 1),  # Beside its base's
    "svm": Kind(least=lambda _: 1, one_size=True),
    "svm_forensic": Kind(least=lambda _: forensic.SMALLEST_IMAGE),
}


# What builds the networks among them, by the first kind that it builds.
BUILDERS = {
    next(name for name, kind in KINDS.items() if kind.network is network): network
    for network in dict.fromkeys(kind.network for kind in KINDS.values() if kind.network)
}


def build(
    config: Config,
    class_names: tuple[str, ...],
    *,
    precision: str,
    pretrained: bool = False,
) -> keras.Model:
    """Builds the network of `config`: images [N, H, W, 3] in 0..255 to probabilities [N, C].

    Its shape is that of the weights that training starts with, which it has if it is to be
    `pretrained`.

    Raises:
        UsageError: if those are not there, damaged, or another network's.
    """
    kind = KINDS[config.model]
    side = config.input.image_size or None
    start = start_of(config)
    weights = {"weights": start.file} if pretrained and start else {}
    return kind.network(
        input_shape=(side, side, 3),
        classes=len(class_names),
        class_names=class_names,
        seed=config.run.seed,
        dtype=precision,
        **kind.arguments(config, start),
        **weights,
    )


def start_of(config: Config) -> Start | None:
    """What the network of `config` starts with; None for fresh weights.

    Raises:
        UsageError: if it is not there, damaged, or another network's.
    """
    weights = config.starts_with
    if not weights:
        return None
    if weights != IMAGENET:
        weights = locate.named_path(weights, config.run.output_dir)
    kind = KINDS[config.model]
    if kind.find:
        return kind.find(weights)
    return starts.find(weights, kind.shape_of or (lambda layers: {}), config.model)


def kind_of(network: starts.Network) -> str:
    """Which of `KINDS` a network in a file is; "" for none of them."""
    for name, kind in KINDS.items():
        if kind.shape_of and kind.shape_of(network.layers) is not None:
            return name
    *_, name = network.name.rpartition("_")  # A member's is its number, and its own
    return name if name in BUILDERS else ""
