"""What is known of a model: from itself, and from the run that it lies in."""

from __future__ import annotations

from typing import Any

from dfk import models, runs
from dfk.inference import Classifier
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
        images keep their size), `image_sizes` (each [H, W], as `Classifier` has them),
        `test_crop` (the sides of the crops that are averaged for larger images),
        `thresholds`; `trained_on`, a record of `dfk.data.trained_on` whose formats are by class, or
        None; of a Keras model or an SVM `temperature`, `calibration` and `parameters`;
        of an ensemble `members` and their learned weights; and what the run tells: `scores`,
        `training_data`, `versions`.

    Raises:
        DamagedError: if a file of the run is damaged.
    """
    known = {
        "path": valid(str(classifier.path)),
        "kind": classifier.kind or "SavedModel",
        "class_names": list(classifier.class_names),
        "input_size": classifier.input_size and list(classifier.input_size),
        "image_sizes": [list(size) for size in classifier.image_sizes],
        "test_crop": classifier.limits.memory.sides,
        "thresholds": dict(classifier.thresholds),
        "trained_on": _trained_on(classifier),
    }
    if classifier.model is not None:
        known |= _of_model(classifier.model)
        what = "softmax(logits / temperature)"
        if getattr(classifier.model, "couples", False):
            what = "pairs by 1 / (1 + exp(-margin / temperature)), coupled"
        known["calibration"] = f"{what}, the temperature fitted on holdout"
    metrics, environment = (classifier.run_dir / x for x in (runs.METRICS, runs.ENVIRONMENT))
    if metrics.exists():
        scores, names = records.read(metrics, _SCORES), [name.rstrip("?") for name in _SCORES]
        known["scores"] = {name: scores[name] for name in names if name in scores}
    if environment.exists():
        versions = records.read(environment, records.ENVIRONMENT)
        known["training_data"] = versions.pop("data")
        known["versions"] = versions
    return known


def _trained_on(classifier: Classifier) -> dict[str, Any] | None:
    record = classifier.trained_on
    if record is None:
        return None
    by_class = zip(classifier.class_names, record["formats"], strict=True)
    return {**record, "formats": dict(by_class)}


def _of_model(model: Any) -> dict[str, Any]:
    if isinstance(model, models.SVM):
        size = model.image_size and list(model.image_size)
        known = {"input_size": size, "parameters": model.parameters}
        return {"temperature": model.temperature, **known}
    members = [member.name for member in models.members_of(model)]
    weights = models.member_weights_of(model) if members else {}
    return {
        "temperature": model.layers[-1].temperature,
        "parameters": model.count_params(),
        **({"members": members, "member_weights": weights} if members else {}),
    }
