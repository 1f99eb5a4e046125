"""The input pipeline with the study's augmentation and mixing, beside a PyTorch DataLoader."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from dfk.benchmarks import pictures
from dfk.benchmarks.contest import Contestant, Measured, contest
from dfk.benchmarks.rows import Row, ratio, rounded

_IMAGES, _SIDE, _BATCH, _WORKERS = 4096, 100, 64, 2
_AUGMENT = ("flip", "rotate=10", "jitter=0.1", "blur=2")
_DEGRADE = ("degrade=0.8",)
_ALPHA = 0.2


def rows(full: bool) -> list[Row]:
    """Images per second through the pipeline, all workers warm, and how that compares."""
    with tempfile.TemporaryDirectory(prefix="dfk-benchmark-") as folder:
        pictures.write(Path(folder), pictures.images(_IMAGES, _SIDE))
        plain = "input, flip rotate jitter blur, CutMix MixUp"
        return [
            *_rows(full, folder, plain, _AUGMENT, "Augmented", {False: 3.0, True: None}),
            *_rows(full, folder, f"input, {_DEGRADE[0]}", _DEGRADE, "Degraded", {True: 1.0}),
        ]


def _rows(
    full: bool,
    folder: str,
    what: str,
    steps: Sequence[str],
    twin: str,
    required: Mapping[bool, float | None],
) -> list[Row]:
    """Images per second, and the ratio to the rival with images decoded (True) or not."""
    ours = Contestant("tf.data, an epoch in batches", our_epoch, {"steps": steps})
    names = {False: "decoding each time", True: "images in memory"}
    rivals = [
        Contestant(
            f"PyTorch DataLoader with {_WORKERS} workers, {names[decoded]}",
            torch_epoch,
            {"folder": folder, "decoded": decoded, "twin": twin},
            ["torch"],
        )
        for decoded in required
    ]
    measured = contest(ours, rivals, rounds=5 if full else 3)
    return [
        Row(f"{what}: images/s", rounded(_IMAGES / measured.median)),
        *(
            ratio(f"{what}: x {result.name}", [result], at_least)
            for result, at_least in zip(measured.results, required.values(), strict=True)
        ),
    ]


def our_epoch(*, steps: Sequence[str] = _AUGMENT) -> Measured:
    """An epoch of dfk's pipeline, whose images are in memory after the first."""
    from dfk.data import augment
    from dfk.data.mixing import make_mixer
    from dfk.data.pipeline import make_dataset

    dataset = make_dataset(
        split=pictures.split(pictures.images(_IMAGES, _SIDE)),
        classes=pictures.CLASSES,
        batch_size=_BATCH,
        training=True,
        augmentations=augment.parse(steps),
        mixer=make_mixer(_ALPHA, _ALPHA, 0.5),
        class_weight=[1.0, 1.0, 1.0, 1.0, 2.7],
    )

    return lambda: sum(1 for _ in dataset)


def torch_epoch(*, folder: str, decoded: bool, twin: str) -> Measured:
    """An epoch of a DataLoader whose workers do the same with Pillow."""
    import torch

    from dfk.benchmarks import torch_input

    loader = torch.utils.data.DataLoader(
        getattr(torch_input, twin)(sorted(Path(folder).iterdir()), decoded),
        batch_size=_BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=_WORKERS,
        persistent_workers=True,
        collate_fn=torch_input.Mixed(_ALPHA, pictures.CLASSES),
    )

    return lambda: sum(1 for _ in loader)
