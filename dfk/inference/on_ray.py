"""Scores any number of images on Ray: parts of the list go through Ray Data, one model an actor.

The list is written down first, in parts. Each part is a job of Ray Data: read, scored by a pool of
actors, written aside, counted, and then renamed into the output folder. So a part is there
whole or not at all, and a call that was killed loses no more than the part that it was at.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging as standard_logging
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import ray
from absl import logging

from dfk import inference
from dfk.data import sources
from dfk.data.sources import Source, Unreadable
from dfk.errors import DfkError, UsageError
from dfk.models import locate
from dfk.runs.columns import CONFIDENCE, ERROR, LABEL, PATH, SET, unlike
from dfk.system.files import SCRATCH, locked, write_json

PARQUET = ".parquet"
# Rows of a part: what a killed call scores once more, and as often actors load the model.
PART_ROWS = 100_000
# Of one task of Ray Data's, so that actors share a part.
_BLOCK_ROWS = 1_000

# What a call that continues must repeat, and the list of images, in the output folder. Readers of
# data sets pass over names that begin with a dot.
_SETTINGS, _LIST = ".dfk.json", ".images"
_LISTED = pa.schema([("path", pa.string()), ("file", pa.binary()), ("error", pa.string())])


class Outcome(NamedTuple):
    """How many rows the output folder holds, how many are errors, and the first few of those."""

    rows: int
    bad: int
    examples: list[str]


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """The cluster that `RAY_ADDRESS` names, or that this process is in; else one of its own."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    _check_address(address)
    own = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    for name in ("ray", "ray.data"):
        standard_logging.getLogger(name).setLevel(standard_logging.ERROR)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **own)
    except ConnectionError as error:
        raise UsageError(f"RAY_ADDRESS={address}: there is no Ray cluster ({error})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """Refuses an address that nobody listens at: Ray would wait there for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise UsageError(f"RAY_ADDRESS={address}: nobody answers there ({error})") from error


def score(
    model: str,
    inputs: Sequence[str],
    output: Path,
    *,
    form: str = "parquet",
    actors: int = 0,
    batch_size: int = inference.BATCH_SIZE,
    coverage: float | None = None,
    part_rows: int = PART_ROWS,
    **labelling: Any,
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
        coverage: adds a column `set`, as `Classifier.prediction_set` takes it.
        part_rows: rows of a part.
        labelling: `min_confidence` and `unknown`, as of `Classifier.predict`.

    Raises:
        UsageError: if the folder holds something else, or its record is damaged; if the inputs are
            of both kinds.
        DfkError: if there is no image, or a part came out with other rows than went in.
    """
    scorer = {
        "model": os.path.abspath(model),
        "form": form,
        "batch_size": batch_size,
        "coverage": coverage,
        **labelling,
    }
    settings = {**scorer, "digest": _digest(inference.find_model(locate.locate(model)))}
    settings["inputs"] = [os.path.abspath(x) for x in inputs]
    given = _parquet_files(inputs)
    with _begun(output, settings):
        parts = _parts(inputs, given, output, part_rows)
        for number, files in enumerate(parts):
            part = output / f"part-{number:05}"
            if not part.is_dir():
                logging.info("part %d of %d", number + 1, len(parts))
                _score_part(files, part, form, _pool(actors), scorer)
        return _outcome(output, form)


@contextlib.contextmanager
def _begun(output: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """The output folder, locked; after a first call that got to no part it is as it was."""
    is_new = not output.exists()
    if not is_new and not output.is_dir():
        raise UsageError(f"{output} is a file; choose a folder as --output")
    output.mkdir(parents=True, exist_ok=True)
    with locked(output):
        is_first = not (output / _SETTINGS).is_file()
        _check_settings(output, settings)
        try:
            yield
        finally:
            if is_first and not any("part-" in entry.name for entry in output.iterdir()):
                (output / _SETTINGS).unlink()
                for left in output.glob(f"{_LIST}*"):
                    shutil.rmtree(left)
                if is_new:
                    output.rmdir()


def _check_settings(output: Path, settings: Mapping[str, Any]) -> None:
    path = output / _SETTINGS
    if not path.is_file():
        # A call killed at its very start leaves no more than its scratch folder.
        if any(not entry.name.startswith(SCRATCH) for entry in output.iterdir()):
            raise UsageError(f"{output} is there and holds something else; choose another --output")
        write_json(path, settings)
    try:
        before = json.loads(path.read_text())
        if not isinstance(before, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}); choose another --output") from error
    other = [name for name in settings if settings[name] != before.get(name)]
    if other:
        raise UsageError(
            f"{output} was begun with another {', '.join(other)}; choose another --output, or "
            "repeat that call to continue it"
        )


def _digest(model: Path) -> str:
    """SHA-256 of a model's file, or of all files of a SavedModel."""
    files = sorted(p for p in model.rglob("*") if p.is_file()) if model.is_dir() else [model]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


# What there is to do


def _parquet_files(inputs: Sequence[str]) -> dict[str, int]:
    """The Parquet files that are given, and the rows of each; none where images are."""
    given = [os.path.abspath(x) for x in inputs if x.lower().endswith(PARQUET)]
    if given and len(given) < len(inputs):
        raise UsageError("Parquet files and other images in one call; make two of it")
    return {file: _check_parquet(file) for file in given}


def _parts(
    inputs: Sequence[str], given: Mapping[str, int], output: Path, part_rows: int
) -> list[list[str]]:
    """The Parquet files of each part: those given, or the list of what is given."""
    if not given:
        return [[os.fspath(file)] for file in _listed(inputs, output / _LIST, part_rows)]
    parts, rows = [], part_rows
    for file, count in given.items():
        if rows >= part_rows:
            parts.append([])
            rows = 0
        rows += count
        parts[-1].append(file)
    return parts


def _check_parquet(file: str) -> int:
    """The rows of a Parquet file that has the columns; reads no more than its end."""
    try:
        found = pa.parquet.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{file} cannot be read as Parquet: {error}") from error
    with found:
        names = found.schema_arrow.names
        if not {"path", "bytes"} <= set(names):
            there = ", ".join(names)
            raise UsageError(f"{file} needs the columns path and bytes; it has {there}")
        return found.metadata.num_rows


def _listed(inputs: Sequence[str], folder: Path, part_rows: int) -> list[Path]:
    """Writes down what there is to score, once: a call that goes on finds the same list."""
    if not folder.is_dir():
        aside = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for number, some in enumerate(_chunks(sources.find(inputs), part_rows)):
            table = pa.Table.from_pylist(list(map(_entry, some)), _LISTED)
            pa.parquet.write_table(table, aside / f"{number:05}{PARQUET}")
        aside.rename(folder)
    return sorted(folder.iterdir())


def _entry(source: Source) -> dict[str, Any]:
    if isinstance(source.image, bytes):
        raise UsageError("an image from stdin cannot go to --engine=ray; a list of paths can")
    if isinstance(source.image, Unreadable):
        return {"path": source.name, "error": str(source.image)}
    return {"path": source.name, "file": os.fsencode(os.path.abspath(source.image))}


def _chunks(items: Iterable, length: int) -> Iterator[list]:
    items = iter(items)
    while some := list(itertools.islice(items, length)):
        yield some


# Doing it


class _Pool(NamedTuple):
    """How many actors there are, and what each has: threads, and shares of CPUs and GPUs."""

    actors: int
    threads: int
    cpus: float
    gpus: float


def _pool(actors: int) -> _Pool:
    there = ray.cluster_resources()
    cpus, gpus = int(there.get("CPU", 1)), int(there.get("GPU", 0))
    actors = actors or gpus or max(1, cpus // 2)
    return _Pool(
        actors,
        threads=max(1, cpus // actors),
        # As Ray counts. What reads and writes needs some, too: without, all would wait for ever.
        cpus=min(1.0, max(0.5, cpus - 1) / actors),
        gpus=min(1.0, gpus / actors),
    )


def _score_part(
    files: Sequence[str], part: Path, form: str, pool: _Pool, scorer: Mapping[str, Any]
) -> None:
    """Scores the rows of Parquet files into the folder `part`, which appears whole."""
    ray.data.DataContext.get_current().enable_progress_bars = os.isatty(2)
    rows = sum(pa.parquet.read_metadata(file).num_rows for file in files)
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
    written = _dataset(aside, form).count_rows()
    if written != rows:
        raise DfkError(f"{part}: {rows} images went in and {written} rows came out; try again")
    aside.rename(part)


class Scorer:
    """What an actor holds: a model, and how its answers become columns."""

    def __init__(
        self, *, model: str, form: str, coverage: float | None, threads: int, **options: Any
    ):
        import tensorflow as tf

        # As many as it was given, not all that the machine has.
        with contextlib.suppress(RuntimeError):  # TensorFlow is at work already, in a test.
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        self._predict = inference.make_predict_fn(model, **options)
        self._classifier = inference.loaded(model)  # The same one, not a second
        self._coverage, self._text = coverage, form == "csv"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Rows of a list or of images' bytes -> rows of answers, as `dfk predict` gives them."""
        names = unlike(self._classifier.class_names, [PATH, LABEL, CONFIDENCE, SET, ERROR])
        found = self._predict(self._images(batch))
        bad = np.array([bool(x.error) for x in found])
        numbers = np.stack([x.probabilities for x in found])
        columns = {
            PATH: batch["path"],
            LABEL: np.array([x.label for x in found], object),
            CONFIDENCE: self._cells(numbers.max(axis=1), bad),
            **{name: self._cells(numbers[:, i], bad) for i, name in enumerate(names)},
        }
        if self._coverage is not None:
            columns[SET] = np.array([self._set(x) for x in found], object)
        return {**columns, ERROR: np.array([x.error for x in found], object)}

    @staticmethod
    def _images(batch: Mapping[str, np.ndarray]) -> list[str | bytes]:
        if "bytes" in batch:
            return [x or b"" for x in batch["bytes"]]
        rows = zip(batch["file"], batch["error"], strict=True)
        return [Unreadable(error) if error else os.fsdecode(file) for file, error in rows]

    def _cells(self, numbers: np.ndarray, bad: np.ndarray) -> np.ndarray:
        """Numbers, none where there is no answer; in CSV as the local command writes them."""
        if self._text:
            return np.array(
                ["" if b else str(x) for x, b in zip(numbers, bad, strict=True)], object
            )
        return pa.array(numbers, mask=bad)

    def _set(self, found: inference.Prediction) -> str:
        if found.error:
            return ""
        return "|".join(self._classifier.prediction_set(found.probabilities, self._coverage))


# What came of it


def _dataset(folders: Path | list[str], form: str) -> pa.dataset.Dataset:
    folders = folders if isinstance(folders, list) else [os.fspath(folders)]
    files = [os.fspath(p) for x in folders for p in sorted(Path(x).iterdir())]
    if form == "parquet":
        return pa.dataset.dataset(files, format="parquet")
    # A column whose first rows are empty has no type that Arrow could guess.
    text = pa.csv.ConvertOptions(
        column_types={"path": pa.string(), "error": pa.string()}, strings_can_be_null=False
    )
    lines = pa.csv.ParseOptions(newlines_in_values=True)
    kind = pa.dataset.CsvFileFormat(parse_options=lines, convert_options=text)
    return pa.dataset.dataset(files, format=kind)


def _outcome(output: Path, form: str) -> Outcome:
    parts = sorted(os.fspath(p) for p in output.glob("part-*"))
    if not parts:
        return Outcome(0, 0, [])
    found = _dataset(parts, form)
    wrong = found.filter(pa.dataset.field("error") != "")
    few = wrong.head(10, columns=["path", "error"]).to_pylist()
    examples = [f"{row['path']}: {row['error']}" for row in few]
    return Outcome(found.count_rows(), wrong.count_rows(), examples)
