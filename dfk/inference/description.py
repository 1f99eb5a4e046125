"""What is known of a model: from itself, and from the run that it lies in."""

from __future__ import annotations

from typing import Any

import keras

from dfk import models, runs
from dfk.inference import Classifier
from dfk.layers import Resizing
from dfk.model_files import saved_models
from dfk.runs import records
from dfk.text import valid

_SCORES = {
    **{"split?": str, "n": int, "accuracy": float, "accuracy_ci95?": (float, float)},
    **{"macro_f1?": float, "nll?": float, "ece?": float},
}


def describe(classifier: Classifier) -> dict[str, Any]:
    """Tells what is known of a model.

    Returns:
        What JSON can hold: `path`, `kind`, `class_names`, `input_size` ([H, W], or None where
        images keep their size), `image_sizes` (each [H, W], as `sizes_of` has them),
        `thresholds`; of a Keras model or an SVM `temperature`, `calibration` and `parameters`;
        of an ensemble `members` and their learned weights; and what the run tells: `scores`,
        `training_data`, `versions`.

    Raises:
        DamagedError: if a file of the run is damaged.
    """
    known = {
        "path": valid(str(classifier.path)),
        "kind": "SavedModel",
        "class_names": list(classifier.class_names),
        "input_size": classifier.input_size and list(classifier.input_size),
        "image_sizes": [list(size) for size in sizes_of(classifier)],
        "thresholds": dict(classifier.thresholds),
        **_of_model(classifier.model),
    }
    if classifier.temperature:
        known["calibration"] = "softmax(logits / temperature), the temperature fitted on holdout"
    metrics, environment = (classifier.run_dir / x for x in (runs.METRICS, runs.ENVIRONMENT))
    if metrics.exists():
        scores, names = records.read(metrics, _SCORES), [name.rstrip("?") for name in _SCORES]
        known["scores"] = {name: scores[name] for name in names if name in scores}
    if environment.exists():
        versions = records.read(environment, records.ENVIRONMENT)
        known["training_data"] = versions.pop("data")
        known["versions"] = versions
    return known


def sizes_of(classifier: Classifier) -> list[tuple[int, int]]:
    """The sizes (H, W) that a model, or some member of an ensemble, resizes images to.

    Empty where all is seen at its own size, and for an SVM, which resizes nothing. Beyond
    `Classifier.input_size`, which is None for what an ensemble or a SavedModel does inside.
    """
    if classifier.input_size:
        return [classifier.input_size]
    if isinstance(classifier.model, models.SVM):
        return []
    if classifier.model is None:
        known = saved_models.read_facts(classifier.path)
        sizes = [tuple(size) for size in known["image_sizes"] if size]
    else:
        sizes = _resizes(classifier.model)
    return list(dict.fromkeys(sizes))


def _resizes(model: keras.Model) -> list[tuple[int, int]]:
    sizes = [(x.height, x.width) for x in model.layers if isinstance(x, Resizing)]
    for member in models.members_of(model):  # Which may be an ensemble itself
        sizes += _resizes(member)
    return sizes


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
