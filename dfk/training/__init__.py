"""One experiment, from its flags to its metrics."""

from __future__ import annotations

from dfk.training.checks import check
from dfk.training.experiment import REPORTED, load_data, run, run_checked

__all__ = ["REPORTED", "check", "load_data", "run", "run_checked"]
