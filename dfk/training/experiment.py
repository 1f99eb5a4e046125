"""One experiment, from its flags to its metrics: read, train, calibrate, save, report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from dfk import models, runs
from dfk.config import Config
from dfk.data import augment, catalog, excluded_class, images, service
from dfk.data.catalog import Catalog
from dfk.data.embedded import write_demo
from dfk.errors import UsageError
from dfk.evaluation import conformal, open_set
from dfk.reports import predictions, scored
from dfk.reports.results import published
from dfk.runs import ownership
from dfk.system import backend, files, hardware
from dfk.text import valid
from dfk.training import fitting, jax_devices, strategy
from dfk.training.fitting import Fitted

REPORTED = "validation"


def run(config: Config) -> dict[str, Any]:
    """Runs one experiment, or what is left of it, and returns its metrics.

    Raises:
        UsageError: if the flags do not fit each other, the data or the run's folder.
        DataError: if the images cannot be used.
        DivergenceError: if the loss becomes NaN.
        export.DifferenceError: if --export fails; the run itself is finished then.
    """
    config = _resolved(config)
    check([config])
    if not strategy.is_chief():
        return _work_for_the_chief(config)
    if config.resume and (result := runs.finished(runs.folder(config))):
        logging.info("%s is finished.", config.run_dir)
        with runs.locked(config.run_dir):
            runs.tidy(config.run_dir)
    else:
        data = load_data(config)
        _check_sizes(config, data)
        fitting.check(config, data)
        with runs.prepared(config, runs.environment(_describe(config, data))) as folder:
            result = _report(config, data, fitting.fit(config, data), folder)
    # After the metrics: they stand, whatever becomes of this; and --resume makes up for it.
    if config.export:
        _export(config)
    return result


def _work_for_the_chief(config: Config) -> dict[str, Any]:
    """What a worker does that is not the first: it trains with the others, and leaves nothing."""
    networks = config.model in models.BUILDERS
    if networks and not (config.resume and runs.finished(runs.folder(config))):
        fitting.fit(config, load_data(config))
    return {}


def _export(config: Config) -> None:
    """Exports the run unless it has been exported."""
    from dfk import export  # It brings gRPC and TF Serving's messages.

    exports = config.run_dir / export.FOLDER
    if not any(ownership.is_version(exports / str(number)) for number in export.versions(exports)):
        exported = export.export(config.run_dir)
        logging.info(export.summary(exported, "float32"))


def check(configs: Sequence[Config]) -> None:
    """Refuses, before the first image is read, what is sure to fail once all of them are.

    Args:
        configs: experiments to run in this order; an ensemble may name earlier ones.

    Raises:
        UsageError: if flags do not fit each other or the run's folder, or weights or
            members are not there.
    """
    for config in configs:
        if valid(os.fspath(config.run_dir)) != os.fspath(config.run_dir):
            raise UsageError(f"{config.run_dir} is not UTF-8: TensorFlow can write nothing there")
        strategy.prepare(config)
    upcoming: dict[Path, str] = {}
    for config in map(_resolved, configs):
        if strategy.is_chief():
            runs.complete(config.run_dir)
            runs.check(config)
        _check_source_is_another(config)
        if not (config.resume and runs.finished(runs.folder(config))):
            _check_one(config, upcoming)
        upcoming[config.run_dir] = config.model


def _resolved(config: Config) -> Config:
    """With what the flags leave to the machine and the folder: `config.flags` repeats the run."""
    return dataclasses.replace(
        config,
        precision=hardware.resolve_precision(config.precision),
        augment=augment.expand(config.augment),
        members=tuple(fitting.run_path(config, member) for member in config.members),
        teacher=config.teacher and fitting.run_path(config, config.teacher),
        vgg16_weights=fitting.weights_path(config),
    )


def _check_one(config: Config, upcoming: Mapping[Path, str]) -> None:
    augment.parse(config.augment)
    if config.model in models.BUILDERS:
        jax_devices.check(config.batch_size)
        _check_sides(config)
    if config.export and backend.on_jax():
        raise UsageError(
            "--export: TF Serving's models are written by TensorFlow; train without it, "
            "then `dfk export RUN` without KERAS_BACKEND=jax"
        )
    if config.data_service:
        service.check(config.data_service)
    if config.exclude_class:
        excluded_class.check(_read(config), config.exclude_class)
    if config.model == "vgg16":
        _check_weights(config, upcoming)
    if config.model == "ensemble":
        _check_members([Path(member) for member in config.members], upcoming)
    if config.teacher:
        _check_teacher(config, upcoming)


def _check_sides(config: Config) -> None:
    """Refuses a side that the network itself cannot take, whatever the images are."""
    sides = [side for side in (config.image_size, config.train_crop) if side]
    if sides:
        alone = dataclasses.replace(config, teacher="", vgg16_weights="none")
        needed = fitting.smallest_image(alone, ("a", "b"))
        _check_smallest(config, min(sides), needed)


def _check_smallest(config: Config, side: int, needed: int) -> None:
    if side < needed:
        raise UsageError(
            f"--model={config.model} needs images and crops of at least {needed} pixels a "
            f"side; the smallest here has {side}. Choose an --image_size or a --train_crop."
        )


def _check_source_is_another(config: Config) -> None:
    """Refuses a run that is made from itself: what it learns from must be there before it."""
    run_dir = config.run_dir.resolve()
    weights = config.vgg16_weights if config.model == "vgg16" else ""
    sources = [("members", member) for member in config.members]
    sources += [("teacher", config.teacher), ("vgg16_weights", weights)]
    for flag, source in sources:
        path = Path(source).resolve()
        if source not in ("", "imagenet", "none") and run_dir in (path, *path.parents):
            raise UsageError(f"--{flag}: {source} is what this run makes; name another run")


def _check_weights(config: Config, upcoming: Mapping[Path, str]) -> None:
    start = Path(config.vgg16_weights)
    if (kind := upcoming.get(start.parent, "vgg16")) != "vgg16":
        raise UsageError(f"--vgg16_weights: {start.parent} is a run of --model={kind}")
    if start.parent in upcoming or models.check_weights(config.vgg16_weights):
        models.set_trainable_from(models.VGG16(), config.fine_tune_from)


def _check_members(paths: Sequence[Path], upcoming: Mapping[Path, str]) -> None:
    """Checks the members as far as they are there; of others, what kind they will be."""
    loaded = [models.load_member(path) for path in paths if path not in upcoming]
    if len(loaded) == len(paths):
        models.Ensemble(loaded)
    for path in paths:
        if upcoming.get(path) in models.PENALTY:
            raise UsageError(models.NO_SVM.format(path))


def _check_teacher(config: Config, upcoming: Mapping[Path, str]) -> None:
    if config.strategy == strategy.MULTI_WORKER:
        raise UsageError("--teacher: not with --strategy=multi_worker, whose loop has no teacher")
    path = Path(config.teacher)
    if upcoming.get(path) in models.PENALTY:
        raise UsageError(models.NO_SVM.format(path))
    if path not in upcoming:
        models.load_member(path)


def load_data(config: Config) -> Catalog:
    """Reads and decodes the images of `config.data_dir` and sets the holdout aside.

    Raises:
        DataError: naming everything that is wrong.
    """
    data = _read(config)
    if config.limit:
        data = catalog.limit(data, config.limit)
    data = images.load(
        data,
        on_bad_image=config.on_bad_image,
        cache_gib=config.cache_gib,
        spill_dir=files.cache_dir(),
    )
    data = catalog.set_aside(data)
    return excluded_class.leave_out(data, config.exclude_class) if config.exclude_class else data


def _read(config: Config) -> Catalog:
    return catalog.read(write_demo() if config.data_dir == "demo" else Path(config.data_dir))


def _check_sizes(config: Config, data: Catalog) -> None:
    """Refuses images, or crops of them, that the model cannot take."""
    shapes = {image.shape[:2] for split in data.splits.values() for image in split.images}
    smallest = min(map(min, shapes))
    needed = fitting.smallest_image(config, data.class_names)
    resized = config.image_size if config.model in models.BUILDERS else 0
    side = resized or smallest
    _check_smallest(config, min(side, config.train_crop or side), needed)
    if config.model == "svm" and len(shapes) > 1:
        sizes = ", ".join(f"{width}x{height}" for height, width in sorted(shapes)[:5])
        raise UsageError(
            f"--model=svm compares pixels and needs images of one size; here are {sizes}. "
            "--model=svm_forensic takes any size."
        )


def _report(config: Config, data: Catalog, fitted: Fitted, run_dir: Path) -> dict[str, Any]:
    """Saves the model and writes what the run leaves, `metrics.json` last: it says `finished`."""
    split = data.splits[REPORTED]
    fitted.save(run_dir / fitted.file, fitted.thresholds)
    probabilities = fitted.predict(split)
    if "test" in data.splits:
        answers = fitted.predict(data.splits["test"])
        predictions.write_submission(
            run_dir / runs.SUBMISSION, data.splits["test"], answers, data.class_names
        )
    result = {
        **scored.measure(
            split,
            probabilities,
            data.class_names,
            experiment=config.experiment,
            model=config.model,
            data_dir=config.data_dir,
            name=REPORTED,
            temperature=fitted.temperature,
            thresholds=fitted.thresholds,
        ),
        **_open_set(config, data, fitted, probabilities),
        "seed": config.seed,
        "parameters": fitted.parameters,
        "epochs": fitted.epochs,
        "members": fitted.members,
        "wall_time_s": fitted.seconds,
        "train_images_per_s": fitted.epochs * fitted.images / fitted.seconds,
        "published_accuracy": published(config.family, data),
    }
    scored.write_run(run_dir, split, probabilities, result, place=config.run_dir)
    (run_dir / runs.CHECKPOINT).unlink(missing_ok=True)
    return result


def _open_set(
    config: Config, data: Catalog, fitted: Fitted, probabilities: np.ndarray
) -> dict[str, Any]:
    """How well the model tells images of the class that was left out from those it reports."""
    if not config.exclude_class:
        return {}
    known, others = data.splits[REPORTED], data.splits[excluded_class.SPLIT]
    scores = [
        open_set.scores(answers, fitted.logits(split) if fitted.logits else None)
        for split, answers in ((known, probabilities), (others, fitted.predict(others)))
    ]
    correct = probabilities.argmax(axis=1) == known.labels
    found = open_set.measure(*scores, correct, fitted.thresholds[conformal.UNKNOWN])
    return {"open_set": {"excluded": config.exclude_class, **found}}


def _describe(config: Config, data: Catalog) -> dict[str, Any]:
    """What `environment.json` says of the images."""
    return {
        "data_dir": config.data_dir,
        "fingerprint": data.fingerprint,
        "class_names": list(data.class_names),
        "images": {name: len(split) for name, split in data.splits.items()},
        "skipped": [str(problem) for problem in data.problems],
    }
