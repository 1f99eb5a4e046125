"""Scores images with a loaded model.

Files and bytes go through `dfk.data.decode`, as in training and serving, so the same
bytes give the same pixels and the same probabilities. An image that cannot be read gets
an error of its own and does not disturb the others.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from dfk import runs
from dfk.data import headers, inputs
from dfk.data.claims import in_line
from dfk.data.limits import Limits, told
from dfk.data.pixels import Origin, with_origin
from dfk.data.trained_on import TrainedOn
from dfk.errors import UsageError
from dfk.evaluation import conformal
from dfk.inference import doubts
from dfk.inference import recheck as checks
from dfk.inference.batching import by_size, windows
from dfk.runs.columns import UNKNOWN, UNSURE
from dfk.system.threads import in_threads

BATCH_SIZE = 32
COVERAGE = 0.95  # Of the sets that are meant where none is named


class Prediction(NamedTuple):
    """What a model says of one image.

    Attributes:
        label: the name of the most probable class; `unknown` where that is less probable than
            was asked for; `unsure` where it does not outlast a recheck; "" for an image that
            cannot be read.
        confidence: the largest probability, 0..1; 0 for an image that cannot be read.
        probabilities: float32 [C], in the order of `Classifier.class_names`, calibrated.
        error: why the image cannot be read; "" if it can.
        doubt: what there is to doubt of the answer, as `dfk.inference.doubts` has it, with "; "
            between several; "" where there is nothing.
        features: what the logits are made of, float32 [D], of `Classifier.with_features`; else
            None, as for an image that cannot be read.
        claims: what the file declares, as `dfk.data.claims.in_line` puts it; "" where that was not
            asked, or there is nothing, or no file. Claims can be forged or stripped, and do not
            take part in the answer.
        recheck: how likely the most probable class stays once the image is delivered, 0..1, as
            `dfk.inference.recheck` has it; None where that was not asked, or there is no answer.
    """

    label: str
    confidence: float
    probabilities: np.ndarray
    error: str = ""
    doubt: str = ""
    features: np.ndarray | None = None
    claims: str = ""
    recheck: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A loaded model. It knows a closed set of classes and gives *every* image one of them.

    Attributes:
        path: where it was loaded from.
        class_names: C names.
        answer: images of one size, uint8 [N, H, W, 3], or float32 where `input_size` is
            known, to probabilities [N, C].
        kind: what kind of model it is, as `--model` names it; None for a SavedModel.
        input_size: (H, W) that the model itself resizes to; None if images keep their size.
        image_sizes: the sizes (H, W) that it resizes images to, or some member of an ensemble
            does; empty where all is seen at its own size, and for an SVM, which resizes nothing.
        thresholds: named numbers that the model carries, as `dfk.evaluation.conformal`
            chooses them; those of sets are C, in the order of the classes.
        temperature: what the logits are divided by, fitted on the holdout; None for a SavedModel
            and for an SVM, which divides the margins of its pairs.
        model: the `keras.Model` or `dfk.models.SVM`; None for a SavedModel.
        limits: what an image may be.
        feature_count: D, how many features `answer` has behind the probabilities, [N, C + D].
        trained_on: a record of `dfk.data.trained_on`; None of older models.
    """

    path: Path
    class_names: tuple[str, ...]
    answer: Callable[[np.ndarray], np.ndarray]
    kind: str | None = None
    input_size: tuple[int, int] | None = None
    image_sizes: Sequence[tuple[int, int]] = ()
    thresholds: Mapping[str, float | Sequence[float]] = dataclasses.field(default_factory=dict)
    temperature: float | None = None
    model: Any = None
    limits: Limits = Limits()  # noqa: RUF009 -- nobody changes it
    trained_on: TrainedOn | None = None
    feature_count: int = 0

    @property
    def run_dir(self) -> Path:
        """The folder that holds what else a run leaves, if the model lies in a run."""
        return self.path.parent.parent if self.path.is_dir() else self.path.parent

    @property
    def name(self) -> str:
        """The run's name; outside of a run, the file's or the folder's."""
        in_run = (self.run_dir / runs.FLAGS).is_file()
        return self.run_dir.resolve().name if in_run else self.path.stem

    def threshold(self, name: str) -> float | Sequence[float]:
        """A threshold that the model carries, as `dfk.evaluation.conformal` names them.

        Raises:
            UsageError: if it carries none of this name: its holdout had too few images, or it is
                an older model.
        """
        if lack := conformal.left_out(self.thresholds).get(name):
            raise UsageError(
                f"{self.path} has no {conformal.what(name)}: {conformal.too_few(*lack)}. A holdout "
                "is a tenth of the training images: train it with more of them"
            )
        if name not in self.thresholds:
            there = ", ".join(self.thresholds) or "none"
            raise UsageError(
                f"{self.path} carries no threshold {name} (it has {there}); train it once more"
            )
        return self.thresholds[name]

    def prediction_set(self, probabilities: np.ndarray, coverage: float = COVERAGE) -> list[str]:
        """The classes among which the true one is with a probability of 0.9, 0.95 or 0.99.

        This holds of each class, however good the model is, for images like the holdout's; of all
        images together where some classes had too few there (`dfk.evaluation.conformal` has
        both). `probabilities`, float32 [C], are those of a `Prediction`.
        They may be all classes, or none where none is likely.

        Raises:
            UsageError: if the model carries no thresholds for it.
        """
        bounds = self.threshold(conformal.set_name(coverage))
        inside = conformal.members(probabilities, bounds)
        return [name for name, is_in in zip(self.class_names, inside, strict=True) if is_in]

    def predict(
        self,
        images: Any,
        *,
        batch_size: int = BATCH_SIZE,
        min_confidence: float = 0.0,
        unknown: bool = False,
        coverage: float = COVERAGE,
        claims: bool = False,
        recheck: bool = False,
    ) -> list[Prediction]:
        """Scores images; one `Prediction` each, in their order.

        Args:
            images: one image or an iterable of any mixture: paths, contents of image files
                (bytes, bytearray, memoryview, files open for reading bytes), Pillow images,
                arrays and tensors [H, W, 3] of whole numbers or floats in 0..255 (grey [H, W],
                RGBA); also one array [N, H, W, 3]. `dfk.data.inputs` says more. What cannot be
                taken, such as floats in 0..1, has an `error`, which names its position.
            batch_size: images of one size that share a call of the model.
            min_confidence: an image with less is called `unknown`.
            unknown: so is one that the model's own threshold says it of.
            coverage: of the sets, as of `prediction_set`; an empty one is a doubt.
            claims: reads what files declare of themselves, too.
            recheck: scores each image again as it may be delivered (`dfk.inference.recheck`): one
                whose label does not last is called `unsure`. It takes five times as long.

        Raises:
            UsageError: if the model carries no such threshold, or has a class `unknown` or
                `unsure`; if `images` is neither an image nor an iterable.
        """
        options = {"min_confidence": min_confidence, "unknown": unknown, "coverage": coverage}
        options |= {"claims": claims, "recheck": recheck}
        return list(self.predict_stream(images, batch_size=batch_size, **options))

    def predict_stream(
        self, images: Any, *, batch_size: int = BATCH_SIZE, **options: Any
    ) -> Iterator[Prediction]:
        """Scores images as they come, as `predict` does, with a bounded number in memory."""
        for batch in self.predict_batches(images, batch_size=batch_size, **options):
            yield from batch

    def predict_batches(
        self,
        images: Any,
        *,
        batch_size: int = BATCH_SIZE,
        min_confidence: float = 0.0,
        unknown: bool = False,
        coverage: float = COVERAGE,
        claims: bool = False,
        recheck: bool = False,
    ) -> Iterator[list[Prediction]]:
        """Scores a stream as `predict_stream` does; yields what became ready together.

        A stream that goes on behind what was yielded is answered the same, bit for bit. At its end
        the files are counted of whose images no more than crops were seen.
        """
        bounds = self.bounds(min_confidence, unknown, recheck)
        # Deliveries are of the image as it came.
        resize = None if recheck else _resizer(self.input_size)
        answer = functools.partial(self._answer, batch_size=batch_size)
        origins: deque[Origin | None] = deque()
        memory, larger = self.limits.memory, 0

        def decoded() -> Iterator[np.ndarray | str]:
            read = functools.partial(with_origin, resize=resize, limits=self.limits, claims=claims)
            given = inputs.each(images, self.limits)
            nonlocal larger
            for pixels, origin in in_threads(read, given, headers.bytes_of):
                origins.append(origin)
                larger += bool(origin and origin.path and memory.is_cut(*origin[:2]))
                yield pixels

        for window in windows(decoded(), batch_size):
            answers = answer(window)
            again = [None] * len(window)
            if recheck:
                again = checks.check(window, answers, answer, self.limits, len(self.class_names))
            yield [
                self._prediction(x, origins.popleft(), bounds, coverage, checked)
                for x, checked in zip(answers, again, strict=True)
            ]
        if larger:
            logging.info(told(larger, memory.sides))

    def features(self, images: Any, *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """What the model makes its logits of, of images as `predict` takes them.

        Returns:
            float32 [N, D], as `dfk.models.features_of` has them; a row of NaN where there is no
            answer, of which `with_features().predict(images)` has the error.

        Raises:
            UsageError: if it is an SVM or a SavedModel, which have none, and as of `predict`.
        """
        looking = self.with_features()
        none = np.full(looking.feature_count, np.nan, np.float32)
        predictions = looking.predict_stream(images, batch_size=batch_size)
        rows = [none if x.features is None else x.features for x in predictions]
        return np.stack(rows) if rows else np.empty((0, looking.feature_count), np.float32)

    def with_features(self) -> Classifier:
        """The same classifier, whose predictions have `features`, too.

        Raises:
            UsageError: if it is an SVM or a SavedModel, which have none.
        """
        if self.feature_count:
            return self
        from dfk.inference.loading import with_features

        return with_features(self)

    def bounds(
        self, min_confidence: float = 0.0, unknown: bool = False, recheck: bool = False
    ) -> tuple[float, float]:
        """The least confidence and the least centred logit of what is not called `unknown`.

        Raises:
            UsageError: if the model carries no threshold for it, or has a class of the name of an
                answer that may be given.
        """
        given = {UNKNOWN: min_confidence or unknown, UNSURE: recheck}
        by = {UNKNOWN: "--min_confidence and --unknown", UNSURE: "--recheck"}
        for name in self.class_names:
            if given.get(name):
                raise UsageError(
                    f"{self.path} has a class {name!r}, which could not be told from the answer "
                    f"{name!r} of {by[name]}: leave that out, or rename the class and train once "
                    "more"
                )
        return min_confidence, self.threshold(conformal.UNKNOWN) if unknown else 0.0

    def label_of(self, probabilities: np.ndarray, bounds: tuple[float, float] = (0.0, 0.0)) -> str:
        """The label that probabilities, float32 [C], stand for: `unknown` below the `bounds`."""
        min_confidence, min_logit = bounds
        known = float(probabilities.max()) >= min_confidence
        # Of the largest it is never negative.
        if known and min_logit > 0:
            known = conformal.centred_logit(probabilities) >= min_logit
        return self.class_names[probabilities.argmax()] if known else UNKNOWN

    def _answer(self, window: list[np.ndarray | str], batch_size: int) -> list[np.ndarray | str]:
        """Pixels to probabilities [C] or the reason why there are none; reasons stay."""
        answers = list(window)
        for indices in by_size(window):
            height, width, _ = window[indices[0]].shape
            step = self.limits.at_once(height, width, batch_size)
            for start in range(0, len(indices), step):
                batch = indices[start : start + step]
                answered = self._call([window[i] for i in batch])
                for place, i in enumerate(batch):
                    answers[i] = answered if isinstance(answered, str) else answered[place]
        return answers

    def _call(self, images: list[np.ndarray]) -> list[np.ndarray] | str:
        """The model's answers to images of one size, or why it has none for that size."""
        height, width, _ = images[0].shape
        cannot = f"the model cannot take an image of {width} x {height} pixels"
        try:
            probabilities = self.answer(np.stack(images))
        except UsageError as error:  # An SVM says what it needs.
            return f"{cannot}: {error}"
        except (MemoryError, tf.errors.OpError) as error:
            memory = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
            return f"{cannot}" + (": there is not enough memory" if memory else "")
        if not np.isfinite(probabilities).all():
            return cannot
        return list(probabilities)

    def doubt(
        self,
        origin: Origin,
        probabilities: np.ndarray,
        coverage: float = COVERAGE,
        more: Sequence[str] = (),
    ) -> str:
        """What there is to doubt of an answer, as `Prediction` has it.

        Args:
            origin: what the image was.
            probabilities: float32 [C], the answer.
            coverage: as of `predict`.
            more: further doubts.
        """
        seen = doubts.of_origin(origin, self.trained_on, self.class_names)
        return doubts.joined(
            [*seen, *doubts.of_probabilities(probabilities, self.thresholds, coverage), *more]
        )

    def _prediction(
        self,
        answer: np.ndarray | str,
        origin: Origin | None,
        bounds: tuple[float, float],
        coverage: float,
        checked: checks.Checked | None,
    ) -> Prediction:
        if isinstance(answer, str):
            return Prediction("", 0.0, np.zeros(len(self.class_names), np.float32), answer)
        features = None
        if self.feature_count:
            classes = len(self.class_names)
            answer, features = answer[:classes], answer[classes:]
        score, more = checked or (None, ())
        doubt = self.doubt(origin, answer, coverage, more)
        label = checks.label(self.label_of(answer, bounds), score)
        declared = in_line(origin.claims)
        return Prediction(label, float(answer.max()), answer, "", doubt, features, declared, score)


def _resizer(size: tuple[int, int] | None) -> Callable[[np.ndarray], np.ndarray] | None:
    """The model's own resize, ahead of it: images of any sizes then share a batch."""
    if size is None:
        return None
    from dfk.layers import Resizing

    resize = Resizing(*size)
    return lambda pixels: np.asarray(resize(pixels[None]))[0]
