"""Every knob once, in groups, and how flags become experiments."""

from __future__ import annotations

from dfk.config.checks import class_weights, display_names, weight_per_class
from dfk.config.experiment import DEFAULTS, Config, every_knob, knobs_of
from dfk.config.groups import OPTIMIZERS, PRECISIONS, STRATEGIES
from dfk.config.options import ENSEMBLE_METHODS, OPTIONS
from dfk.config.parsing import data_dir, flags_help, parse

__all__ = [
    "DEFAULTS",
    "ENSEMBLE_METHODS",
    "OPTIMIZERS",
    "OPTIONS",
    "PRECISIONS",
    "STRATEGIES",
    "Config",
    "class_weights",
    "data_dir",
    "display_names",
    "every_knob",
    "flags_help",
    "knobs_of",
    "parse",
    "weight_per_class",
]
