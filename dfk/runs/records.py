"""The JSON of a run, read again: what it must hold for the tables and for going on."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dfk.system.files import DamagedError, read_json

# What JSON is like: a type, `[form]` for a list of such, `(form, form)` for a list of two, a
# dictionary for an object with these keys, of which one that ends in `?` may be null or absent.
Form = type | list | tuple | Mapping[str, "Form"]

_FIGURES = {"auroc?": float, "fpr95?": float, "oscr?": float}
METRICS: Form = {
    "model?": str,
    "data_dir": str,
    "split": str,
    "n": int,
    "accuracy": float,
    "accuracy_ci95": (float, float),
    "macro_f1": float,
    "per_class": [{"class": str, "f1": float, "support": int}],
    "ece": float,
    "published_accuracy?": float,
    "uncalibrated?": {"ece?": float},
    "brier?": float,
    "conformal?": [{"coverage": float, "mean_size?": float}],
    "robustness_mean?": float,
    "resaved?": [{"format": str, "n": int, "changed": int, "to": {}, "accuracy": float}],
    "seed?": int,
    "parameters?": int,
    "wall_time_s?": float,
    "train_images_per_s?": float,
    "open_set?": {
        "excluded": str,
        "kind?": str,
        "scores": dict.fromkeys(
            ("probability?", "logit?", "energy?", "centred_logit?"), _FIGURES
        ),
        "threshold?": {"false_alarms": float, "found": float},
    },
}  # fmt: skip
HISTORY = ["epoch", "loss", "accuracy", "holdout_loss", "holdout_accuracy", "learning_rate"]
# What Keras calls these columns, and so did dfk in runs of before.
KERAS_HISTORY = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
ENVIRONMENT: Form = {"data": {"fingerprint": str, "outliers?": str}, "weights?": {"sha256": str}}

_NAMES = {int: "whole number", float: "number", str: "text"}
_LARGEST = 1e18  # Nothing that dfk counts or measures comes near.


def read(path: Path, form: Form) -> dict[str, Any]:
    """Reads a JSON object that dfk wrote.

    Raises:
        DamagedError: if it is none of this form.
        OSError: if the file cannot be read.
    """
    value = read_json(path)
    for wrong in _wrong(value, form, ""):
        raise DamagedError(f"{path} is damaged: {wrong}")
    return value


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of `history.csv`, one per epoch; none where there is no file.

    Raises:
        DamagedError: if it is no such table.
    """
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file, strict=True)
        if header not in (HISTORY, KERAS_HISTORY):
            raise ValueError(f"its columns are not {', '.join(HISTORY)}")
        return [dict(zip(HISTORY, map(float, row), strict=True)) for row in rows]
    except (ValueError, csv.Error, IsADirectoryError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error


def _wrong(value: Any, form: Form, where: str) -> Iterator[str]:
    """Says of each part that is not of its form where it is and what it should be."""
    if isinstance(form, Mapping):
        if not isinstance(value, dict):
            yield f"{where.rstrip('.')} is no object"
            return
        for key, inner in form.items():
            name = key.rstrip("?")
            if value.get(name) is not None:
                yield from _wrong(value[name], inner, f"{where}{name}.")
            elif key == name:
                yield f"it has no {where}{name}"
    elif isinstance(form, list | tuple):
        long = len(form) if isinstance(form, tuple) else None
        if not isinstance(value, list) or long not in (None, len(value)):
            yield f"{where.rstrip('.')} is no list" + (f" of {long}" if long else "")
            return
        for inner in value:
            yield from _wrong(inner, form[0], where)
    elif not _is(value, form):
        yield f"{where.rstrip('.')} is no {_NAMES[form]}"


def _is(value: Any, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str)
    number = isinstance(value, int if kind is int else int | float)
    return number and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
