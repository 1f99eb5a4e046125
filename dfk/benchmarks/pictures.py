"""Images to measure on: noise over gradients, which compresses and decodes like a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dfk.data.catalog import Split

CLASSES = 5


def images(count: int, side: int) -> list[np.ndarray]:
    """`count` images uint8 [side, side, 3], each another."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 1, side)[:, None, None] + np.linspace(0, 1, side)[:, None]
    made = []
    for _ in range(count):
        picture = 60 * slope * rng.uniform(0, 2, 3) + rng.normal(0, 8, (side, side, 3))
        made.append(np.clip(picture, 0, 255).astype(np.uint8))
    return made


def split(pictures: list[np.ndarray]) -> Split:
    """Decoded images as the pipeline takes them, with labels in turn."""
    names = [str(i) for i in range(len(pictures))]
    labels = np.arange(len(pictures), dtype=np.int32) % CLASSES
    paths = [Path(f"{name}.png") for name in names]
    return Split(ids=names, paths=paths, labels=labels, origins=names, images=pictures)


def write(folder: Path, pictures: list[np.ndarray], count: int | None = None) -> list[Path]:
    """Writes `count` PNG files (by default one an image) that repeat the images; returns paths."""
    folder.mkdir(parents=True, exist_ok=True)
    first = []
    for index, picture in enumerate(pictures):
        path = folder / f"{index:07}.png"
        Image.fromarray(picture).save(path)
        first.append(path)
    repeated = []
    for index in range(len(pictures), count or 0):
        path = folder / f"{index:07}.png"
        path.hardlink_to(first[index % len(first)])
        repeated.append(path)
    return first + repeated
