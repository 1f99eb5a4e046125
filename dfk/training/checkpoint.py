"""A training goes on where it was interrupted: a callback that keeps all it depends on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from dfk.errors import UsageError
from dfk.runs import checkpoint_file
from dfk.runs.records import HISTORY, KERAS_HISTORY
from dfk.system.files import write_csv
from dfk.training.callbacks import assign, values_of


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
        assign(self.model.optimizer.variables, self._arrays["optimizer"])
        self._early_stopping.best_weights = self._arrays["best"]
        for callback, state in self.saved.callbacks.items():
            for name, value in state.items():
                setattr(self._policies[callback], name, value)
        self._arrays = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        figures = [epoch + 1, *(float(logs[name]) for name in KERAS_HISTORY[1:])]
        row = dict(zip(HISTORY, figures, strict=True))
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
            model=values_of(self.model.variables),
            optimizer=values_of(self.model.optimizer.variables),
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
        self._of("optimizer", optimizer.variables)
        self._of("best", network.weights)

    def _of(self, group: str, variables: Sequence[keras.Variable]) -> list[np.ndarray]:
        """The saved arrays of these variables."""
        arrays = self._arrays[group]
        if [array.shape for array in arrays] != [tuple(x.shape) for x in variables]:
            raise UsageError(f"{self._path} is of another network; --overwrite starts the run anew")
        return arrays

    def begin_phase(self, network: keras.Model) -> None:
        """Gives `network` what the phase before has ended with, unless this one has begun."""
        if self._arrays is not None and not self._arrays["optimizer"]:
            self.restore(network)
            self._arrays = None

    def restore(self, network: keras.Model) -> None:
        """Gives `network` the variables that were saved last."""
        assign(network.variables, self._of("model", network.variables))

    def restore_best(self, network: keras.Model) -> None:
        """Gives `network` the best weights of a phase that the checkpoint holds to its end."""
        self.restore(network)
        network.set_weights(self._of("best", network.weights))

    def end_phase(self, network: keras.Model) -> None:
        """Notes that a phase is complete, and the weights that it ended with."""
        self.saved = self.saved._replace(phase=self.saved.phase + 1, stopped=False, callbacks={})
        self._write(model=values_of(network.variables), optimizer=[], best=[])
        self.write_history()

    def write_history(self) -> None:
        """Writes `history.csv`, a row per epoch; `dfk.runs.records.HISTORY` are its columns."""
        if not self._writes:
            return
        rows = [list(row.values()) for row in self.saved.history]
        write_csv(self._history_path, HISTORY, rows)

    def _write(self, **arrays: list[np.ndarray]) -> None:
        if self._writes:
            checkpoint_file.write(self._path, self.saved, **arrays)
