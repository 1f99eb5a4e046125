"""Scores parts, one after the other: each is a job of Ray Data, with one model an actor."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import ray

from dfk import inference
from dfk.data.sources import Unreadable
from dfk.errors import DfkError
from dfk.inference.answers import answers_of
from dfk.inference.cells import Cells
from dfk.inference.on_ray import output_folder, progress
from dfk.inference.on_ray.cluster import Pool, pool
from dfk.inference.on_ray.inputs import parquet_files, parts_of
from dfk.inference.on_ray.output_folder import Outcome
from dfk.runs import locate
from dfk.runs.columns import CONFIDENCE, DOUBT, ERROR, LABEL, PATH

# Rows of a part: what a killed call scores once more, and as often actors load the model.
PART_ROWS = 100_000
# Of one task of Ray Data's, so that actors share a part.
_BLOCK_ROWS = 1_000


def score(
    model: str,
    inputs: Sequence[str],
    output: Path,
    *,
    form: str = "parquet",
    actors: int = 0,
    batch_size: int = inference.BATCH_SIZE,
    part_rows: int = PART_ROWS,
    **asked: Any,
) -> Outcome:
    """Scores images into a folder of parts, or goes on where an earlier call had got to.

    Args:
        model: what `inference.load` takes; every machine of the cluster must see it there.
        inputs: as `sources.find` takes them, and Parquet files with the columns `path` (string)
            and `bytes` (binary, an image file); not both kinds.
        output: the folder; rows are those of `dfk predict`.
        form: `parquet` or `csv`.
        actors: processes that hold a model; 0 for one per GPU, or per two CPUs without GPUs.
        batch_size: images a call of the model, if alike.
        part_rows: rows of a part.
        asked: what `answers_of` takes.

    Raises:
        UsageError: if the folder holds something else, or its record is damaged; if the inputs are
            of both kinds.
        DfkError: if there is no image, or a part came out with other rows than went in.
    """
    scorer = {
        "model": os.path.abspath(locate.locate(model)),
        "form": form,
        "batch_size": batch_size,
        **asked,
    }
    file = inference.find_model(model)
    settings = {**scorer, "digest": output_folder.digest(file)}
    settings["inputs"] = [os.path.abspath(x) for x in inputs]
    settings["columns"] = [PATH, LABEL, CONFIDENCE, ERROR, DOUBT]
    given = parquet_files(inputs)
    with output_folder.begun(output, settings):
        parts = {
            output / f"part-{number:05}": files
            for number, files in enumerate(
                parts_of(inputs, given, output / output_folder.LIST, part_rows)
            )
        }
        rows = {part: _rows(files) for part, files in parts.items()}
        before = sum(count for part, count in rows.items() if part.is_dir())
        with progress.shown(sum(rows.values()), before) as counter:
            for part, files in parts.items():
                if not part.is_dir():
                    _score_part(files, part, form, pool(actors), {**scorer, "counter": counter})
        return output_folder.outcome_of(output, form)


def _rows(files: Sequence[str]) -> int:
    return sum(pa.parquet.read_metadata(file).num_rows for file in files)


def _score_part(
    files: Sequence[str], part: Path, form: str, pool: Pool, scorer: Mapping[str, Any]
) -> None:
    """Scores the rows of Parquet files into the folder `part`, which appears whole."""
    ray.data.DataContext.get_current().enable_progress_bars = False  # dfk has its own.
    rows = _rows(files)
    aside = part.with_name(f".{part.name}")
    shutil.rmtree(aside, ignore_errors=True)
    blocks = max(1, rows // _BLOCK_ROWS)
    # A small file would be one block, and a block is for one actor.
    listed = ray.data.read_parquet(list(files)).repartition(target_num_rows_per_block=_BLOCK_ROWS)
    # Ray Data starts an actor that died anew, and gives its rows to another.
    scored = listed.map_batches(
        Scorer,
        fn_constructor_kwargs={**scorer, "threads": pool.threads},
        batch_size=4 * scorer["batch_size"],
        compute=ray.data.ActorPoolStrategy(size=min(pool.actors, blocks)),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
    )
    write = scored.write_parquet if form == "parquet" else scored.write_csv
    write(os.fspath(aside))
    written = output_folder.dataset(aside, form).count_rows()
    if written != rows:
        raise DfkError(f"{part}: {rows} images went in and {written} rows came out; try again")
    aside.rename(part)


class Scorer:
    """What an actor holds: a model, and how its answers become columns."""

    def __init__(
        self,
        *,
        model: str,
        form: str,
        threads: int,
        batch_size: int = inference.BATCH_SIZE,
        counter: Any = None,
        **asked: Any,
    ):
        import tensorflow as tf

        # As many as it was given, not all that the machine has.
        with contextlib.suppress(RuntimeError):  # TensorFlow is at work already, in a test.
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        classifier = inference.loaded(model)
        self._answers = answers_of(classifier, **asked)
        self._predict = functools.partial(
            classifier.predict, batch_size=batch_size, **self._answers.labelling
        )
        self._is_text = form == "csv"
        self._counter = counter

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows of a list or of images' bytes -> rows of answers, as `dfk predict` gives them."""
        predictions = self._predict(self._images(batch))
        if self._counter is not None:
            self._counter.add.remote(len(predictions))
        cells = zip(*map(self._answers.flat, predictions), strict=True)
        columns = [batch["path"], *map(self._column, self._answers.kinds, cells)]
        return dict(zip(self._answers.unlike_heads, columns, strict=True))

    @staticmethod
    def _images(batch: Mapping[str, np.ndarray]) -> list[str | bytes]:
        if "bytes" in batch:
            return [x or b"" for x in batch["bytes"]]
        rows = zip(batch["file"], batch["error"], strict=True)
        return [Unreadable(error) if error else os.fsdecode(file) for file, error in rows]

    def _column(self, kind: Cells, cells: Sequence[Any]) -> np.ndarray | pa.Array:
        """Numbers, none where there is no answer; in CSV as the local command writes them."""
        if kind.is_number and not self._is_text:
            return pa.array(cells, pa.float32())
        return np.array(["" if cell is None else str(cell) for cell in cells], object)
