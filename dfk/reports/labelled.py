"""Scores a loaded model on any labelled set, also one with fewer classes or other names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dfk.data import catalog, decode, layouts
from dfk.data.catalog import UNLABELLED, Catalog, Split
from dfk.data.embedded import data_folder
from dfk.data.problems import DataError, Problem
from dfk.errors import UsageError
from dfk.inference import Classifier, Prediction
from dfk.text import nfc


class Scored(NamedTuple):
    """What a model answers to a split.

    Attributes:
        split: the N images that could be read.
        probabilities: float32 [N, C].
        doubts: N texts, as `Prediction` has them.
        problems: the images that could not be read.
    """

    split: Split
    probabilities: np.ndarray
    doubts: list[str]
    problems: list[Problem]


class Decoded(Sequence):
    """Images that are decoded when they are looked at, uint8 [H, W, 3]."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return decode.decode(self._paths[index].read_bytes()).numpy()


def read(
    data_dir: str, split: str | None, class_names: Sequence[str], class_map: Mapping[str, str]
) -> tuple[str, Split, list[Problem]]:
    """Reads a labelled split whose labels are, or are mapped to, classes of a model.

    Args:
        data_dir: a folder in either layout, or `demo`.
        split: which one; None for `validation`, or where there is none, another with labels.
        class_names: the model's.
        class_map: from labels of the data to classes of the model; a label that is missing
            means the class of its own name.

    Returns:
        The split's name; its labelled images, labels being indices into `class_names`; and
        those that are missing.

    Raises:
        DataError: if there is no such split, or it cannot be used.
        UsageError: if a label is no class of the model, or `class_map` names what is not there.
    """
    data = catalog.read(data_folder(data_dir))
    name = layouts.split_named(split) if split else _default_split(data)
    if name not in data.splits:
        raise DataError(
            [Problem(data_dir, f"has no split {name}; it has {', '.join(data.splits)}")]
        )
    problems = [problem for problem in data.problems if problem.split == name]
    if not all(problem.skippable for problem in problems):
        raise DataError(problems)
    chosen = data.splits[name]
    chosen = chosen.take(np.flatnonzero(chosen.labels != UNLABELLED).tolist())
    if not len(chosen):
        raise DataError([Problem(data_dir, f"its split {name} has no labels"), *problems])
    here = [data.class_names[label] for label in np.unique(chosen.labels)]
    index = _indices(here, class_names, class_map)
    labels = [index[data.class_names[label]] for label in chosen.labels]
    return name, dataclasses.replace(chosen, labels=np.array(labels, np.int32)), problems


def score(
    classifier: Classifier,
    split: Split,
    *,
    progress: Callable[[Iterable[Prediction]], Iterable[Prediction]] = iter,
) -> Scored:
    """Scores a split.

    Args:
        progress: wraps the stream of predictions, as `tqdm` does.

    Raises:
        DataError: if none could be read.
    """
    kept, answers, problems = [], [], []
    for i, prediction in enumerate(progress(classifier.predict_stream(split.paths))):
        if prediction.error:
            problems.append(Problem(str(split.paths[i]), prediction.error, skippable=True))
        else:
            kept.append(i)
            answers.append(prediction)
    if not kept:
        raise DataError(problems)
    readable = split.take(kept)
    readable = dataclasses.replace(readable, images=Decoded(readable.paths))
    probabilities = np.stack([answer.probabilities for answer in answers])
    return Scored(readable, probabilities, [answer.doubt for answer in answers], problems)


def _default_split(data: Catalog) -> str:
    labelled = [name for name, split in data.splits.items() if (split.labels >= 0).any()]
    return "validation" if "validation" in labelled or not labelled else labelled[-1]


def _indices(
    labels: Sequence[str], class_names: Sequence[str], class_map: Mapping[str, str]
) -> dict[str, int]:
    """From labels of the data to indices into `class_names`."""
    names, class_names = ", ".join(class_names), list(map(nfc, class_names))
    absent = class_map.keys() - set(labels)
    if absent:
        raise UsageError(f"--class_map names {', '.join(sorted(absent))}; no image has that label")
    meant = {label: class_map.get(label, label) for label in labels}
    unknown = [label for label, name in meant.items() if name not in class_names]
    if unknown:
        raise UsageError(
            f"the model has no class for the labels {', '.join(unknown)}; it knows {names}. "
            f"Say what they are: --class_map={unknown[0]}:{class_names[0]},..."
        )
    return {label: class_names.index(name) for label, name in meant.items()}
