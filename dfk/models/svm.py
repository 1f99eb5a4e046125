"""Support vector machines on pixels and on forensic features: rows `svm` and `svm_forensic`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from dfk.data.stored import shapes_of
from dfk.data.trained_on import TrainedOn
from dfk.errors import UsageError
from dfk.evaluation import coupling
from dfk.evaluation.calibration import fit_temperature
from dfk.model_files import facts, skops_files
from dfk.model_files.refused import Refused, reason, told
from dfk.models import forensic, rbf
from dfk.models.limits import DECODED
from dfk.system.files import write_atomic

# Wraps a list that takes long, as `tqdm` does, and is told its `desc` and `unit`.
Progress = Callable[..., Iterable]


def _unseen(some: list, **_: str) -> Iterable:
    return some


# By kind, the penalty C: the study's, and what did best on the holdout (1, 3, 10, 30 tried).
PENALTY = {"svm": 1.0, "svm_forensic": 10.0}


@dataclasses.dataclass(frozen=True, eq=False)
class SVM:
    """An RBF support vector machine on images that answers calibrated probabilities.

    `fit` makes one, `load` reads one. The kind `svm` sees the pixels themselves and takes
    images of the one size that it was trained on; `svm_forensic` sees the features of
    `dfk.models.forensic` and takes any size from 8 x 8.

    Attributes:
        kind: `svm` or `svm_forensic`.
        class_names: C names, in the order of the outputs.
        image_size: (H, W) that images must have; None for any.
        machine: classifies pixels (uint8) or features (float32).
        temperature: divides the margins of the pairs; without `couples`, the scores.
        couples: whether probabilities are coupled from those of pairs (`dfk.evaluation.coupling`).
            Machines of before take a softmax of `decision`, in which votes outweigh margins: with
            many classes all answers are about as sure.
        thresholds, trained_on: as `dfk.layers.CalibratedSoftmax` carries them.
    """

    kind: str
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None
    machine: rbf.Machine
    temperature: float = 1.0
    thresholds: Mapping[str, float | Sequence[float]] = dataclasses.field(default_factory=dict)
    trained_on: TrainedOn | None = None
    couples: bool = False

    def __post_init__(self) -> None:
        if self.kind not in PENALTY or len(self.class_names) != len(self.machine.support):
            raise ValueError(f"an {self.kind} for the classes {self.class_names} cannot be")

    @classmethod
    def fit(
        cls,
        images: Sequence[np.ndarray],
        labels: np.ndarray,
        *,
        class_names: Sequence[str],
        kind: str,
        progress: Progress = _unseen,
    ) -> SVM:
        """Trains on images, with nothing drawn at random; takes 8 N^2 bytes at least.

        Args:
            images: N arrays uint8 [H, W, 3].
            labels: int [N], indices into `class_names`; every class occurs.
            class_names: C >= 2 names.
            kind: `svm` or `svm_forensic`.
            progress: wraps lists that take long, as `tqdm` does, and is told `desc` and `unit`.

        Raises:
            UsageError: for images of several sizes where `kind` compares pixels, images too
                small for forensic features, or a class without an image.
        """
        if set(np.unique(labels)) != set(range(len(class_names))):
            raise UsageError("an SVM needs training images of every class")
        image_size = shapes_of(images)[0] if kind == "svm" else None
        rows = _rows(images, image_size, progress)
        blocks = partial(progress, desc="kernel", unit=" blocks")
        machine = rbf.Machine.fit(rows, labels, penalty=PENALTY[kind], progress=blocks)
        return cls(kind, tuple(class_names), image_size, machine, couples=True)

    def duels(self, images: Sequence[np.ndarray], progress: Progress = _unseen) -> np.ndarray:
        """Compares pairs of classes on images uint8 [H, W, 3], in blocks that bound the memory.

        Args:
            progress: as `fit` takes it.

        Returns:
            float64 [N, C(C-1)/2], as `rbf.Machine.duels` says.

        Raises:
            UsageError: for an image of a size that the machine does not take.
        """
        margins = np.empty((len(images), len(self.machine.intercepts)))
        for block in rbf.blocks(len(images), len(self.machine.mean)):
            margins[block] = self.machine.duels(_rows(images[block], self.image_size, progress))
        return margins

    def decision(self, images: Sequence[np.ndarray], progress: Progress = _unseen) -> np.ndarray:
        """Scores images as `rbf.one_vs_rest` does, float64 [N, C]."""
        return rbf.one_vs_rest(self.duels(images, progress), len(self.class_names))

    def calibrated(
        self, images: Sequence[np.ndarray], labels: np.ndarray, progress: Progress = _unseen
    ) -> tuple[SVM, np.ndarray]:
        """The same machine with the temperature that suits images it has not learned from.

        It is one for all pairs: there may be three images of a class.

        Args:
            images: N arrays uint8 [H, W, 3].
            labels: int [N].
            progress: as `fit` takes it.

        Returns:
            The machine, and what it answers to these images, float32 [N, C].
        """
        margins = self.duels(images, progress)
        couple = partial(coupling.log_probabilities, classes=len(self.class_names))
        fitted = self.with_(temperature=fit_temperature(margins, labels, couple))
        return fitted, fitted._probabilities(margins)

    @property
    def bytes_per_pixel(self) -> float:
        """The memory that a pixel of an image takes while it answers, measured."""
        return DECODED + forensic.BYTES_PER_PIXEL if self.kind == "svm_forensic" else 60

    def predict(self, images: Sequence[np.ndarray], progress: Progress = _unseen) -> np.ndarray:
        """Calibrated probabilities of images uint8 [H, W, 3].

        Returns:
            float32 [N, C]. The largest is mostly what scikit-learn predicts, where votes decide:
            the class that wins most duels.

        Raises:
            UsageError: for an image of a size that the machine does not take.
        """
        return self._probabilities(self.duels(images, progress))

    def _probabilities(self, margins: np.ndarray) -> np.ndarray:
        classes = len(self.class_names)
        if self.couples:
            answers = coupling.probabilities(margins / self.temperature, classes)
        else:
            answers = softmax(rbf.one_vs_rest(margins, classes) / self.temperature, axis=1)
        return answers.astype(np.float32)

    def with_(self, **attributes: Any) -> SVM:
        """The same machine with other attributes, such as `temperature`."""
        return dataclasses.replace(self, **attributes)

    @property
    def parameters(self) -> int:
        """How many values of support vectors, coefficients and intercepts it holds."""
        machine = self.machine
        return machine.vectors.size + machine.coefficients.size + machine.intercepts.size

    def save(self, path: Path) -> None:
        """Writes a `.skops` file, whole or not at all: arrays, numbers and text, no code."""
        from skops import io  # Takes a second: it lists all that scikit-learn has.

        # `asdict` would copy the arrays.
        state = vars(self) | {"machine": vars(self.machine)}
        write_atomic(path, io.dumps(state))

    @classmethod
    def load(cls, path: Path) -> SVM:
        """Reads what `save` wrote; its decisions are the same bit for bit.

        Raises:
            UsageError: if there is none, it names a type that could run code, is damaged, holds
                more than a file of its size can, or is none of ours.
        """
        with told(Path(path), "is damaged, or no SVM that dfk saved"):
            return cls._of(skops_files.load(Path(path)))

    @classmethod
    def _of(cls, state: Any) -> SVM:
        """The machine of what a file holds, which may be anything.

        Raises:
            Refused: if it is none.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        machine = state.get("machine") if isinstance(state, dict) else None
        if not isinstance(machine, dict) or not state.keys() <= known:
            raise Refused("it holds no machine")
        try:
            svm = cls(**state | {"machine": rbf.Machine(**machine)})
        except (AttributeError, TypeError, ValueError) as error:
            raise Refused(reason(error)) from error
        names = facts.check_names(svm.class_names, len(svm.machine.support))
        facts.check_thresholds(svm.thresholds, len(names))
        facts.check_temperature(svm.temperature)
        facts.check_trained_on(svm.trained_on, len(names))
        if type(svm.couples) is not bool:
            raise Refused("how it makes probabilities is neither of two ways")
        _check_machine(svm.machine)
        _check_width(svm)
        return svm


def _check_machine(machine: rbf.Machine) -> None:
    arrays = vars(machine).values()
    if not all(np.isfinite(array).all() for array in arrays) or not (machine.scale > 0).all():
        raise Refused("it holds numbers that are not finite, or divides by none above 0")
    if machine.support.dtype.kind not in "iu" or not (machine.support > 0).all():
        raise Refused("a class of it has no support vectors")


def _check_width(svm: SVM) -> None:
    """What a machine takes must be what images of its size, or their features, are."""
    if svm.kind == "svm":
        facts.check_sizes([svm.image_size])
    elif svm.image_size is not None:
        raise Refused(f"an {svm.kind} takes images of any size")
    width = math.prod(svm.image_size) * 3 if svm.image_size else forensic.FEATURES
    if len(svm.machine.mean) != width:
        raise Refused(f"its machine takes {len(svm.machine.mean)} numbers of an image of {width}")


def _rows(
    images: Sequence[np.ndarray], image_size: tuple[int, int] | None, progress: Progress
) -> np.ndarray:
    """What a machine sees: pixels uint8 [N, D], or features float32 where any size will do."""
    if image_size is None:
        return forensic.features(images, partial(progress, desc="features", unit=" batches"))
    for h, w in shapes_of(images):
        if (h, w) != image_size:
            height, width = image_size
            raise UsageError(
                f"an svm compares pixels: trained on {width} x {height}, it cannot take an "
                f"image of {w} x {h}; svm_forensic takes any size"
            )
    return np.reshape(images, (len(images), -1))
