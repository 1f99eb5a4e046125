"""What a run is made from: the members of an ensemble, a teacher, what a network starts with."""

from __future__ import annotations

import functools
import os
from collections.abc import Container
from pathlib import Path

import keras
import tensorflow as tf

from dfk import models, runs
from dfk.config import Config
from dfk.config.options import Added
from dfk.config.start import is_run
from dfk.errors import UsageError
from dfk.model_files import keras_files
from dfk.runs import locate
from dfk.text import nfc
from dfk.training import strategy


def named(config: Config, upcoming: Container[Path] = ()) -> Config:
    """`config` with names that mean the same wherever its flags are given again.

    Args:
        upcoming: the folders of the runs that will be there.
    """
    config = config.with_runs(lambda run: _named(config, run, upcoming))
    weights = config.starts_with
    if not is_run(weights) or locate.is_shipped(weights, config.run.output_dir, upcoming):
        return config
    file = os.path.join(weights, runs.MODEL)
    there = Path(weights) in upcoming or os.path.exists(file)
    return config.with_(**{config.weights_flag: file}) if there else config


def _named(config: Config, name: str, upcoming: Container[Path]) -> str:
    """Of several seeds each has runs of its own; without them, a shipped model is that of all."""
    found = locate.named(name, config.run.output_dir, upcoming)
    there = os.path.exists(found) or Path(found) in upcoming
    of_all = name.removesuffix(config.run.experiment.removeprefix(config.family))
    if not there and locate.is_shipped(of_all, config.run.output_dir, upcoming):
        return of_all
    return found


def of(config: Config) -> list[tuple[str, Path]]:
    """What a run whose flags are `named` is made from: each flag, and a path that it means."""
    folder = config.run.output_dir
    return [(flag, locate.named_path(source, folder)) for flag, source in config.sources()]


def members(config: Config) -> list[keras.Model]:
    """The members of an ensemble.

    Raises:
        UsageError: if one is no Keras model, damaged, or not there.
    """
    return [load(config, name) for name in _members(config)]


def _members(config: Config) -> list[str]:
    return [name for flag, name in config.options.sources() if flag == "members"]


def base(config: Config) -> list[keras.Model]:
    """What gets classes more, if something does.

    Raises:
        UsageError: if it is no Keras model, damaged, or not there.
    """
    return [load(config, name) for flag, name in config.options.sources() if flag == "base"]


def teacher(config: Config) -> keras.Model | None:
    """The teacher, if there is one, made for the strategy of `config`.

    Raises:
        UsageError: if it is no Keras model, damaged, or not there.
    """
    with strategy.scope(config):
        return load(config, config.fit.teacher) if config.fit.teacher else None


def check_classes(config: Config, class_names: tuple[str, ...]) -> None:
    """Makes sure that members, base and teacher answer for the classes of the data.

    Args:
        class_names: of the data; those that a base gets more come last.

    Raises:
        UsageError: if they know others.
    """
    known_to = [(f"the member {name}", load(config, name)) for name in _members(config)]
    if config.fit.teacher:
        known_to.append((f"the teacher {config.fit.teacher}", teacher(config)))
    if isinstance(config.options, Added):
        known_to.append((f"the base {config.options.base}", load(config, config.options.base)))
        class_names = class_names[: len(class_names) - len(config.options.classes())]
    for what, model in known_to:
        known = tuple(map(nfc, models.class_names_of(model)))
        if known != class_names:
            raise UsageError(
                f"{what} knows the classes {', '.join(known)}; the data has "
                f"{', '.join(class_names)}"
            )


def load(config: Config, name: str) -> keras.Model:
    """The Keras model that a name or path in the flags of `config` means, loaded once.

    Who changes it changes it for all: ensembles copy their members, a teacher stays as it is.
    """
    file = locate.find_keras(name, models.KERAS_ONLY, config.run.output_dir)
    state = file.stat()
    # Variables belong to the strategy, or the devices of JAX, that they were made for.
    place = tf.distribute.get_strategy(), keras.distribution.distribution()
    return _load(file.resolve(), (state.st_ino, state.st_size, state.st_mtime_ns), place)


@functools.lru_cache(maxsize=8)
def _load(file: Path, state: tuple[int, ...], place: tuple) -> keras.Model:
    return keras_files.load(file)
