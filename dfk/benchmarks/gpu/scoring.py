"""What `dfk predict` does, on the GPU: files to answers, and what of that is decoding."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

_SIDES = {"png": 100, "jpeg": 1024}
_TRAINED = 100  # Larger images are answered by crops of this side.


def measure(folder: Path, counts: tuple[int, int]) -> dict[str, Any]:
    """Seconds an image, by what is done: `png`, `png_decoded`, `png_features` and so with `jpeg`.

    Args:
        counts: of PNGs and JPEGs.
    """
    import dfk
    from dfk.data.pixels import pixels_of
    from dfk.system.threads import in_threads

    classifier = dfk.load(_model(folder / "model.keras"))
    figures = {}
    for (kind, side), count in zip(_SIDES.items(), counts, strict=True):
        paths = _write(folder / kind, kind, side, count)
        for name, run in (
            ("", classifier.predict),
            ("_decoded", lambda paths: sum(1 for _ in in_threads(pixels_of, paths))),
            ("_features", classifier.features),
        ):
            figures[kind + name] = _seconds(run, paths) / count
    return figures


def _seconds(run: Callable[[list[Path]], object], paths: list[Path]) -> float:
    """Of a run after one that compiles for all sizes of batch."""
    run(paths)
    start = time.perf_counter()
    run(paths)
    return time.perf_counter() - start


def _model(path: Path) -> Path:
    """Saves a residual_wide with fresh weights, as its run would be."""
    from dfk import models
    from dfk.benchmarks.gpu.plan import CLASSES, Case, config_of

    names = tuple(map(str, range(CLASSES)))
    settings = config_of(Case("residual_wide", 80, 64))
    model = models.build(settings, names, precision="float32")
    models.with_test_crop(model, _TRAINED).save(path)
    return path


def _write(folder: Path, kind: str, side: int, count: int) -> list[Path]:
    """Writes files that repeat a few images."""
    from dfk.benchmarks import pictures

    folder.mkdir()
    images = pictures.images(min(count, 16), side)
    paths = []
    for number in range(count):
        path = folder / f"{number:05}.{kind}"
        if number < len(images):
            Image.fromarray(images[number]).save(path, quality=90)
        else:
            path.hardlink_to(paths[number % len(images)])
        paths.append(path)
    return paths
