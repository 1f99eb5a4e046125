"""The columns of the tables that dfk writes, and the names that no class may have beside them.

Tables are read by position: those of models that were made before these names were refused may
have two columns of one name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dfk.text import valid

UNKNOWN = "unknown"  # The answer to an image that is like none of a model's classes

# Of `dfk predict`, the first three before a column per class; the last two where they are asked
# for.
PATH, LABEL, CONFIDENCE = "path", "label", "confidence"
ERROR, DOUBT, SET, CLAIMS = "error", "doubt", "set", "claims"
# Of a run's `predictions.csv`, before a column per class; the label is the truth. That of
# `dfk evaluate` ends with the doubt.
PREDICTIONS = ("image_id", LABEL, "predicted", CONFIDENCE)
SUBMISSION = ("image_id", LABEL)

RESERVED = frozenset({PATH, LABEL, CONFIDENCE, ERROR, DOUBT, SET, CLAIMS, *PREDICTIONS, UNKNOWN})


def unlike(names: Iterable[str], others: Sequence[str]) -> list[str]:
    """Class names as columns of a table that takes each name once, beside the columns `others`."""
    taken = list(others)
    for name in map(valid, names):
        while name in taken:
            name += " (class)"
        taken.append(name)
    return taken[len(others) :]
