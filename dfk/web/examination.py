"""One image file, examined: the answer, where the model looked, and what to doubt.

From the bytes of the file to words and pixels, without any browser or server. It has nothing
to do with `dfk.data.embedded`, the embedded data set.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
from PIL import Image

from dfk import models
from dfk.data import decode
from dfk.data.claims import Claim
from dfk.data.pixels import with_origin
from dfk.errors import ImageError
from dfk.inference import Classifier, Prediction, doubts, recheck
from dfk.inference.explain import Explainer, can_explain
from dfk.runs.columns import UNSURE

# Below it, a calibrated model expects to be wrong more often than right.
MIN_CONFIDENCE = 0.5
# Pixels: a page shows no more of an image's longer side.
SIDE = 1024
# Pixels; larger images wait for each other, and not the small ones for them.
LARGE = 2**20
CLOSED_SET = (
    "This model knows a closed set of generators and gives every image one of them, "
    "a real photograph too."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """What there is to show of an image.

    Attributes:
        prediction: as `Classifier.predict` gives it for these bytes; where it has an `error`,
            that is all there is to show. Its label is a class, never `unknown` or `unsure`: that
            is warned of.
        image: the pixels that were answered for, uint8 [H, W, 3].
        probabilities: by class name, in the order of `Classifier.class_names`.
        heat: the image under the model's Grad-CAM, uint8 [h, w, 3], as large as the image, but
            with at most `SIDE` pixels on the longer side.
        no_heat: why there is no `heat`; "" if there is.
        warnings: what a reader should know before believing the label.
        is_known: False where it is perhaps none of the classes, by the model's own threshold.
        claims: what the file declares of itself; nothing else here depends on it.
    """

    prediction: Prediction
    image: np.ndarray | None = None
    probabilities: dict[str, float] = dataclasses.field(default_factory=dict)
    heat: np.ndarray | None = None
    no_heat: str = ""
    warnings: tuple[str, ...] = ()
    is_known: bool = True
    claims: tuple[Claim, ...] = ()


class Examiner:
    """Examines image files with one loaded model."""

    def __init__(self, classifier: Classifier, *, min_confidence: float = MIN_CONFIDENCE):
        """Prepares `classifier`; an answer below `min_confidence` is warned of.

        Raises:
            ValueError: if `min_confidence` is not within 0..1.
        """
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence {min_confidence} is not within 0..1")
        self._classifier, self._min_confidence = classifier, min_confidence
        self._explainer, self._no_heat = _explainer(classifier)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the model chooses between."""
        return self._classifier.class_names

    @property
    def can_recheck(self) -> bool:
        """Whether a class is not called as an answer that does not last is."""
        return UNSURE not in self.class_names

    def is_large(self, data: bytes) -> bool:
        """Whether an answer for these bytes of a file may take long: by its header, soon told."""
        try:
            height, width = decode.size(tf.constant(data))
        except decode.FAILURES:
            return False  # It is damaged, which `examine` notices as soon.
        return int(height) * int(width) > LARGE

    def examine(self, data: bytes, *, rechecked: bool = False) -> Examination:
        """Examines the bytes of one image file, just as they were uploaded.

        Never raises for what the bytes are: a broken file is a `prediction.error`.

        Args:
            data: the bytes.
            rechecked: scores the image again as it may be delivered, where the model can.
        """
        pixels, origin = with_origin(data, limits=self._classifier.limits, claims=True)
        if isinstance(pixels, str):
            classes = len(self._classifier.class_names)
            return Examination(Prediction("", 0.0, np.zeros(classes, np.float32), pixels))
        rechecked = rechecked and self.can_recheck
        (prediction,) = self._classifier.predict(pixels, recheck=rechecked)
        if prediction.error:
            return Examination(prediction)
        # Pixels have no format to doubt.
        doubt = self._classifier.doubt(origin, prediction.probabilities)
        found = dict.fromkeys([*doubts.parted(doubt), *doubts.parted(prediction.doubt)])
        label = self._classifier.label_of(prediction.probabilities)
        prediction = prediction._replace(label=label, doubt=doubts.joined(found))
        heat, no_heat, part = self._heat(pixels)
        named = zip(self._classifier.class_names, prediction.probabilities.tolist(), strict=True)
        return Examination(
            prediction,
            pixels,
            dict(named),
            heat,
            no_heat,
            (*self._warnings(pixels, prediction), *part),
            doubts.UNKNOWN not in found,
            origin.claims,
        )

    def _heat(self, pixels: np.ndarray) -> tuple[np.ndarray | None, str, list[str]]:
        """The heat, or why there is none, and what to say of it."""
        if self._explainer is None:
            return None, self._no_heat, []
        try:
            explanation = self._explainer.explain(pixels)
            if explanation.heats[0].map.any():
                part = f"The heat map is of a part: {explanation.part}."
                return explanation.overlay(), "", [part] * bool(explanation.part)
        except (MemoryError, tf.errors.ResourceExhaustedError):
            return None, "No heat map: there is not enough memory for one of this image.", []
        except ImageError as error:  # What was available has gone meanwhile.
            return None, f"No heat map: {error}.", []
        return None, "No heat map: nowhere in the image did Grad-CAM find a part for the label.", []

    def _warnings(self, pixels: np.ndarray, prediction: Prediction):
        height, width, _ = pixels.shape
        others = [
            f"{w} x {h}" for h, w in self._classifier.image_sizes if (h, w) != (height, width)
        ]
        if others:
            yield (
                f"Resized: the image has {width} x {height} pixels, the model looks at "
                f"{' and '.join(others)}. Resizing weakens the traces of a generator."
            )
        if prediction.doubt:
            yield f"In doubt: {prediction.doubt}."
        memory = self._classifier.limits.memory
        if memory.is_cut(height, width):
            sides = " and ".join(map(str, memory.sides))
            crops = f"{memory.crops_of(height, width)} crop(s) of {sides} a side"
            yield (
                f"Large: of {width} x {height} pixels the model sees {crops}, spread over the "
                "image; what it answers to them is averaged."
            )
        if prediction.recheck is not None and prediction.recheck < recheck.LEAST:
            yield (
                "It does not last: saved again, resized and cropped by a pixel, the image gets "
                f"this label with a probability of {prediction.recheck:.1%}. Do not rely on it."
            )
        if prediction.confidence < self._min_confidence:
            yield (
                f"Unsure: the confidence of {prediction.confidence:.1%} is below "
                f"{self._min_confidence:.0%}. Do not rely on this label."
            )


def smaller(pixels: np.ndarray) -> Image.Image:
    """Pixels uint8 [H, W, 3] as a picture, with at most `SIDE` on the longer side."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    return image


def _explainer(classifier: Classifier) -> tuple[Explainer | None, str]:
    """An explainer, or, in a line for the page, why this model has none."""
    if can_explain(classifier):
        return Explainer(classifier), ""
    if isinstance(classifier.model, models.SVM):
        return None, "No heat map: an SVM has no layers that Grad-CAM could look into."
    if classifier.model is None:
        return None, "No heat map: a SavedModel hides its layers; its run's .keras file has one."
    return None, "No heat map: Grad-CAM looks into the convolutions of a network, on TensorFlow."
