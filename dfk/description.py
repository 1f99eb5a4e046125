"""What is known of a model: from itself, and from the run that it lies in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dfk import models, runs
from dfk.errors import DfkError
from dfk.inference import Classifier

_SCORES = ("split", "n", "accuracy", "accuracy_ci95", "macro_f1", "nll", "ece")


def describe(classifier: Classifier) -> dict[str, Any]:
    """Tells what is known of a model.

    Returns:
        What JSON can hold: `path`, `kind`, `class_names`, `input_size` ([H, W], or None where
        images keep their size), `thresholds`; of a Keras model or an SVM `temperature`,
        `calibration` and `parameters`; of an ensemble `members` and their learned weights; and
        what the run tells: `scores`, `training_data`, `versions`.

    Raises:
        DfkError: if a file of the run is damaged.
    """
    known = {
        "path": str(classifier.path),
        "kind": "SavedModel",
        "class_names": list(classifier.class_names),
        "input_size": classifier.input_size and list(classifier.input_size),
        "thresholds": dict(classifier.thresholds),
        **_of_model(classifier.model),
    }
    if classifier.temperature:
        known["calibration"] = "softmax(logits / temperature), the temperature fitted on holdout"
    run = classifier.run_dir
    metrics, environment = _read(run / runs.METRICS), _read(run / runs.ENVIRONMENT)
    if metrics:
        known["scores"] = {name: metrics[name] for name in _SCORES if name in metrics}
    if environment:
        known["training_data"] = environment.pop("data", {})
        known["versions"] = environment
    return known


def _of_model(model: Any) -> dict[str, Any]:
    if model is None:
        return {}
    if isinstance(model, models.SVM):
        size = model.image_size and list(model.image_size)
        numbers = {"temperature": model.temperature, "parameters": model.parameters}
        return {"kind": model.kind, "input_size": size, **numbers}
    members = [member.name for member in models.members_of(model)]
    weights = models.member_weights_of(model) if members else {}
    return {
        "kind": model.name,
        "temperature": model.layers[-1].temperature,
        "parameters": model.count_params(),
        **({"members": members, "member_weights": weights} if members else {}),
    }


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DfkError(f"{path} is damaged: {error}") from error
