"""The wrong answers that a model was surest of, for a report."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dfk.data.catalog import Split
from dfk.errors import ImageError
from dfk.inference.explain import Explainer

_OF_EACH_CLASS = 3
_LARGEST = 512  # Pixels a side; a report shows fewer.


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: uint8 `image` [H, W, 3] of up to 512 pixels a side, `confidence` in 0..1.

    `overlay` is the image under a heat map of where the model looked, if that is known.
    """

    image_id: str
    image: np.ndarray
    truth: str
    predicted: str
    confidence: float
    overlay: np.ndarray | None = None


def worst_mistakes(
    split: Split,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    explainer: Explainer | None = None,
) -> list[Mistake]:
    """The three errors in each class that the model was surest of.

    Args:
        explainer: draws where the model looked; None where it cannot tell.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != split.labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    worst = [
        i for k in range(len(class_names)) for i in wrong[split.labels[wrong] == k][:_OF_EACH_CLASS]
    ]
    return [
        Mistake(
            image_id=split.ids[i],
            image=image,
            truth=class_names[split.labels[i]],
            predicted=class_names[predicted[i]],
            confidence=float(confidence[i]),
            overlay=overlay,
        )
        for i in worst
        for image, overlay in [_seen(explainer, split.images[i])]
    ]


def _seen(explainer: Explainer | None, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """An image, and where the model looked: None where it cannot tell, as for want of memory."""
    overlay = None
    with contextlib.suppress(ImageError):
        overlay = _small(explainer.explain(image).overlay()) if explainer else None
    return _small(image), overlay


def _small(image: np.ndarray) -> np.ndarray:
    """`image`, reduced if it is large: many are kept until the report is written."""
    if max(image.shape) <= _LARGEST:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((_LARGEST, _LARGEST))
    return np.asarray(picture)
