"""What a network starts with, and how it is trained from there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

from dfk.config import conditions
from dfk.config.knobs import LARGEST_RATE, MANY, knob
from dfk.config.values import FilePath, Number

# What weights may be beside runs and files.
NONE, IMAGENET = "none", "imagenet"
# Of --fine_tune_from: every layer, and what the kind of network has
ALL, AUTO = "all", "auto"


@dataclasses.dataclass(frozen=True)
class Start:
    """What a network starts with, and how it is trained from there."""

    TITLE: ClassVar[str] = "What a network starts with"

    weights: str = knob(
        "",
        "The weights that a network starts with: a run, a .keras file or one of weights, or a "
        "model that comes with dfk; none for fresh ones. Of the same classes the head is kept. "
        "What is not given of --model, --image_size and the shape of the network follows.",
        FilePath(),
        lack="only networks start with weights",
    )
    head_epochs: int = knob(
        3,
        "Epochs that train the head only, on a frozen base, at --learning_rate.",
        Number(int, 0, MANY),
        needs=conditions.GIVEN_WEIGHTS,
    )
    fine_tune_from: str = knob(
        AUTO,
        "The layer or block from which on the base trains after the epochs of the head: all for "
        "all of it, empty for none; auto is block4 of VGG16, all of others.",
        needs=conditions.GIVEN_WEIGHTS,
    )
    fine_tune_learning_rate: float = knob(
        0.0,
        "The learning rate after the epochs of the head; 0 is 1e-5 for VGG16, for others a tenth "
        "of --learning_rate.",
        Number(float, 1e-12, LARGEST_RATE, or_none=True),
        needs=conditions.GIVEN_WEIGHTS,
    )


def is_run(weights: str) -> bool:
    """Whether weights are a run, or a model that comes with dfk, and not a file of any name."""
    words = "", NONE, IMAGENET
    return weights not in words and Path(weights).suffix not in (".h5", ".keras")
