"""A network's training: one or several phases of Keras' `fit`, resumed from a checkpoint."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from dfk import models, runs
from dfk.config import Config, weight_per_class
from dfk.data import augment, outliers, resident
from dfk.data.catalog import Catalog, Split
from dfk.data.pipeline import make_dataset, steps_per_epoch, window_side
from dfk.data.problems import DataError, Problem
from dfk.errors import UsageError
from dfk.models import Phase
from dfk.runs.checkpoint_file import Saved
from dfk.system import hardware
from dfk.training import (
    distillation,
    features,
    multi_worker,
    on_device,
    optimizers,
    sources,
    strategy,
)
from dfk.training.callbacks import (
    AverageWeights,
    Progress,
    RefreshStatistics,
    StopAtNaN,
    TensorBoard,
)
from dfk.training.checkpoint import Checkpoint
from dfk.training.pace import Pace

# Batches that BatchNormalization's statistics are taken from before the holdout is scored.
_REFRESH_STEPS = 20
# Bytes of a pixel in a batch, and what of the memory available batches may take that are kept.
_BYTES, _KEPT = 12, 0.05
# Of the memory that a batch is said to need, it needs so much at least.
_SURELY = 0.5


def check(config: Config, data: Catalog) -> None:
    """Says whether batches can be made of the images, and of which they are padded.

    Raises:
        UsageError: if not.
    """
    data = outliers.joined(data)
    train = data.splits["train"]
    ahead = [_is_ahead(config, phase) for phase in _phases(config)]
    if any(ahead) and config.options.feature_draws:
        features.draws(config, data)
    if not all(ahead):
        _datasets(config, data)
        on_device.check(config, data)
    if config.input.train_crop and not config.input.image_size:
        _check_small(config, train)


def _check_small(config: Config, split: Split) -> None:
    """Tells of images that are smaller than the crops; `--on_small_image=fail` refuses them."""
    crop = config.input.train_crop
    small = [i for i, shape in enumerate(split.shapes) if min(shape) < crop]
    if not small:
        return
    if config.input.on_small_image == "fail":
        what = f"is {{1}} x {{0}} pixels, smaller than --train_crop={crop}"
        raise DataError([Problem(split.origins[i], what.format(*split.shapes[i])) for i in small])
    height, width = min(split.shapes[i] for i in small)
    logging.warning(
        f"{len(small)} of {len(split)} training images are smaller than --train_crop={crop} (down "
        f"to {width} x {height}) and are padded by their reflection; --on_small_image=fail names "
        "them."
    )


def fit_phases(
    config: Config,
    data: Catalog,
    model: keras.Model,
    watching: Sequence[keras.callbacks.Callback] = (),
) -> Saved:
    """Fits what the checkpoint leaves to do; the network ends with its best weights.

    Args:
        watching: callbacks that see what happens and change nothing.

    Raises:
        UsageError: if a batch is sure not to fit into memory.
    """
    network, data = models.network_of(model), outliers.joined(data)
    teacher = sources.teacher(config)
    if not all(_is_ahead(config, phase) for phase in _phases(config)):
        _check_batch_fits(config, data.splits["train"], network)
    first_epoch, answered = 0, None
    strategy.wait_for_all()  # The chief has made the folder that the others look into.
    folder = runs.working_folder(config)
    for number, phase in enumerate(_phases(config)):
        policies = _policies(config, phase, first_epoch)
        checkpoint = Checkpoint(
            folder / runs.CHECKPOINT,
            folder / runs.HISTORY,
            policies,
            writes=strategy.is_chief(),
        )
        first_epoch = phase.until
        if checkpoint.saved.phase > number:
            checkpoint.restore(network)
            continue
        checkpoint.begin_phase(network)
        if phase.trainable_from is not None:
            models.set_trainable_from(model, phase.trainable_from)
        ahead = _is_ahead(config, phase)
        fitted = _with_teacher(config, model, teacher, ahead=ahead)
        if checkpoint.saved.stopped or checkpoint.saved.epochs >= phase.until:
            checkpoint.restore_best(fitted)
        else:
            if ahead:  # They stay the same until a phase trains what is fixed in this one.
                answered = answered or features.of_images(config, data, model, teacher)
            else:
                answered = None
            _fit_phase(*(answered or (config, data)), fitted, phase, policies, checkpoint, watching)
        checkpoint.end_phase(network)
        strategy.wait_for_all()  # The next phase reads what the chief has written.
    return checkpoint.saved


def _phases(config: Config) -> list[Phase]:
    return models.KINDS[config.model].phases(config)


def _is_ahead(config: Config, phase: Phase) -> bool:
    """Whether a phase trains on features that are computed once."""
    return phase.is_fixed and features.stay_the_same(config)


def _check_batch_fits(config: Config, train: Split, network: keras.Model) -> None:
    """Refuses batches that are sure not to fit into memory; a GPU knows its own."""
    side = config.input.train_crop or config.input.image_size
    pixels = side**2 or math.prod(train.shapes[0])
    size = min(config.keras.batch_size, len(train))
    needed = size * pixels * models.training_bytes_per_pixel(network)
    there = hardware.available_bytes()
    if _SURELY * needed > there and not hardware.gpus():
        raise UsageError(
            f"a batch of {size} images of {pixels:,} pixels needs about {needed / 2**30:.1f} GiB "
            f"with --model={config.model}; available are {there / 2**30:.1f} GiB. Train on crops "
            "(--image_size=0 --train_crop=96), or choose a smaller --image_size or --batch_size."
        )


def _with_teacher(
    config: Config, model: keras.Model, teacher: keras.Model | None, *, ahead: bool
) -> keras.Model:
    """What is fitted: the network, its head on features, or either of them as a student."""
    answers = 0 if teacher is None else teacher.output.shape[-1]
    fitted = features.head_of(config, model, answers=answers) if ahead else models.network_of(model)
    if teacher is None:
        return fitted
    heard = features.answers_of(fitted, answers) if ahead else teacher
    return distillation.Student(fitted, heard, config.fit.teacher_share)


def _fit_phase(
    config: Config,
    data: Catalog,
    network: keras.Model,
    phase: Phase,
    policies: list[keras.callbacks.Callback],
    checkpoint: Checkpoint,
    watching: Sequence[keras.callbacks.Callback],
) -> None:
    """Runs Keras' `fit` for the epochs of a phase that are left."""
    first_epoch = checkpoint.saved.epochs
    if first_epoch:
        logging.info("Continuing after epoch %d of %d.", first_epoch, config.fit.epochs)
    is_resident = on_device.chosen(config, data)
    plain, holdout = _datasets(config, data, kept=is_resident)
    if is_resident:
        network = on_device.resident_of(network, config, data)
    with strategy.scope(config):
        network.compile(
            optimizer=optimizers.make(config, phase.learning_rate),
            loss=loss_of(config),
            metrics=["accuracy"],
        )
        # The checkpoint fills its variables before a step would make them.
        network.optimizer.build(network.trainable_variables)
    checkpoint.check(network, network.optimizer)
    steps = steps_per_epoch(len(data.splits["train"]), config.keras.batch_size)
    blocks = resident.blocks(steps) if is_resident else []
    pace = Pace.of(steps, blocks, ahead=bool(hardware.gpus()))
    callbacks = [
        StopAtNaN(pace),
        *policies,
        RefreshStatistics(plain, averaged=bool(config.fit.ema)),
        *_monitors(config, first_epoch, pace),
        *watching,
        checkpoint,
    ]
    make = on_device.training if is_resident else _training
    training = functools.partial(make, config, data, first_epoch, phase.until)
    if config.fit.strategy == strategy.MULTI_WORKER:
        multi_worker.fit(
            network,
            training,
            holdout,
            strategy=strategy.of(config),
            batch_size=min(config.keras.batch_size, len(data.splits["train"])),
            first_epoch=first_epoch,
            epochs=phase.until,
            steps=steps,
            callbacks=callbacks,
        )
        return
    network.fit(
        training(),
        validation_data=holdout,
        initial_epoch=first_epoch,
        epochs=phase.until,
        steps_per_epoch=len(blocks) or steps,
        shuffle=False,  # The pipeline has done so.
        verbose=0,
        callbacks=callbacks,
    )


def _monitors(config: Config, first_epoch: int, pace: Pace) -> list[keras.callbacks.Callback]:
    """What shows how the training goes; of several workers one does."""
    if not strategy.is_chief():
        return []
    return [
        TensorBoard(runs.working_folder(config) / runs.TENSORBOARD, write_graph=False),
        Progress(first_epoch=first_epoch, epochs=config.fit.epochs, pace=pace),
    ]


def _training(
    config: Config,
    data: Catalog,
    first_epoch: int,
    epochs: int,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """The training set of some epochs, or a worker's share of each of its batches."""
    return make_dataset(
        mixer=_mixer(config),
        pairs=config.fit.teacher_sees == "clean",
        class_weight=weight_per_class(config, data.class_names),
        balanced=config.input.sampling == "balanced",
        first_epoch=first_epoch,
        epochs=epochs,
        shard=shard,
        service=config.input.data_service,
        **_common(config, data),
        **_augmented(config, data),
    )


def _datasets(
    config: Config, data: Catalog, *, kept: bool = False
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Some plainly sampled batches of the training set, and the holdout, or this worker's share.

    Where training sees windows of the images, so does the holdout. Both are the same in every
    epoch: windows are kept if there is room, and all where they are to be `kept`.
    """
    train, holdout = data.splits["train"], strategy.holdout(config, data.splits["holdout"])
    common = _common(config, data)
    plain = make_dataset(**common, **_augmented(config, data)).take(_REFRESH_STEPS)
    size, crop = config.input.image_size, config.input.train_crop
    crop = crop if window_side(train, size, crop) else 0
    holdout = make_dataset(split=holdout, crop=crop, **common)
    count = int(plain.cardinality() + holdout.cardinality()) * config.keras.batch_size
    side = crop or size or max(map(max, train.shapes))
    if (crop or kept) and _BYTES * count * side**2 < _KEPT * hardware.available_bytes():
        return plain.cache(), holdout.cache()
    return plain, holdout


def _common(config: Config, data: Catalog) -> dict[str, Any]:
    return {
        "classes": len(data.class_names),
        "batch_size": config.keras.batch_size,
        "image_size": config.input.image_size,
    }


def _augmented(config: Config, data: Catalog) -> dict[str, Any]:
    return {
        "split": data.splits["train"],
        "training": True,
        "augmentations": augment.parse(config.input.augment),
        "crop": config.input.train_crop,
        "seed": config.run.seed,
    }


def _mixer(config: Config):
    if not (config.input.mixup_alpha or config.input.cutmix_alpha):
        return None
    from dfk.data.mixing import make_mixer  # keras-cv takes a second to import.

    return make_mixer(config.input.mixup_alpha, config.input.cutmix_alpha, config.input.switch_prob)


def _policies(config: Config, phase: Phase, first_epoch: int) -> list[keras.callbacks.Callback]:
    """What decides on the learning rate, on the weights that count, and on when to end."""
    if config.fit.schedule == "cosine":
        length = phase.until - first_epoch

        def rate(epoch: int) -> float:
            share = (epoch - first_epoch) / length
            return phase.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

        schedule = keras.callbacks.LearningRateScheduler(rate)
    else:
        schedule = keras.callbacks.ReduceLROnPlateau(
            "val_loss", factor=config.fit.plateau_factor, patience=config.fit.plateau_patience
        )
    early_stopping = keras.callbacks.EarlyStopping(
        "val_loss", patience=config.fit.early_stopping_patience, restore_best_weights=True
    )
    averages = [AverageWeights()] if config.fit.ema else []
    return [*averages, schedule, early_stopping]


def loss_of(config: Config) -> keras.losses.Loss:
    """What training minimises, of logits [N, C]."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.fit.label_smoothing
    )
