"""How many answers change when the same images are saved again as JPEG, as happens on their way.

PNG is left out: it keeps every pixel, and so every answer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dfk.data.catalog import Split
from dfk.evaluation import degrade
from dfk.inference import Classifier
from dfk.system.progress import Bar
from dfk.system.threads import in_threads

QUALITIES = (95, 75)  # A save that nobody sees, and the usual one
MOST_IMAGES = 500  # Chosen by their ids; a share of 10 % is then known to some 3 points.
# The share of answers that change at the first quality from which on it is a warning.
MUCH = 0.1
_HELD_BYTES = 2**28  # Of images that are answered together
_BYTES_PER_PIXEL = 12  # Of one that is decoded, saved and decoded again

# From images of a split to probabilities, float32 [N, C]; zeros where there is no answer.
Answer = Callable[[Split], np.ndarray]


def measure(
    answer: Answer, split: Split, probabilities: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Saves images again and compares the answers with those to the images as they are.

    Args:
        split: N labelled images; 500 of them are looked at, if there are more.
        probabilities: float32 [N, C], the answers to the images as they are.

    Returns:
        For each quality `format` ("JPEG 95"), `n` (images looked at), `changed` (how many get
        another class), `to` (class -> how many go there, most first) and `accuracy` then.
    """
    chosen = _chosen(split.ids)
    before, labels = probabilities[chosen].argmax(axis=1), split.labels[chosen]
    total, rows = len(QUALITIES) * len(chosen), []
    with Bar(total=total, desc="saved again", unit=" images", delay=2, leave=False) as bar:
        for quality in QUALITIES:
            answers = []
            for part in _saved_again(split, chosen, quality):
                answers.append(answer(part))
                bar.update(len(part))
            rows.append(_row(f"JPEG {quality}", before, np.concatenate(answers), labels))
    for row in rows:
        row["to"] = {class_names[label]: count for label, count in row["to"].most_common()}
    return rows


def answer_of(classifier: Classifier) -> Answer:
    """What a loaded model answers."""
    return lambda split: np.stack([x.probabilities for x in classifier.predict(split.images)])


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each row of what `measure` gives."""
    return [_line(row) for row in rows]


def warning(rows: Sequence[Mapping[str, Any]]) -> str:
    """What to think of it where more than a tenth of the answers change at once; else ""."""
    if not rows or rows[0]["changed"] <= MUCH * rows[0]["n"]:
        return ""
    return (
        f"{_line(rows[0])}. What the model goes by is how files were saved, or is lost in saving. "
        "Train networks with --augment=jpeg or --augment=forensic, or any model on a set that dfk "
        "prepare has saved alike."
    )


def _line(row: Mapping[str, Any]) -> str:
    to = ", ".join(f"{count} to {name}" for name, count in [*row["to"].items()][:3])
    more = ", ..." if len(row["to"]) > 3 else ""
    return (
        f"saved again as {row['format']}, {row['changed']} of {row['n']} images get another answer"
        + f" ({to}{more})" * bool(to)
    )


def _chosen(ids: Sequence[str]) -> list[int]:
    """Indices of at most 500 images, the same whatever else is there, in their order."""
    digests = [hashlib.sha256(image_id.encode()).digest() for image_id in ids]
    return sorted(sorted(range(len(ids)), key=digests.__getitem__)[:MOST_IMAGES])


def _saved_again(split: Split, indices: Sequence[int], quality: int) -> Iterator[Split]:
    """The images at `indices` through a JPEG file, in parts that memory holds."""
    bare = dataclasses.replace(split, images=None)
    shapes = split.shapes
    saved = in_threads(
        lambda i: (i, degrade.jpeg(split.images[i], quality)),
        indices,
        lambda i: _BYTES_PER_PIXEL * math.prod(shapes[i]),
    )
    part: list[tuple[int, np.ndarray]] = []
    held = 0
    for place in saved:
        part.append(place)
        held += place[1].nbytes
        if held >= _HELD_BYTES:
            yield _split(bare, part)
            part, held = [], 0
    if part:
        yield _split(bare, part)


def _split(bare: Split, part: Sequence[tuple[int, np.ndarray]]) -> Split:
    taken = bare.take([i for i, _ in part])
    return dataclasses.replace(taken, images=[image for _, image in part])


def _row(name: str, before: np.ndarray, answers: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    answered = answers.max(axis=1) > 0
    after, before, labels = answers.argmax(axis=1)[answered], before[answered], labels[answered]
    changed = after != before
    return {
        "format": name,
        "n": len(after),
        "changed": int(changed.sum()),
        "to": Counter(after[changed].tolist()),
        "accuracy": float((after == labels).mean()) if len(after) else 0.0,
    }
