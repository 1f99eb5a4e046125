"""A whole training on the GPU: holdout, statistics, averages, checkpoints and all."""

from __future__ import annotations

import math
import statistics
import tempfile
from typing import Any

_MEASURED = 8  # Epochs; the first compiles


def measure(plan: tuple[int, int, int, int, int]) -> dict[str, Any]:
    """Trains residual_wide for some epochs as `dfk train` does.

    Args:
        plan: images, side, crop, batch and epochs, as `Plan.whole`.

    Returns:
        Seconds of the first epoch, which compiles, and of another; of all, at that rate.
    """
    import keras

    from dfk import models
    from dfk.benchmarks import pictures
    from dfk.benchmarks.gpu.ours import clock_of, noise
    from dfk.benchmarks.gpu.plan import CLASSES, Case, config_of
    from dfk.data.catalog import Catalog
    from dfk.system import hardware
    from dfk.training import phases

    images, side, crop, batch, epochs = plan
    splits = {
        "train": pictures.split(list(noise(images, side))),
        "holdout": pictures.split(list(noise(max(1, images // 9), side))),
    }
    data = Catalog(tuple(map(str, range(CLASSES))), splits)
    clock = clock_of(math.inf)
    with tempfile.TemporaryDirectory(prefix="dfk-benchmark-") as folder:
        some = f"--epochs={min(epochs, _MEASURED)}", f"--output_dir={folder}", "--experiment=whole"
        precision = f"--precision={hardware.resolve_precision('auto')}"
        case = Case("residual_wide", crop, batch)
        settings = config_of(case, *some, precision, "--early_stopping_patience=1000")
        settings.run_dir.mkdir()
        keras.utils.set_random_seed(0)
        model = models.build(settings, data.class_names, precision=settings.fit.precision)
        phases.fit_phases(settings, data, model, [clock])
    first, *others = clock.seconds
    epoch = statistics.median(others or [first])
    return {"first": first, "epoch": epoch, "all": first + (epochs - 1) * epoch}
