"""What is refused before work: flags, folders, weights and other models, then the images."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from absl import logging

from dfk import models, runs
from dfk.config import Config, display_names, weight_per_class
from dfk.config.options import SVM, Added, Ensemble, Fisher
from dfk.data import (
    added_class,
    augment,
    catalog,
    class_names,
    excluded_class,
    outliers,
    service,
)
from dfk.data.catalog import Catalog, Split
from dfk.data.embedded import data_folder
from dfk.errors import UsageError
from dfk.models import following
from dfk.system import backend, hardware
from dfk.text import valid
from dfk.training import closed_form, jax_devices, leaks, on_device, phases, sources, strategy


def check(configs: Sequence[Config]) -> list[Config]:
    """Refuses, before the first image is read, what is sure to fail once all of them are.

    Args:
        configs: experiments to run in this order; an ensemble may name earlier ones.

    Returns:
        The experiments with what their flags leave to the machine and the folder.

    Raises:
        UsageError: if flags do not fit each other or the run's folder, or weights or
            members are not there.
    """
    for config in configs:
        if valid(os.fspath(config.run_dir)) != os.fspath(config.run_dir):
            raise UsageError(f"{config.run_dir} is not UTF-8: TensorFlow can write nothing there")
        strategy.prepare(config)
    folders = {config.run_dir for config in configs}
    resolved = [_resolved(config, folders) for config in configs]
    upcoming: dict[Path, Config] = {}
    for config in resolved:
        check_folder(config)
        _check_source_is_another(config)
        if not (config.run.resume and runs.finished(runs.working_folder(config))):
            _check_one(config, upcoming)
            leaks.check(config, upcoming)
            if told := following.told(config):
                logging.info("%s", told)
        upcoming[config.run_dir] = config
    return resolved


def check_folder(config: Config) -> None:
    """Says whether the run's folder lets it start or go on; a finished run is given its name.

    Raises:
        UsageError: if not, or another process is at work on it.
    """
    if strategy.is_chief():
        runs.complete(config.run_dir)
        runs.check(config)


def read_data(config: Config) -> Catalog:
    """What `--data_dir` holds, by the names of `--class_names`; no image is opened.

    Raises:
        DataError: if there is nothing to read.
        UsageError: if names are given for classes that are not there, or that none can have.
    """
    data = catalog.read(data_folder(config.data.data_dir), config.data.group_by)
    names = class_names.renamed(data.class_names, display_names(config))
    return dataclasses.replace(data, class_names=names)


def read_added(config: Config) -> Catalog | None:
    """The images of the classes that a model gets more, not decoded; None of other models.

    Raises:
        DataError: if there is nothing to read in `--data_dir`.
        UsageError: if a class can have no such name, or has too few images.
    """
    if not isinstance(config.options, Added):
        return None
    data = read_data(config)
    if config.data.exclude_class:
        data = excluded_class.leave_out(data, config.data.exclude_class)
    return added_class.read(config.options.classes(), data)


def check_data(config: Config, data: Catalog) -> None:
    """Refuses, before anything is written, flags that do not fit the images or the other models.

    Raises:
        UsageError: which of them.
    """
    _check_sizes(config, data)
    weight_per_class(config, data.class_names)
    sources.check_classes(config, data.class_names)
    leaks.check(config, {}, data.fingerprint)
    if isinstance(config.options, SVM):
        _check_kernel_fits(config, data.splits["train"])
    elif config.is_network:
        phases.check(config, data)
    if isinstance(config.options, Fisher):
        closed_form.check(config, data)


def _resolved(config: Config, upcoming: Collection[Path]) -> Config:
    """With what the flags leave to the machine and the folder: `config.flags` repeats the run."""
    config = sources.named(config, upcoming)
    if config.is_network:
        config = config.with_(augment=augment.expand(config.input.augment))
    if "fit" in config.options.GROUPS:
        config = config.with_(precision=hardware.resolve_precision(config.fit.precision))
    if config.starts_with:
        layer, rate = models.fine_tuning(config)
        config = config.with_(fine_tune_from=layer, fine_tune_learning_rate=rate)
    return config


def _check_one(config: Config, upcoming: Mapping[Path, Config]) -> None:
    augment.parse(config.input.augment)
    if config.is_network:
        jax_devices.check(config.keras.batch_size)
        check_sides(config)
    if config.keras.export and backend.on_jax():
        raise UsageError(
            "--export: TF Serving's models are written by TensorFlow; train without it, "
            "then `dfk export RUN` without KERAS_BACKEND=jax"
        )
    on_device.check(config)
    if config.input.data_service:
        service.check(config.input.data_service)
    if config.data.exclude_class:
        excluded_class.check(read_data(config), config.data.exclude_class)
    if config.fit.outliers:
        outliers.check(config.fit.outliers)
    following.check(config, upcoming)
    if isinstance(config.options, Ensemble):
        _check_members(config, upcoming)
    if isinstance(config.options, Added):
        _refuse_svm(config.options.base, upcoming)
        added = read_added(config)
        if Path(config.options.base) not in upcoming:
            sources.check_classes(config, added.class_names)
    if config.fit.teacher:
        _check_teacher(config, upcoming)


def check_sides(config: Config) -> None:
    """Refuses a side that the network itself cannot take, whatever the images are.

    Raises:
        UsageError: naming the least one.
    """
    asked = config.input.image_size, config.input.train_crop, config.input.test_crop
    if sides := [side for side in asked if side]:
        _check_smallest(config, min(sides), models.KINDS[config.model].least(config))


def _check_smallest(config: Config, side: int, needed: int) -> None:
    if side < needed:
        raise UsageError(
            f"--model={config.model} needs images and crops of at least {needed} pixels a "
            f"side; the smallest here has {side}. Choose an --image_size or a --train_crop."
        )


def _check_source_is_another(config: Config) -> None:
    """Refuses a run that is made from itself: what it learns from must be there before it."""
    run_dir = config.run_dir.resolve()
    for flag, source in sources.of(config):
        path = source.resolve()
        if run_dir in (path, *path.parents):
            raise UsageError(f"--{flag}: {source} is what this run makes; name another run")


def _check_members(config: Config, upcoming: Mapping[Path, Config]) -> None:
    """Checks the members as far as they are there; of others, what kind they will be."""
    members = config.options.members
    there = [sources.load(config, x) for x in members if Path(x) not in upcoming]
    if len(there) == len(members):
        models.common_class_names(there)
    for member in members:
        _refuse_svm(member, upcoming)


def _check_teacher(config: Config, upcoming: Mapping[Path, Config]) -> None:
    if config.fit.strategy == strategy.MULTI_WORKER:
        raise UsageError("--teacher: not with --strategy=multi_worker, whose loop has no teacher")
    _refuse_svm(config.fit.teacher, upcoming)
    if Path(config.fit.teacher) not in upcoming:
        sources.teacher(config)


def _refuse_svm(name: str, upcoming: Mapping[Path, Config]) -> None:
    run = upcoming.get(Path(name))
    if run and isinstance(run.options, SVM):
        raise UsageError(f"{name} is an SVM; {models.KERAS_ONLY}")


def _check_sizes(config: Config, data: Catalog) -> None:
    """Refuses images, or crops of them, that the model cannot take."""
    shapes = {shape for split in data.splits.values() for shape in split.shapes}
    smallest = min(map(min, shapes))
    needed = smallest_image(config)
    resized = config.input.image_size if config.is_network else 0
    side = resized or smallest
    _check_smallest(config, min(side, config.input.train_crop or side), needed)
    if models.KINDS[config.model].one_size and len(shapes) > 1:
        sizes = ", ".join(f"{width}x{height}" for height, width in sorted(shapes)[:5])
        raise UsageError(
            f"--model={config.model} compares pixels and needs images of one size; here are "
            f"{sizes}. --model=svm_forensic takes any size."
        )


def smallest_image(config: Config) -> int:
    """The least pixels a side of what enters the model of `config`, or what it is made from."""
    others = [
        *sources.members(config),
        *sources.base(config),
        *filter(None, [sources.teacher(config)]),
    ]
    return max([models.KINDS[config.model].least(config), *map(models.smallest_image, others)])


def _check_kernel_fits(config: Config, train: Split) -> None:
    rows = math.prod(train.shapes[0]) * 3 if models.KINDS[config.model].one_size else 0
    # The pixels are there once more as they are stacked, and as support vectors.
    needed, there = len(train) * (8 * len(train) + 3 * rows), hardware.available_bytes()
    if needed > there / 2:
        raise UsageError(
            f"an SVM of {len(train)} images needs {needed / 2**30:.0f} GiB for its kernel matrix "
            f"and their pixels; available are {there / 2**30:.0f} GiB. --limit takes fewer images."
        )
