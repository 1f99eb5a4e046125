"""What there is to doubt of an answer: an image unlike those that the model was trained on.

Each doubt is a text of its own, and none changes a label:

- `1920x1080: trained on 100x100`: the image is smaller, or larger, than any that it learned from.
- `JPEG: trained on PNG`, or `JPEG: only vae was in training`: what is in a file of that format may
  be told by what saving in it leaves, not by the generator.
- `simulation`: the model knows the simulated images that come with dfk, and this is none of them.
- `unknown`: the logits stand out less than the model's own threshold for unknown generators.
- `empty set`: no class is likely enough for the set of classes.
- `another class (JPEG 75)`, or `not rechecked (cropped)`: what `--recheck` found once the image was
  delivered so (`dfk.inference.recheck`).
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from dfk.data.pixels import Origin
from dfk.data.trained_on import TrainedOn
from dfk.evaluation import conformal

SIMULATION, UNKNOWN, EMPTY_SET = "simulation", "unknown", "empty set"
_BETWEEN = "; "
# In a count, all sizes are one doubt.
_SIZE, _SIZES = re.compile(r"\d+x\d+(?=: )"), "other size"


def of_origin(
    origin: Origin, trained_on: TrainedOn | None, class_names: Sequence[str]
) -> Iterator[str]:
    """What there is to doubt of an image by what it was; nothing without a record."""
    if trained_on is None:
        return
    if trained_on["demo"]:
        from dfk.data import embedded  # What it simulates with takes a while to import.

        if not embedded.holds(origin.path):
            yield SIMULATION
        return
    yield from _of_size(origin, trained_on)
    yield from _of_format(origin.format, trained_on["formats"], class_names)


def _of_size(origin: Origin, trained_on: TrainedOn) -> Iterator[str]:
    least, largest = trained_on["sizes"]
    # Turned round, an image is no larger.
    shortest = min(*least, trained_on["crop"] or min(least))
    if min(origin[:2]) < shortest or max(origin[:2]) > max(largest):
        seen = " to ".join(dict.fromkeys(f"{w}x{h}" for h, w in (least, largest)))
        yield f"{origin.width}x{origin.height}: trained on {seen}"


def _of_format(
    name: str, formats: Sequence[Mapping[str, int]], class_names: Sequence[str]
) -> Iterator[str]:
    if not name:
        return
    having = [k for k, counts in zip(class_names, formats, strict=True) if counts.get(name)]
    if not having:
        there = sorted({seen for counts in formats for seen in counts})
        yield f"{name}: trained on {', '.join(there)}"
    elif len(having) == 1:
        yield f"{name}: only {having[0]} was in training"


def of_probabilities(
    probabilities: np.ndarray, thresholds: conformal.Thresholds, coverage: float
) -> Iterator[str]:
    """What there is to doubt of probabilities, float32 [C], of a model with these thresholds."""
    if not is_known(probabilities, thresholds):
        yield UNKNOWN
    bounds = thresholds.get(conformal.set_name(coverage))
    if bounds is not None and not conformal.members(probabilities, bounds).any():
        yield EMPTY_SET


def is_known(probabilities: np.ndarray, thresholds: conformal.Thresholds) -> bool:
    """Whether the logits stand out as those of known classes do; True where nothing tells."""
    least = thresholds.get(conformal.UNKNOWN, 0.0)
    # Of the largest it is never negative.
    return least <= 0 or bool(conformal.centred_logit(probabilities) >= least)


def joined(doubts: Iterable[str]) -> str:
    """The doubts of an answer in one text; "" where there is none."""
    return _BETWEEN.join(doubts)


def parted(doubt: str) -> list[str]:
    """The doubts of such a text, one by one."""
    return doubt.split(_BETWEEN) if doubt else []


@dataclasses.dataclass
class Count:
    """Counts images, by what there is to doubt of their answers.

    Attributes:
        unread: images without an answer.
        answers: those with one.
        doubted: answers in doubt.
        of: how often, by doubt.
    """

    unread: int = 0
    answers: int = 0
    doubted: int = 0
    of: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def images(self) -> int:
        """All of them."""
        return self.unread + self.answers

    def see(self, error: str, doubt: str) -> None:
        """Counts an image, by what its prediction has."""
        if error:
            self.unread += 1
        else:
            self.add(doubt)

    def add(self, doubt: str, times: int = 1) -> None:
        """Counts answers with a text of doubts, perhaps ""."""
        self.answers += times
        self.doubted += times * bool(doubt)
        for one in parted(doubt):
            self.of[_SIZE.sub(_SIZES, one)] += times

    def __str__(self) -> str:
        """A sentence; "" where nothing is in doubt."""
        if not self.doubted:
            return ""
        each = _BETWEEN.join(f"{count} {what}" for what, count in self.of.most_common())
        return f"{self.doubted} of {self.answers} answers are in doubt: {each}"
