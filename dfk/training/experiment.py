"""One experiment, from its flags to its metrics: read, train, calibrate, save, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from dfk import models, runs
from dfk.config import Config
from dfk.data import added_class, excluded_class, images, outliers, splits
from dfk.data.catalog import Catalog
from dfk.evaluation import conformal, open_set
from dfk.reports import predictions, resaving, scored
from dfk.reports.results import published
from dfk.runs import ownership
from dfk.text import sentence
from dfk.training import checks, fitting, on_device, strategy
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
    (config,) = checks.check([config])
    return _work(config)


def run_checked(config: Config) -> dict[str, Any]:
    """As `run`, of one of the experiments that `check` has returned: a suite is checked once.

    Only the run's folder is looked at again, since others may have been at work for days.
    """
    checks.check_folder(config)
    return _work(config)


def _work(config: Config) -> dict[str, Any]:
    if not strategy.is_chief():
        return _work_for_the_chief(config)
    if config.run.resume and (result := runs.finished(runs.working_folder(config))):
        logging.info("%s is finished.", config.run_dir)
        with runs.locked(config.run_dir):
            runs.tidy(config.run_dir)
    else:
        data = load_data(config)
        checks.check_data(config, data)
        start = models.start_of(config)
        environment = runs.environment(_describe(config, data), start.file if start else None)
        with images.unchanged(data), runs.prepared(config, environment) as folder:
            result = _report(config, data, fitting.fit(config, data), folder)
    # After the metrics: they stand, whatever becomes of this; and --resume makes up for it.
    if config.keras.export:
        _export(config)
    return result


def _work_for_the_chief(config: Config) -> dict[str, Any]:
    """What a worker does that is not the first: it trains with the others, and leaves nothing."""
    if config.is_network and not (config.run.resume and runs.finished(runs.working_folder(config))):
        data = load_data(config)
        with images.unchanged(data):
            fitting.fit(config, data)
    return {}


def _export(config: Config) -> None:
    """Exports the run unless it has been exported."""
    from dfk import export  # It brings gRPC and TF Serving's messages.

    exports = config.run_dir / export.FOLDER
    if not any(ownership.is_version(exports / str(number)) for number in export.versions(exports)):
        exported = export.export(config.run_dir)
        logging.info(export.summary(exported))


def load_data(config: Config) -> Catalog:
    """Reads and decodes the images of `--data_dir` and sets the holdout aside.

    Raises:
        DataError: naming everything that is wrong.
    """
    read = {"on_bad_image": config.data.on_bad_image, "cache_gib": config.data.cache_gib}
    # The few before the many: what is wrong with them is told at once.
    added = checks.read_added(config)
    added = images.load(added, **read) if added else None
    data = checks.read_data(config)
    if config.data.limit:
        data = splits.limit(data, config.data.limit)
    data = splits.set_aside(images.load(data, **read))
    if excluded := config.data.exclude_class:
        data = excluded_class.leave_out(data, excluded)
    if config.fit.outliers:
        data = _with_outliers(config, data, **read)
    return added_class.join(data, added) if added else data


def _with_outliers(config: Config, data: Catalog, **read: Any) -> Catalog:
    whole = not (config.input.image_size or config.input.train_crop)
    return outliers.add(data, config.fit.outliers, windows=whole, seed=config.run.seed, **read)


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
            experiment=config.run.experiment,
            model=config.model,
            data_dir=config.data.data_dir,
            name=REPORTED,
            temperature=fitted.temperature,
            thresholds=fitted.thresholds,
        ),
        "resaved": resaving.measure(fitted.predict, split, probabilities, data.class_names),
        **_open_set(config, data, fitted, probabilities),
        "seed": config.run.seed,
        "parameters": fitted.parameters,
        "epochs": fitted.epochs,
        "members": fitted.members,
        **({"members_degraded": fitted.members_degraded} if fitted.members_degraded else {}),
        "wall_time_s": fitted.seconds,
        "train_images_per_s": fitted.epochs * fitted.images / fitted.seconds,
        "published_accuracy": published(config.family, data),
    }
    for line in conformal.lines(result):
        logging.info("%s", sentence(line))
    if warning := resaving.warning(result["resaved"]):
        logging.warning("%s", warning)
    scored.write_run(run_dir, split, probabilities, result, place=config.run_dir)
    (run_dir / runs.CHECKPOINT).unlink(missing_ok=True)
    return result


def _open_set(
    config: Config, data: Catalog, fitted: Fitted, probabilities: np.ndarray
) -> dict[str, Any]:
    """How well the model tells images of no class that it knows from those it reports."""
    excluded, folder = config.data.exclude_class, config.fit.outliers
    if not (excluded or folder):
        return {}
    known, others = data.splits[REPORTED], data.splits[excluded_class.SPLIT]
    scores = [
        open_set.scores(answers, fitted.logits(split) if fitted.logits else None)
        for split, answers in ((known, probabilities), (others, fitted.predict(others)))
    ]
    correct = probabilities.argmax(axis=1) == known.labels
    measured = open_set.measure(*scores, correct, fitted.thresholds.get(conformal.UNKNOWN))
    kind = "class" if excluded else "outliers"
    return {"open_set": {"excluded": excluded or folder, "kind": kind, **measured}}


def _describe(config: Config, data: Catalog) -> dict[str, Any]:
    """What `environment.json` says of the images."""
    return {
        "data_dir": config.data.data_dir,
        "fingerprint": data.fingerprint,
        **({"outliers": data.outliers} if data.outliers else {}),
        "class_names": list(data.class_names),
        "images": {name: len(split) for name, split in data.splits.items()},
        "skipped": [str(problem) for problem in data.problems],
        **({"images_on": on_device.place(config, data)} if config.is_network else {}),
    }
