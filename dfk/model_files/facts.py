"""What a model says of itself, whatever kind of file it lies in: checked once it is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dfk.data.decode import MAX_PIXELS
from dfk.data.limits import Limits, Memory
from dfk.data.trained_on import FORMATS, TrainedOn
from dfk.evaluation import conformal
from dfk.model_files.refused import Refused


def check_names(names: Any, outputs: int | None) -> tuple[str, ...]:
    """Class names that each stand for an output of their own.

    Args:
        names: as a file has them.
        outputs: how many probabilities the model answers; None where it does not tell.

    Raises:
        Refused: if they are no list of different texts, as many as the model has outputs.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(x, str) and x for x in names):
        raise Refused("its class names are no list of texts")
    if len(set(names)) < len(names):
        raise Refused("two of its classes have the same name")
    if len(names) != outputs:
        raise Refused(f"it names {len(names)} classes and answers {outputs} probabilities")
    return tuple(names)


def check_thresholds(thresholds: Any, classes: int) -> dict[str, float | list[float]]:
    """Named thresholds: each a number, or one for each of the classes.

    Raises:
        Refused: if they are something else, or not finite.
    """
    if thresholds is None:
        return {}
    if not isinstance(thresholds, Mapping) or not all(isinstance(x, str) for x in thresholds):
        raise Refused("its thresholds have no names")
    for name, value in thresholds.items():
        several = isinstance(value, Sequence) and not isinstance(value, str)
        values = value if several else [value]
        if not all(map(is_number, values)) or (several and len(values) != classes):
            raise Refused(f"its threshold {name!r} is no number, nor one for each class")
    if {conformal.IMAGES, conformal.RATE} & {*thresholds}:
        images, rate = thresholds.get(conformal.IMAGES), thresholds.get(conformal.RATE)
        counted = isinstance(images, Sequence) and min(images) >= 0
        if not counted or not is_number(rate) or not 0 <= rate <= 1:
            raise Refused("it does not tell how many images its thresholds were chosen on")
    return dict(thresholds)


def check_temperature(temperature: Any) -> None:
    """Raises `Refused` if it is no finite number above 0."""
    if not is_number(temperature) or temperature <= 0:
        raise Refused(f"its temperature is {temperature!r}, which is no number above 0")


def check_sizes(sizes: Iterable[Any], what: str = "resizes images to") -> None:
    """Raises `Refused` unless each is (H, W), of no more pixels than an image may have."""
    for size in sizes:
        pair = isinstance(size, list | tuple) and len(size) == 2
        if not pair or not all(type(side) is int and side > 0 for side in size):
            raise Refused(f"it {what} {size!r}, which is no height and width")
        if math.prod(size) > MAX_PIXELS:
            raise Refused(f"it {what} {size!r}, more than any image may have")


def check_trained_on(record: Any, classes: int) -> TrainedOn | None:
    """A record of `dfk.data.trained_on`; older files have none.

    Raises:
        Refused: if it is something else.
    """
    if record is None:
        return None
    if not isinstance(record, dict) or record.keys() != {"sizes", "crop", "formats", "demo"}:
        raise Refused("what it was trained on is no record of dfk's")
    sizes, formats = record["sizes"], record["formats"]
    if not isinstance(sizes, list | tuple) or len(sizes) != 2:
        raise Refused("the sizes that it was trained on are not two")
    check_sizes(sizes, "was trained on images of")
    if not all(map(int.__le__, *sizes)):
        raise Refused(f"it was trained on images from {sizes[0]!r} to {sizes[1]!r}")
    if not isinstance(formats, list | tuple) or len(formats) != classes:
        raise Refused("it has not one count of formats for each class")
    if not all(map(_is_count_of_formats, formats)):
        raise Refused(f"its counts of formats are none, of {', '.join(FORMATS)}")
    if type(record["demo"]) is not bool or not _is_count(record["crop"]):
        raise Refused("what it was trained on is no record of dfk's")
    return record


def _is_count_of_formats(counts: Any) -> bool:
    return (
        isinstance(counts, dict)
        and counts.keys() <= set(FORMATS)
        and all(map(_is_count, counts.values()))
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def check_limits(known: Mapping[str, Any]) -> Limits:
    """What an export says of the images that it takes; older ones say less.

    Raises:
        Refused: if that is no number above 0.
    """
    smallest = known.get("smallest_image", 1)
    cost, most = known.get("bytes_per_pixel", 700), known.get("max_pixels", MAX_PIXELS)
    crops = known.get("crops", [])
    if not all(is_number(value) and value > 0 for value in (smallest, cost, most)):
        raise Refused("its smallest_image, bytes_per_pixel or max_pixels is no number above 0")
    if not isinstance(crops, list) or not all(map(_is_crop, crops)):
        raise Refused(f"its crops are {crops!r}, not pairs of bytes per pixel and a side")
    memory = Memory(cost, tuple((cost, side) for cost, side in crops))
    return Limits(smallest, memory, min(int(most), MAX_PIXELS))


def _is_crop(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2 and all(map(is_number, value))
    return numbers and value[0] >= 0 and type(value[1]) is int and value[1] > 0


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
