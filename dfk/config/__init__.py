"""Every knob once, and how flags become experiments."""

from __future__ import annotations

from dfk.config.checks import class_weights, weight_per_class
from dfk.config.knobs import (
    DEFAULTS,
    ENSEMBLE_METHODS,
    KNOBS,
    MODELS,
    NETWORKS,
    OPTIMIZERS,
    PRECISIONS,
    STRATEGIES,
    TRANSIENT,
    Config,
)
from dfk.config.parsing import flags_help, parse, starts_from_run

__all__ = [
    "DEFAULTS",
    "ENSEMBLE_METHODS",
    "KNOBS",
    "MODELS",
    "NETWORKS",
    "OPTIMIZERS",
    "PRECISIONS",
    "STRATEGIES",
    "TRANSIENT",
    "Config",
    "class_weights",
    "flags_help",
    "parse",
    "starts_from_run",
    "weight_per_class",
]
