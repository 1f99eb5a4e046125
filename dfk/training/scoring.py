"""What a model that is being made answers to a split."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from dfk import models
from dfk.data.augment import Step
from dfk.data.catalog import Split
from dfk.data.limits import Limits
from dfk.data.pipeline import READY, make_dataset
from dfk.errors import UsageError
from dfk.system.progress import Bar
from dfk.training import jax_devices


def predict(
    model: keras.Model,
    split: Split,
    *,
    batch_size: int,
    progress: str = "scoring",
    augmentations: Sequence[Step] = (),
    seed: int = 0,
) -> np.ndarray:
    """Runs a model over a split at the images' own sizes; returns what it answers, [N, C].

    Images of one size share batches, as far as memory goes, the last one as small as it is. The
    model itself resizes, as it does in serving. A bar named `progress` shows how far it is.
    `augmentations` are drawn for each image from `seed`.

    Raises:
        UsageError: for an image that needs more memory than is available.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, shape in enumerate(split.shapes):
        groups.setdefault(shape, []).append(i)
    classes = model.output_shape[-1]
    limits = Limits(memory=models.memory(model))
    batches = []
    for (height, width), indices in groups.items():
        if problem := limits.refusal(height, width):
            raise UsageError(f"{split.origins[indices[0]]}: {problem}")
        size = limits.at_once(height, width, batch_size, ready=READY + 1)
        batches += [indices[i : i + size] for i in range(0, len(indices), size)]
    answers = np.zeros((len(split), classes), np.float32)
    with Bar(total=len(split), desc=progress, unit=" images", delay=2, leave=False) as bar:
        count = keras.callbacks.LambdaCallback(
            on_predict_batch_end=lambda _, logs: bar.update(len(logs["outputs"]))
        )
        for alike in jax_devices.laid_out_alike(batches):
            dataset = make_dataset(
                split=split,
                classes=classes,
                batch_size=batch_size,
                batches=alike,
                augmentations=augmentations,
                seed=seed,
            )
            order = np.concatenate(alike)
            answers[order] = model.predict(dataset, verbose=0, callbacks=[count])
    return answers
