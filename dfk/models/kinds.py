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

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from dfk.config import Config
from dfk.errors import UsageError
from dfk.models import deepfakenet, forensic, locate, residual, rich, vgg
from dfk.models.deepfakenet import DeepFakeNet
from dfk.models.limits import smallest_image
from dfk.models.residual import ResidualNet
from dfk.models.rich import RichNet
from dfk.models.vgg import VGG16


class Phase(NamedTuple):
    """A part of a network's training.

    Attributes:
        until: the epoch that it ends with.
        learning_rate: at its start.
        trainable_from: the first layer or block that trains, as `Kind.train_from` takes it; None
            where the network trains as it was built.
        is_fixed: whether all up to `Kind.last_fixed` stays as it is, and so can answer ahead.
    """

    until: int
    learning_rate: float
    trainable_from: str | None = None
    is_fixed: bool = False


def _at_once(config: Config) -> list[Phase]:
    return [Phase(config.fit.epochs, config.fit.learning_rate)]


def _measured(config: Config) -> int:
    return smallest_image(build(config.with_(image_size=0), ("a", "b"), precision="float32"))


def _nothing(config: Config, upcoming: Mapping[Path, str]) -> None:
    """Nothing to refuse."""


def _no_arguments(config: Config, pretrained: bool) -> dict[str, Any]:
    return {}


class Kind(NamedTuple):
    """A kind of model.

    Attributes:
        network: builds it, if it is a network; it takes what all of `KINDS` take. None for others.
        arguments: those of `network` that only this kind has, of an experiment: without weights,
            or with those that training starts with if it is to be `pretrained`.
        phases: the parts of its training, in their order; each has an epoch or more.
        train_from: freezes the layers of a model below the one that is named.
        last_fixed: the last layer of the part that may stay fixed, [N, D]; "" for none. Its options
            are a `FixedPart`.
        least: pixels a side of the least image that it takes.
        check: refuses what it starts with, before anything is begun; some of it may be upcoming: by
            folder, the kinds of the runs that will be there.
        one_size: whether all images must have the same size.
        learns_size: whether it knows images best that are as large as those that it learned on.
    """

    network: Callable[..., keras.Model] | None = None
    arguments: Callable[[Config, bool], dict[str, Any]] = _no_arguments
    phases: Callable[[Config], list[Phase]] = _at_once
    train_from: Callable[[keras.Model, str], None] | None = None
    last_fixed: str = ""
    least: Callable[[Config], int] = _measured
    check: Callable[[Config, Mapping[Path, str]], None] = _nothing
    one_size: bool = False
    learns_size: bool = False


def _of_deepfakenet(config: Config, pretrained: bool) -> dict[str, Any]:
    own = config.options
    return {
        "dropout": tuple(map(float, own.dropout)),
        "input_range": tuple(map(float, own.input_range)),
    }


def _of_residual(config: Config, pretrained: bool) -> dict[str, Any]:
    own = config.options
    return {"filters": tuple(map(int, own.filters)), "high_pass": own.high_pass}


def _least_of_residual(config: Config) -> int:
    return residual.smallest_image(config.options.filters, config.options.high_pass)


def _of_vgg16(config: Config, pretrained: bool) -> dict[str, Any]:
    file = vgg.check_weights(_start_of_vgg16(config))
    return {"weights": file if pretrained else None, "batch_norm": vgg.has_batch_norm(file)}


def _start_of_vgg16(config: Config) -> str | Path:
    weights = config.options.vgg16_weights
    given = bool(config.options.sources())
    return locate.named_path(weights, config.run.output_dir) if given else weights


def _check_vgg16(config: Config, upcoming: Mapping[Path, str]) -> None:
    own = config.options
    run = Path(own.vgg16_weights).parent
    if (kind := upcoming.get(run, "vgg16")) != "vgg16":
        raise UsageError(f"--vgg16_weights: {run} is a run of --model={kind}")
    if run in upcoming:  # With BatchNormalization or without: with it, there are more layers.
        vgg.check_trainable_from(own.fine_tune_from, batch_norm=True)
    elif file := vgg.check_weights(_start_of_vgg16(config)):
        batch_norm = vgg.has_batch_norm(file)
        vgg.check_trainable_from(own.fine_tune_from, batch_norm=batch_norm)


def _phases_of_vgg16(config: Config) -> list[Phase]:
    """With given weights it trains its head first, then the base from some block on, too."""
    own, fit = config.options, config.fit
    if own.vgg16_weights == "none":
        return _at_once(config)
    head = Phase(min(own.head_epochs, fit.epochs), fit.learning_rate, "", is_fixed=True)
    start = own.fine_tune_from
    rest = Phase(fit.epochs, own.fine_tune_learning_rate, start, is_fixed=not start)
    # Either may have no epoch to train.
    return [head] * (head.until > 0) + [rest] * (rest.until > head.until)


def _phases_of_rich(config: Config) -> list[Phase]:
    return [phase._replace(is_fixed=True) for phase in _at_once(config)]


KINDS = {
    "deepfakenet": Kind(DeepFakeNet, _of_deepfakenet, least=lambda _: deepfakenet.SMALLEST_IMAGE),
    "vgg16": Kind(
        VGG16,
        _of_vgg16,
        phases=_phases_of_vgg16,
        train_from=vgg.set_trainable_from,
        last_fixed="average",
        least=lambda _: vgg.SMALLEST_IMAGE,
        check=_check_vgg16,
        learns_size=True,
    ),
    "residual": Kind(ResidualNet, _of_residual, least=_least_of_residual),
    "rich": Kind(
        RichNet,
        phases=_phases_of_rich,
        last_fixed="features",
        least=lambda _: rich.SMALLEST_IMAGE,
    ),
    "ensemble": Kind(least=lambda _: 1),
    "svm": Kind(least=lambda _: 1, one_size=True),
    "svm_forensic": Kind(least=lambda _: forensic.SMALLEST_IMAGE),
}


# The networks among them.
BUILDERS = {name: kind.network for name, kind in KINDS.items() if kind.network}


def build(
    config: Config,
    class_names: tuple[str, ...],
    *,
    precision: str,
    pretrained: bool = False,
) -> keras.Model:
    """Builds the network of `config`: images [N, H, W, 3] in 0..255 to probabilities [N, C].

    It has the weights that training starts with if it is to be `pretrained`.
    """
    kind = KINDS[config.model]
    side = config.input.image_size or None
    return kind.network(
        input_shape=(side, side, 3),
        classes=len(class_names),
        class_names=class_names,
        seed=config.run.seed,
        dtype=precision,
        **kind.arguments(config, pretrained),
    )
