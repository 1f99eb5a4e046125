"""The columns of the tables that dfk writes, and the names that no class may have beside them.

Tables are read by position: those of models that were made before these names were refused may
have two columns of one name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dfk.text import valid

UNKNOWN = "unknown"  # The answer to an image that is like none of a model's classes
UNSURE = "unsure"  # The answer where the label does not outlast everyday deliveries

# Of `dfk predict`, the first three before a column per class; those from the set on where they
# are asked for.
PATH, LABEL, CONFIDENCE = "path", "label", "confidence"
ERROR, DOUBT, SET, CLAIMS, RECHECK = "error", "doubt", "set", "claims", "recheck"
# Of a run's `predictions.csv`, before a column per class; the label is the truth. That of
# `dfk evaluate` ends with the doubt.
PREDICTIONS = ("image_id", LABEL, "predicted", CONFIDENCE)
SUBMISSION = ("image_id", LABEL)

ANSWERS = frozenset({UNKNOWN, UNSURE})
RESERVED = ANSWERS | {PATH, LABEL, CONFIDENCE, ERROR, DOUBT, SET, CLAIMS, RECHECK, *PREDICTIONS}


def unlike(names: Iterable[str], others: Sequence[str]) -> list[str]:
    """Class names as columns of a table that takes each name once, beside the columns `others`."""
    taken = list(others)
    for name in map(valid, names):
        while name in taken:
            name += " (class)"
        taken.append(name)
    return taken[len(others) :]
