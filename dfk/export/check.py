"""Whether what was exported answers as the trained model does."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from dfk import config, runs
from dfk.data import catalog, decode, embedded
from dfk.errors import DfkError
from dfk.evaluation import conformal
from dfk.export.signatures import BYTES, IMAGES

_SIMULATED, _OWN = 8, 24
_ROUNDING = 1e-4  # Of a logit
_BEYOND = 9  # Pixels: with them, an image has more than one crop.


def examples(run_dir: Path | None) -> list[bytes]:
    """Image files to compare on: images of the demo, and of the run's data where that is there."""
    labels = [embedded.label_of("validation", i) for i in range(_SIMULATED)]
    images = [embedded.simulate("validation", i, label) for i, label in enumerate(labels)]
    files = [tf.io.encode_png(image).numpy() for image in images]
    own = _own_images(run_dir) if run_dir else []
    return files + [file for file in own if not decode.reason(file)]


def _own_images(run_dir: Path) -> list[bytes]:
    try:
        data_dir = config.parse([f"--flagfile={run_dir / runs.FLAGS}"])[0].data.data_dir
        split = catalog.read(data_dir).splits["validation"]
        step = max(1, len(split) // _OWN)
        return [path.read_bytes() for path in split.paths[::step][:_OWN]]
    except (DfkError, KeyError, OSError):
        return []  # The data has moved, or was the demo


def largest_difference(model: keras.Model, folder: Path, files: Sequence[bytes]) -> float:
    """The largest difference of a probability between a model and a SavedModel, by both signatures.

    Args:
        model: answers images [N, H, W, 3] with probabilities [N, C].
        folder: of the SavedModel.
        files: N images of any sizes.

    Returns:
        A probability; NaN if an answer is, or an image is `known` against the model's threshold.
    """
    signatures = tf.saved_model.load(str(folder)).signatures
    with _exact():
        images = [decode.decode(file)[None] for file in files]
        expected = [model(tf.cast(image, tf.float32), training=False) for image in images]
        by_pixels = [signatures[IMAGES](images=image) for image in images]
        by_bytes = signatures[BYTES](image_bytes=tf.constant(files))
    answers, known = (
        np.stack([np.concatenate([answer[output] for answer in by_pixels]), by_bytes[output]])
        for output in ("probabilities", "known")
    )
    if not _agree(known, answers, model.layers[-1].thresholds.get(conformal.UNKNOWN, 0.0)):
        return math.nan
    return float(np.abs(answers - np.concatenate(expected)).max())


def largest_difference_of_pixels(
    model: keras.Model,
    answer: Callable[[np.ndarray], np.ndarray],
    files: Sequence[bytes],
    crops: Sequence[int] = (),
) -> float:
    """The largest difference of a probability between a model and what another runtime answers.

    Args:
        model: answers images [N, H, W, 3] with probabilities [N, C].
        answer: takes uint8 [N, H, W, 3].
        files: N images of any sizes; they are asked for alone, and the last two of a size, and
            one that is larger than crops, together.
        crops: the sides of the crops that the model's networks see of large images.

    Returns:
        A probability; NaN if an answer is.
    """
    images = [decode.decode(file).numpy() for file in files]
    last = images[-1]
    side = max((*crops, *last.shape[:2])) + _BEYOND
    large = np.pad(last, [(0, side - last.shape[0]), (0, side - last.shape[1]), (0, 0)], "wrap")
    batches = [*[image[None] for image in images], np.stack([last, last[::-1]]), large[None]]
    with _exact():
        differences = [
            np.abs(answer(x) - model(tf.cast(x, tf.float32), training=False)) for x in batches
        ]
    return float(max(np.max(x) if np.isfinite(x).all() else math.nan for x in differences))


def _agree(known: np.ndarray, probabilities: np.ndarray, least_logit: float) -> bool:
    """Whether those are known whose centred logit is at least that, but for rounding."""
    above = conformal.centred_logit(probabilities) - least_logit
    return bool(((above >= 0) == known)[np.abs(above) > _ROUNDING].all())


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    """Keeps a GPU from rounding float32 to TensorFloat-32, which hides what is compared."""
    was_on = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(was_on)
