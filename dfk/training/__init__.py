"""One experiment, from its flags to its metrics."""

from __future__ import annotations

from dfk.training.experiment import REPORTED, check, load_data, run

__all__ = ["REPORTED", "check", "load_data", "run"]
