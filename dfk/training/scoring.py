"""What a model that is being made answers to a split."""

from __future__ import annotations

import keras
import numpy as np

from dfk import models
from dfk.data.catalog import Split
from dfk.data.limits import Limits
from dfk.data.pipeline import make_dataset
from dfk.system.progress import Bar
from dfk.training import jax_devices


def predict(model: keras.Model, split: Split, *, batch_size: int, progress: str = "") -> np.ndarray:
    """Runs a model over a split at the images' own sizes; returns what it answers, [N, C].

    Images of one size share batches, as far as memory goes, the last one as small as it is. The
    model itself resizes, as it does in serving. A bar named `progress` shows how far it is.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, shape in enumerate(split.shapes):
        groups.setdefault(shape, []).append(i)
    classes = model.output_shape[-1]
    limits = Limits(memory=models.memory(model))
    answers = np.zeros((len(split), classes), np.float32)
    with Bar(total=len(split), desc=progress, unit=" images", disable=not progress) as bar:
        count = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda _, logs: bar.update(len(logs["outputs"]))
        )
        for (height, width), indices in groups.items():
            size = limits.at_once(height, width, batch_size)
            answers[indices] = np.concatenate(
                [
                    model.predict(
                        make_dataset(split=part, classes=classes, batch_size=size),
                        verbose=0,
                        callbacks=[count],
                    )
                    for part in jax_devices.divided(split.take(indices))
                ]
            )
    return answers
