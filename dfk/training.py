"""One experiment, from its flags to its metrics: read, train, calibrate, save, report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
from absl import logging

from dfk import files, hardware, runs
from dfk.callbacks import Checkpoint, Progress, Saved, StopAtNaN
from dfk.config import Config
from dfk.data import augment, catalog, images
from dfk.data.catalog import Catalog
from dfk.data.demo import write_demo
from dfk.data.pipeline import make_dataset, steps_per_epoch
from dfk.errors import UsageError
from dfk.evaluation import evaluate, metrics
from dfk.evaluation.calibration import fit_temperature
from dfk.evaluation.results import published
from dfk.models import BUILDERS, SMALLEST_IMAGE, logits_of, network_of

REPORTED = "validation"


def run(config: Config) -> dict[str, Any]:
    """Runs one experiment, or what is left of it, and returns its metrics.

    Raises:
        UsageError: if the flags do not fit each other, the data or the run's folder.
        DataError: if the images cannot be used.
        DivergenceError: if the loss becomes NaN.
    """
    config = dataclasses.replace(config, precision=hardware.resolve_precision(config.precision))
    try:
        augment.parse(config.augment)
    except ValueError as error:
        raise UsageError(f"--augment: {error}") from error
    runs.check(config)
    if config.resume and (result := runs.finished(config.run_dir)):
        logging.info("%s is finished.", config.run_dir)
        return result
    data = load_data(config)
    _check_sizes(config, data)
    with runs.prepared(config, runs.environment(_describe(config, data))):
        model, saved = train(config, data)
        return _report(config, data, model, saved)


def load_data(config: Config) -> Catalog:
    """Reads and decodes the images of `config.data_dir` and sets the holdout aside.

    Raises:
        DataError: naming everything that is wrong.
    """
    folder = write_demo() if config.data_dir == "demo" else Path(config.data_dir)
    data = catalog.read(folder)
    if config.limit:
        data = catalog.limit(data, config.limit)
    data = images.load(
        data,
        on_bad_image=config.on_bad_image,
        cache_gib=config.cache_gib,
        spill_dir=files.cache_dir(),
    )
    return catalog.set_aside(data)


def _check_sizes(config: Config, data: Catalog) -> None:
    """Refuses images, or crops of them, of which the network's poolings leave nothing."""
    sides = [min(i.shape[:2]) for split in data.splits.values() for i in split.images]
    side = config.image_size or min(sides)
    if min(side, config.train_crop or side) < SMALLEST_IMAGE:
        raise UsageError(
            f"--model={config.model} needs images and crops of at least {SMALLEST_IMAGE} pixels a "
            f"side; the smallest here has {min(sides)}. Choose an --image_size or a --train_crop."
        )


def build(
    config: Config, class_names: tuple[str, ...], *, precision: str, temperature: float = 1.0
) -> keras.Model:
    """Builds the model of `config`: images [N, H, W, 3] in 0..255 to probabilities [N, C]."""
    side = config.image_size or None
    return BUILDERS[config.model](
        input_shape=(side, side, 3),
        classes=len(class_names),
        class_names=class_names,
        temperature=temperature,
        seed=config.seed,
        dtype=precision,
    )


def train(config: Config, data: Catalog) -> tuple[keras.Model, Saved]:
    """Trains the model of `config`, continuing from its checkpoint if there is one.

    Returns:
        The model with the best weights on the holdout, in float32 and calibrated, and
        the history that led to it.

    Raises:
        UsageError: if the images do not fit the flags.
        DivergenceError: if the loss becomes NaN.
    """
    keras.utils.set_random_seed(config.seed)
    network = network_of(build(config, data.class_names, precision=config.precision))
    network.compile(
        optimizer=keras.optimizers.SGD(
            config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
        ),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    plateau = keras.callbacks.ReduceLROnPlateau(
        "val_loss", factor=config.plateau_factor, patience=config.plateau_patience
    )
    early_stopping = keras.callbacks.EarlyStopping(
        "val_loss", patience=config.early_stopping_patience, restore_best_weights=True
    )
    checkpoint = Checkpoint(
        config.run_dir / runs.CHECKPOINT,
        config.run_dir / runs.HISTORY,
        plateau=plateau,
        early_stopping=early_stopping,
    )
    _fit(config, data, network, [plateau, early_stopping], checkpoint)
    return _deployable(config, data, network), checkpoint.saved


def _fit(
    config: Config,
    data: Catalog,
    network: keras.Model,
    policies: list[keras.callbacks.Callback],
    checkpoint: Checkpoint,
) -> None:
    """Runs Keras' `fit` for the epochs that are left; the network ends with its best weights."""
    first_epoch = checkpoint.saved.epochs
    if checkpoint.saved.stopped or first_epoch >= config.epochs:
        checkpoint.restore_best(network)
        return
    if first_epoch:
        logging.info("Continuing after epoch %d of %d.", first_epoch, config.epochs)
    train_split, classes = data.splits["train"], len(data.class_names)
    common = {
        "classes": classes,
        "batch_size": config.batch_size,
        "image_size": config.image_size,
    }
    try:
        training = make_dataset(
            split=train_split,
            training=True,
            augmentations=augment.parse(config.augment),
            crop=config.train_crop,
            seed=config.seed,
            first_epoch=first_epoch,
            epochs=config.epochs,
            **common,
        )
        holdout = make_dataset(split=data.splits["holdout"], **common)
    except ValueError as error:
        raise UsageError(str(error)) from error
    steps = steps_per_epoch(len(train_split), config.batch_size)
    network.fit(
        training,
        validation_data=holdout,
        initial_epoch=first_epoch,
        epochs=config.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # The pipeline has done so.
        verbose=0,
        callbacks=[
            StopAtNaN(),
            *policies,
            keras.callbacks.TensorBoard(config.run_dir / "tensorboard", write_graph=False),
            Progress(first_epoch=first_epoch, epochs=config.epochs, steps=steps),
            checkpoint,
        ],
    )


def _deployable(config: Config, data: Catalog, network: keras.Model) -> keras.Model:
    """The trained weights in a float32 model whose temperature is fitted on the holdout."""
    model = build(config, data.class_names, precision="float32")
    network_of(model).set_weights(network.get_weights())
    holdout = data.splits["holdout"]
    logits = evaluate.predict(logits_of(model), holdout, batch_size=config.batch_size)
    temperature = fit_temperature(logits, holdout.labels)
    calibrated = build(config, data.class_names, precision="float32", temperature=temperature)
    calibrated.set_weights(model.get_weights())
    return calibrated


def _report(config: Config, data: Catalog, model: keras.Model, saved: Saved) -> dict[str, Any]:
    """Saves the model and writes what the run leaves, `metrics.json` last: it says `finished`."""
    run_dir, split = config.run_dir, data.splits[REPORTED]
    save_model(model, run_dir / runs.MODEL)
    probabilities = evaluate.predict(model, split, batch_size=config.batch_size)
    evaluate.write_predictions(run_dir / runs.PREDICTIONS, split, probabilities, data.class_names)
    if "test" in data.splits:
        test = data.splits["test"]
        answers = evaluate.predict(model, test, batch_size=config.batch_size)
        evaluate.write_submission(run_dir / runs.SUBMISSION, test, answers, data.class_names)
    trained = saved.epochs * len(data.splits["train"])
    result = {
        "experiment": config.experiment,
        "model": config.model,
        "data_dir": config.data_dir,
        "split": REPORTED,
        **metrics.compute(split.labels, probabilities, data.class_names),
        "temperature": model.layers[-1].temperature,
        "parameters": model.count_params(),
        "epochs": saved.epochs,
        "wall_time_s": saved.seconds,
        "train_images_per_s": trained / saved.seconds,
        "published_accuracy": published(config.experiment, data),
    }
    evaluate.write_run_report(run_dir, split, probabilities, result)
    files.write_json(run_dir / runs.METRICS, result)
    (run_dir / runs.CHECKPOINT).unlink(missing_ok=True)
    return result


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a Keras model as `.keras`, whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    model.save(temporary)
    temporary.replace(path)


def _describe(config: Config, data: Catalog) -> dict[str, Any]:
    """What `environment.json` says of the images."""
    return {
        "data_dir": config.data_dir,
        "fingerprint": data.fingerprint,
        "class_names": list(data.class_names),
        "images": {name: len(split) for name, split in data.splits.items()},
        "skipped": [str(problem) for problem in data.problems],
    }
