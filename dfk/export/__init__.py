"""model -> SavedModel, ONNX, OpenVINO or LiteRT, checked against the trained model before."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import keras
from absl import logging

from dfk import inference, models, runs
from dfk.errors import DfkError, UsageError
from dfk.export import check, portable, saved_model
from dfk.export.dense import dense_part
from dfk.inference import versions
from dfk.runs import EXPORTS as FOLDER
from dfk.runs import locate, ownership
from dfk.system import files
from dfk.system.messages import handlers_kept
from dfk.text import printable, valid

_KERAS_ONLY = "only Keras models are exported: name a run, or its .keras file"


class Exported(NamedTuple):
    """What was exported.

    Attributes:
        folder: of the version, `<output_dir>/<number>`.
        difference: the largest between a probability of it and of the trained model.
        images: how many images were compared.
        max_pixels: of the largest image that it answers.
        tolerance: what the difference could have been.
    """

    folder: Path
    difference: float
    images: int
    max_pixels: int
    tolerance: float


class DifferenceError(DfkError):
    """What would have been exported answers differently from the trained model."""


@handlers_kept()
def export(
    source: str | Path,
    output_dir: str | Path | None = None,
    *,
    form: str = "saved_model",
    precision: str = "float32",
    fold: bool = True,
    keep_versions: int = 0,
    max_pixels: int = 0,
    class_names: Mapping[str, str] | None = None,
) -> Exported:
    """Writes the next version of a model: as a SavedModel that TF Serving loads, or another form.

    The version appears whole or not at all, with what a server or a client reads beside it.

    Args:
        source: the folder of a run, a `.keras` file of a dfk model, or a shipped model's name.
        output_dir: the folder of the versions; by default `saved_model`, or as the form is called,
            in the run's folder, or `<stem>_saved_model` beside the file; for a model of dfk's own,
            here.
        form: `saved_model`, `onnx`, `openvino` or `litert`. All but the first take pixels only.
        precision: `float32`, or, of a SavedModel, `mixed_bfloat16` for convolutions in bfloat16.
            The answers are float32 always.
        fold: whether BatchNormalization is folded into the convolutions.
        keep_versions: how many of the newest versions stay; 0 keeps all.
        max_pixels: of the largest image that it answers; 0 for what takes 4 GiB of memory.
        class_names: from names of its classes to those that it is to answer with.

    Raises:
        UsageError: if `source` is no model that can be exported, or has no such classes; if what
            the form needs is not installed; or if the folder holds files of others under the names
            of those beside the versions.
        DifferenceError: if it would answer differently, beyond what the form's tolerance is.
        DfkError, OSError: if the model has what the form has not, or the folder cannot be written.
    """
    _check(form, precision)
    file = locate.find_keras(source, _KERAS_ONLY)
    run_dir = file.parent if file.name == runs.MODEL else None
    output_dir = Path(output_dir or _default_folder(file, run_dir, form))
    if valid(str(output_dir)) != str(output_dir):
        raise UsageError(f"{output_dir} is not UTF-8: TensorFlow can write nothing there")
    ownership.refuse_others(output_dir, *ownership.BESIDE)
    # Of what may stand in a URL and on a command line
    name = re.sub(r"[^\w.-]", "_", (run_dir or file.with_suffix("")).resolve().name)
    model = _load(file)
    models.rename_classes(model, class_names or {})
    examples = check.examples(run_dir)
    made = dense_part(model, precision=precision, fold=fold)
    writer = _writer(form)(name, model, made, max_pixels)

    output_dir.mkdir(parents=True, exist_ok=True)
    # Hidden: a server that polls the folder takes only names that are numbers.
    with files.scratch(output_dir) as scratch:
        # Inside the scratch folder, which is private, it gets the permissions of the umask.
        draft = scratch / "draft"
        writer.write(draft)
        difference, tolerance = writer.difference(draft, examples), writer.tolerance[precision]
        _refuse_above(tolerance, difference, precision, fold)
        facts = {
            **writer.facts,
            "precision": precision,
            "folded": fold,
            "largest_difference": difference,
        }
        writer.finish(draft, facts, examples)
        folder = _publish(draft, output_dir)
    writer.write_beside(output_dir, facts)
    _prune(output_dir, keep_versions)
    return Exported(folder, difference, len(examples), facts["max_pixels"], tolerance)


def _check(form: str, precision: str) -> None:
    """Refuses what cannot be, before anything is loaded."""
    if form != "saved_model" and precision != "float32":
        raise UsageError(f"--precision={precision} goes with --format=saved_model")
    lacking = [x for x in portable.MODULES.get(form, ()) if importlib.util.find_spec(x) is None]
    if lacking:
        raise UsageError(
            f"--format={form} needs {', '.join(lacking)}, which is not installed: "
            "pip install 'dfk-keras[export]'"
        )


def _writer(form: str) -> Callable[..., saved_model.Writer | portable.Writer]:
    if form == FOLDER:
        return saved_model.Writer
    return functools.partial(portable.Writer, form)


def _default_folder(file: Path, run_dir: Path | None, form: str) -> Path:
    if run_dir:
        return run_dir / form
    # What comes with the package is not exported into it.
    beside = Path() if file.parent == locate.FOLDER else file.parent
    return beside / f"{file.stem}_{form}"


def summary(exported: Exported) -> str:
    """What a user is told of it: where it is, and how well it agrees with the trained model."""
    return (
        f"exported  {printable(str(exported.folder))}\n"
        f"largest difference from the trained model {exported.difference:.2g} on "
        f"{exported.images} images, of {exported.tolerance:g} allowed\n"
        f"largest image it answers: {round(exported.max_pixels / 1e6, 2):g} megapixels "
        "(--max_megapixels)\n"
        f"how to serve it  {printable(str(exported.folder.parent / 'README.md'))}"
    )


def _load(file: Path) -> keras.Model:
    if keras.backend.backend() != "tensorflow":
        raise UsageError("a SavedModel is made with TensorFlow: unset KERAS_BACKEND")
    return inference.load(file).model


def _refuse_above(tolerance: float, difference: float, precision: str, fold: bool) -> None:
    if difference <= tolerance:  # False for NaN, too
        return
    advice = "the model's weights may be broken"
    if precision != "float32":
        advice = "--precision=float32 exports it as it was trained"
    elif fold:
        advice = "--no_fold exports it without folding BatchNormalization"
    raise DifferenceError(
        f"nothing was exported: its probabilities differ from the trained model's by "
        f"{difference:.2g}, more than {tolerance:g}; {advice}"
    )


def _publish(draft: Path, output_dir: Path) -> Path:
    """Gives a finished draft the next number; another export may be taking it meanwhile."""
    while True:
        folder = output_dir / str(max(versions(output_dir), default=0) + 1)
        try:
            os.rename(draft, folder)
            return folder
        except OSError:
            if not folder.exists():
                raise


def _prune(output_dir: Path, keep: int) -> None:
    """Deletes all but the newest of the versions that dfk wrote, and nothing of others'."""
    numbered = [output_dir / str(number) for number in versions(output_dir)]
    mine = [
        x
        for x in numbered
        if ownership.is_version(x) and not any(ownership.strangers_in_version(x))
    ]
    if keep and len(mine) < len(numbered):
        others = ", ".join(x.name for x in numbered if x not in mine)
        logging.warning("Kept in %s what dfk did not write, or not alone: %s", output_dir, others)
    for version in mine[:-keep] if keep else []:
        # Renamed first: a server must not load a version of which half is deleted.
        with files.scratch(output_dir) as scratch:
            os.rename(version, scratch / version.name)
