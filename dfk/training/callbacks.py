"""Keras callbacks of our own: statistics taken anew, averaged weights, progress, a stop at NaN."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from dfk.errors import DfkError
from dfk.system import backend
from dfk.system.terminal import raw
from dfk.training.pace import Delayed, Pace


class DivergenceError(DfkError):
    """The loss is no number any more; the message says what to try."""


class StopAtNaN(keras.callbacks.Callback):
    """Raises DivergenceError where the loss is NaN or infinite: at the batch, or in its epoch.

    The losses are means since the epoch began, in which one that is no number stays.
    """

    def __init__(self, pace: Pace):
        super().__init__()
        self._pace, self._logs = pace, Delayed(pace)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if seen := self._logs.next(batch, logs):
            self._look(self._pace.done(seen[0]), seen[1])

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._logs.clear()
        self._look(self._pace.steps, logs or {})

    def _look(self, step: int, logs: dict) -> None:
        loss = float(logs.get("loss", 0.0))
        if not math.isfinite(loss):
            raise DivergenceError(
                f"the loss became {loss} in epoch {self._epoch + 1}, step {step}. "
                "Try a lower --learning_rate, --precision=float32, or fewer augmentations."
            )


class RefreshStatistics(keras.callbacks.Callback):
    """Takes BatchNormalization's statistics anew, without dropout, before the holdout is scored.

    In training, dropout adds to the variance that the moving averages record, and inference
    has none of it (Li et al., 2019, "Understanding the Disharmony between Dropout and Batch
    Normalization by Variance Shift"). Networks that look at differences of neighbouring
    pixels suffer most. So the statistics become their averages over some batches that
    dropout does not touch (Wu & Johnson, 2021, "Rethinking 'Batch' in BatchNorm"). Training
    itself uses those of each batch, and is not changed by this.

    Args:
        dataset: batches whose first element is the images.
        averaged: whether the weights are averages, of which no layer has the statistics.
    """

    def __init__(self, dataset: Iterable, *, averaged: bool = False):
        super().__init__()
        self._dataset, self._averaged, self._compiled = dataset, averaged, None

    def on_test_begin(self, logs: dict | None = None) -> None:
        layers = self.model.layers  # A functional model has them in the order of its data.
        dropouts = [x for x in layers if isinstance(x, keras.layers.Dropout)]
        after = layers[layers.index(dropouts[0]) :] if dropouts else []
        after = layers if self._averaged else after
        norms = [x for x in after if isinstance(x, keras.layers.BatchNormalization) and x.trainable]
        if not norms:
            return
        variables = [v for x in norms for v in (x.moving_mean, x.moving_variance)]
        # Without momentum, the statistics after a batch are those of the batch.
        with _changed(norms, momentum=0.0), _changed(dropouts, rate=0.0):
            seen = [self._after(images, variables) for images, *_ in self._dataset]
        # Not before: where a device is at work, it has got the next batch meanwhile.
        values = zip(*seen, strict=True)
        assign(variables, [np.mean([np.asarray(x) for x in of], axis=0) for of in values])

    def _after(self, images: Any, variables: Sequence[keras.Variable]) -> list[Any]:
        """What `variables`, which are not trained, are after a batch: arrays."""
        if not backend.on_jax():
            self.model(images, training=True)
            return values_of(variables)
        # Layer by layer, JAX would spend more time on starting operations than on running them.
        self._compiled = self._compiled or _compiled_pass(self.model)
        state = self.model.trainable_variables, self.model.non_trainable_variables
        values = self._compiled(*([v.value for v in some] for some in state), np.asarray(images))
        after = {id(variable): value for variable, value in zip(state[1], values, strict=True)}
        return [after[id(variable)] for variable in variables]


class AverageWeights(keras.callbacks.SwapEMAWeights):
    """Scores, keeps and saves the moving average of the weights; training goes on with the raw.

    The optimizer, built with `use_ema=True`, holds the average in training. From the scoring
    of the holdout until the next epoch begins they change places: the best weights and the
    checkpoint are taken in between. Put it before `RefreshStatistics`, since the statistics of
    the raw weights do not fit the averaged ones.
    """

    def __init__(self):
        super().__init__(swap_on_epoch=True)

    def on_test_end(self, logs: dict | None = None) -> None:
        """Leaves the average where it is, where Keras would swap back at once."""


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras' own, in which the curves of the holdout are called `holdout`.

    Keras, and so dfk in runs of before, calls them `validation`, which is a split of its own here.
    """

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        before, self._val_dir = Path(self._val_dir), os.path.join(self.log_dir, "holdout")
        if before.is_dir() and not os.path.lexists(self._val_dir):
            os.rename(before, self._val_dir)  # So that a run that is resumed has one curve


class Progress(keras.callbacks.Callback):
    """One bar for the whole training with the time left; a line per epoch where no one watches."""

    def __init__(self, *, first_epoch: int, epochs: int, pace: Pace):
        super().__init__()
        self._first, self._epochs, self._steps = first_epoch, epochs, pace.steps
        self._pace, self._logs = pace, Delayed(pace)

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._began = time.monotonic()
        self._bar = tqdm(
            total=self._epochs * self._steps,
            initial=self._first * self._steps,
            unit=" steps",
            file=raw(sys.stderr),
            disable=None,  # Drawn on terminals only
            leave=False,
        )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if seen := self._logs.next(batch, logs):
            loss, accuracy = (float(seen[1][name]) for name in ("loss", "accuracy"))
            self._bar.set_postfix_str(f"loss {loss:.3f}, accuracy {accuracy:.3f}", refresh=False)
        self._bar.update(self._pace.done(batch) - self._pace.done(batch - 1))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        self._logs.clear()
        done = epoch + 1 - self._first
        left = (time.monotonic() - self._began) / done * (self._epochs - epoch - 1)
        tqdm.write(
            f"epoch {epoch + 1}/{self._epochs}: loss {logs['loss']:.4f}, "
            f"accuracy {logs['accuracy']:.4f}, holdout loss {logs['val_loss']:.4f}, "
            f"holdout accuracy {logs['val_accuracy']:.4f}, "
            f"at most {tqdm.format_interval(left)} left",
            file=sys.stderr,
        )

    def on_train_end(self, logs: dict | None = None) -> None:
        self._bar.close()


def _compiled_pass(model: keras.Model) -> Callable[..., list[Any]]:
    """On JAX, from the values of both kinds of variables and images to those of the untrained."""
    import jax

    def after(trained: list[Any], others: list[Any], images: Any) -> list[Any]:
        return model.stateless_call(trained, others, images, training=True)[1]

    return jax.jit(after)


@contextlib.contextmanager
def _changed(layers: Sequence[keras.layers.Layer], **attributes: float) -> Iterator[None]:
    """Layers that have other attributes for a while."""
    before = [(layer, name, getattr(layer, name)) for layer in layers for name in attributes]
    for layer, name, _ in before:
        setattr(layer, name, attributes[name])
    try:
        yield
    finally:
        for layer, name, value in before:
            setattr(layer, name, value)


def values_of(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """The values of variables, as NumPy has them."""
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def assign(variables: Sequence[keras.Variable], values: list[np.ndarray]) -> None:
    """Gives each of some variables its value."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
