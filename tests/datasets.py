"""Small data sets for tests, in both layouts; each class is a grating of its own direction."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COUNTS = {"train": 40, "validation": 13, "test": 7}
CLASSES = ("0", "1", "2", "3", "4")


def write_kaggle(
    folder, *, counts=COUNTS, classes=CLASSES, size=16, seed=0, test_labels=False
) -> Path:
    """Writes `<split>.csv` and `<split>/<image_id>.png`; `counts` are images of a split."""
    folder = Path(folder)
    for split, rows in _splits(counts, classes, size, seed):
        labelled = split != "test" or test_labels
        for image_id, _, image in rows:
            save(image, folder / split / f"{image_id}.png")
        table = [(image_id, label) if labelled else (image_id,) for image_id, label, _ in rows]
        write_csv(folder / f"{split}.csv", table, ("image_id", "label")[: 1 + labelled])
    return folder


def write_folders(
    folder, *, counts=COUNTS, classes=CLASSES, size=16, seed=0, test_labels=False
) -> Path:
    """Writes `<split>/<class>/<image_id>.png`, or `test/<image_id>.png` without labels."""
    folder = Path(folder)
    for split, rows in _splits(counts, classes, size, seed):
        labelled = split != "test" or test_labels
        for image_id, label, image in rows:
            save(image, folder / split / (label if labelled else "") / f"{image_id}.png")
    return folder


def write_csv(path, rows, header=("image_id", "label")) -> Path:
    """Writes one CSV."""
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def save(image, path) -> Path:
    """Saves uint8 [H, W, 3] in the format of the suffix, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def texture(label, classes, size, rng) -> np.ndarray:
    """A noisy grating, uint8 [size, size, 3]: only its direction tells the class."""
    angle = np.pi * label / classes
    y, x = np.mgrid[:size, :size]
    phase = 2 * np.pi * ((x * np.cos(angle) + y * np.sin(angle)) / 4 + rng.random())
    grey = rng.uniform(110, 145) + 70 * np.sin(phase)
    return np.clip(grey[..., None] + rng.normal(0, 15, (size, size, 3)), 0, 255).astype(np.uint8)


def _splits(counts, classes, size, seed):
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        labels = [i % len(classes) for i in range(count)]
        yield (
            split,
            [
                (f"{split}{i:04}", classes[label], texture(label, len(classes), size, rng))
                for i, label in enumerate(labels)
            ],
        )


def names_by_id(data, split="train"):
    """Class names of a split's images by id."""
    found = data.splits[split]
    names = [data.class_names[i] if i >= 0 else "" for i in found.labels]
    return dict(zip(found.ids, names, strict=True))
