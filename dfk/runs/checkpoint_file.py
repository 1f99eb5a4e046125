"""`checkpoint.npz`: all that a training depends on, written as a whole and read with suspicion."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dfk.errors import UsageError
from dfk.runs.records import HISTORY, KERAS_HISTORY
from dfk.system.files import write_atomic

History = list[dict[str, float]]
Arrays = dict[str, list[np.ndarray]]

_GROUPS = ("model", "optimizer", "best")
_STATE = "state"

# What the callbacks count, and Keras' BackupAndRestore forgets.
KEPT = {
    "ReduceLROnPlateau": ("best", "wait", "cooldown_counter"),
    "EarlyStopping": ("best", "wait", "best_epoch", "stopped_epoch"),
    "AverageWeights": ("_ema_weights_in_model",),
}


class Saved(NamedTuple):
    """What a checkpoint holds beside the arrays.

    Attributes:
        phase: how many phases of the training are complete.
        epochs: how many epochs are, over all phases.
        stopped: whether early stopping ended the phase after them.
        history: one row per epoch.
        seconds: spent training, over all interrupted parts.
        callbacks: attributes of the callbacks by class name.
    """

    phase: int = 0
    epochs: int = 0
    stopped: bool = False
    history: History = []  # noqa: RUF012 -- nobody changes it
    seconds: float = 0.0
    callbacks: dict[str, dict[str, Any]] = {}  # noqa: RUF012


def write(path: Path, saved: Saved, **arrays: Sequence[np.ndarray]) -> None:
    """Writes a checkpoint with the groups of arrays `model`, `optimizer` and `best`."""
    file = io.BytesIO()
    named = {f"{group}/{i}": a for group, some in arrays.items() for i, a in enumerate(some)}
    np.savez(file, **{_STATE: np.array(json.dumps(saved._asdict()))}, **named)
    write_atomic(path, file.getvalue())


def check(path: Path) -> None:
    """Says whether a checkpoint, if there is one, can be read.

    Raises:
        UsageError: if it is damaged, or nothing that `write` writes.
    """
    _read(path, check_only=True)


def read(path: Path) -> tuple[Saved, Arrays | None]:
    """The saved state and arrays; an empty state and None where nothing was saved.

    Raises:
        UsageError: if it is damaged, or nothing that `write` writes.
    """
    return _read(path)


def _read(path: Path, *, check_only: bool = False) -> tuple[Saved, Arrays | None]:
    if not path.exists():
        return Saved(), None
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive, path.stat().st_size)
            if check_only and archive.testzip():
                raise zipfile.BadZipFile
        with np.load(path, allow_pickle=False) as file:
            saved = _saved(file[_STATE])
            arrays: Arrays = {name: [] for name in _GROUPS}
            for name in () if check_only else file.files:  # In the order in which they were written
                if name != _STATE:
                    arrays[name.partition("/")[0]].append(file[name])
    # What zipfile and NumPy raise for what is none of theirs; RuntimeError for a locked archive.
    except (
        *(ValueError, TypeError, KeyError, EOFError, OverflowError, IsADirectoryError),
        *(zipfile.BadZipFile, RuntimeError),
    ) as error:
        raise UsageError(f"{path} is damaged; --overwrite starts the run anew") from error
    return saved, arrays


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Refuses, by headers alone, what would unpack to more than its file, or hold objects."""
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("it would unpack to more than its size")
    for entry in entries:
        with archive.open(entry) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("another version")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            claimed = file.tell() + math.prod(shape) * dtype.itemsize
        group = entry.filename.removesuffix(".npy").partition("/")[0]
        if group not in (_STATE, *_GROUPS) or dtype.hasobject or claimed != entry.file_size:
            raise ValueError("an array of another kind")


def _saved(state: np.ndarray) -> Saved:
    saved = Saved(**json.loads(str(state)))
    good = (
        all(type(x) is int and x >= 0 for x in (saved.phase, saved.epochs))
        and type(saved.stopped) is bool
        and type(saved.seconds) in (int, float)
        and isinstance(saved.history, list)
        and all(
            isinstance(row, dict) and [*row] in (HISTORY, KERAS_HISTORY) for row in saved.history
        )
        and all(_are_numbers(row) for row in saved.history)
        and isinstance(saved.callbacks, dict)
        and all(
            isinstance(kept, dict) and {*kept} <= {*KEPT.get(name, ())} and _are_numbers(kept)
            for name, kept in saved.callbacks.items()
        )
    )
    if not good:
        raise ValueError("the state of another program")
    rows = [dict(zip(HISTORY, row.values(), strict=True)) for row in saved.history]
    return saved._replace(history=rows)


def _are_numbers(values: Mapping[str, Any]) -> bool:
    return all(value is None or isinstance(value, int | float) for value in values.values())
