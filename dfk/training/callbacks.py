"""Keras callbacks of our own: a checkpoint that forgets nothing, progress, and a stop at NaN."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from dfk.errors import DfkError, UsageError
from dfk.runs import checkpoint_file
from dfk.runs.records import HISTORY
from dfk.system import backend
from dfk.system.files import write_csv
from dfk.system.terminal import raw


class DivergenceError(DfkError):
    """The loss is no number any more; the message says what to try."""


class StopAtNaN(keras.callbacks.Callback):
    """Raises DivergenceError at the first batch whose loss is NaN or infinite."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise DivergenceError(
                f"the loss became {loss} in epoch {self._epoch + 1}, step {batch + 1}. "
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
        _assign(variables, [np.mean(values, axis=0) for values in zip(*seen, strict=True)])

    def _after(self, images: Any, variables: Sequence[keras.Variable]) -> list[np.ndarray]:
        """What `variables`, which are not trained, are after a batch."""
        if not backend.on_jax():
            self.model(images, training=True)
            return _values(variables)
        # Layer by layer, JAX would spend more time on starting operations than on running them.
        self._compiled = self._compiled or _compiled_pass(self.model)
        state = self.model.trainable_variables, self.model.non_trainable_variables
        values = self._compiled(*([v.value for v in some] for some in state), np.asarray(images))
        after = {id(variable): value for variable, value in zip(state[1], values, strict=True)}
        return [np.asarray(after[id(variable)]) for variable in variables]


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


class Progress(keras.callbacks.Callback):
    """One bar for the whole training with the time left; a line per epoch where no one watches."""

    def __init__(self, *, first_epoch: int, epochs: int, steps: int):
        super().__init__()
        self._first, self._epochs, self._steps = first_epoch, epochs, steps

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
        logs = logs or {}
        self._bar.set_postfix_str(
            f"loss {float(logs['loss']):.3f}, accuracy {float(logs['accuracy']):.3f}", refresh=False
        )
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
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


class Checkpoint(keras.callbacks.Callback):
    """Saves all that training depends on as each epoch ends, in one file, whole or not at all.

    Keras' BackupAndRestore forgets what the plateau and early-stopping callbacks have
    counted, and its file can be half written. This one holds every variable of model
    and optimizer (the seed generators of dropout among them), the best weights, the
    callbacks' counters and the history. The input pipeline needs no state: it draws
    from (seed, epoch, step). So a resumed run equals an uninterrupted one bit for bit.
    A training of several phases takes one of these for each, on the same file.

    Put it last in the list: the others must have acted when it saves and, on a resume,
    have reset themselves before it restores them.

    Args:
        path: the `.npz` file.
        history_path: `history.csv`, rewritten from the saved history so that no row of an
            epoch that was not saved, or of one trained twice, can stand in it.
        policies: the callbacks whose state is kept, a Keras' EarlyStopping among them.
        writes: whether this process does, or reads only: of several workers one writes.

    Raises:
        UsageError: if the file is damaged.
    """

    def __init__(
        self,
        path: Path,
        history_path: Path,
        policies: Sequence[keras.callbacks.Callback],
        *,
        writes: bool = True,
    ):
        super().__init__()
        self._path, self._history_path, self._writes = path, history_path, writes
        self._policies = {type(policy).__name__: policy for policy in policies}
        self.saved, self._arrays = checkpoint_file.read(path)

    @property
    def _early_stopping(self) -> keras.callbacks.EarlyStopping:
        return self._policies["EarlyStopping"]

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self._arrays is None:
            return
        self.restore(self.model)
        if self._arrays["optimizer"]:  # Empty where a phase begins
            _assign(self.model.optimizer.variables, self._arrays["optimizer"])
            self._early_stopping.best_weights = self._arrays["best"]
        for callback, state in self.saved.callbacks.items():
            for name, value in state.items():
                setattr(self._policies[callback], name, value)
        self._arrays = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        row = {"epoch": epoch + 1} | {name: float(logs[name]) for name in HISTORY[1:]}
        self.saved = self.saved._replace(
            epochs=epoch + 1,
            stopped=self.model.stop_training,
            history=[*self.saved.history, row],
            seconds=self.saved.seconds + time.monotonic() - self._began,
            callbacks={
                callback: {name: getattr(self._policies[callback], name) for name in names}
                for callback, names in checkpoint_file.KEPT.items()
                if callback in self._policies
            },
        )
        self._write(
            model=_values(self.model.variables),
            optimizer=_values(self.model.optimizer.variables),
            best=self._early_stopping.best_weights or [],
        )
        self.write_history()

    def on_train_end(self, logs: dict | None = None) -> None:
        # Keras' `fit` ends by giving the network what its optimizer holds for the average.
        self.model.set_weights(self._early_stopping.best_weights)

    def check(self, network: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        """Says, before anything trains, whether the arrays are those of this network.

        Raises:
            UsageError: if another network's have been saved.
        """
        if self._arrays is None:
            return
        self._of("model", network.variables)
        if self._arrays["optimizer"]:  # Empty where a phase begins
            self._of("optimizer", optimizer.variables)
            self._of("best", network.weights)

    def _of(self, group: str, variables: Sequence[keras.Variable]) -> list[np.ndarray]:
        """The saved arrays of these variables."""
        arrays = self._arrays[group]
        if [array.shape for array in arrays] != [tuple(x.shape) for x in variables]:
            raise UsageError(f"{self._path} is of another network; --overwrite starts the run anew")
        return arrays

    def restore(self, network: keras.Model) -> None:
        """Gives `network` the variables that were saved last."""
        _assign(network.variables, self._of("model", network.variables))

    def restore_best(self, network: keras.Model) -> None:
        """Gives `network` the best weights of a phase that the checkpoint holds to its end."""
        self.restore(network)
        network.set_weights(self._of("best", network.weights))

    def end_phase(self, network: keras.Model) -> None:
        """Notes that a phase is complete, and the weights that it ended with."""
        self.saved = self.saved._replace(phase=self.saved.phase + 1, stopped=False, callbacks={})
        self._write(model=_values(network.variables), optimizer=[], best=[])
        self.write_history()

    def write_history(self) -> None:
        """Writes `history.csv`: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate."""
        if not self._writes:
            return
        rows = [list(row.values()) for row in self.saved.history]
        write_csv(self._history_path, HISTORY, rows)

    def _write(self, **arrays: list[np.ndarray]) -> None:
        if self._writes:
            checkpoint_file.write(self._path, self.saved, **arrays)


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


def _values(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _assign(variables: Sequence[keras.Variable], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
