"""The output folder: whose it is, what its call was asked for, and the parts that it holds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset

from dfk.errors import UsageError
from dfk.inference.doubts import Count
from dfk.runs.columns import CLAIMS, DOUBT, ERROR, PATH, SET
from dfk.system.files import SCRATCH, locked, write_json

# What a call that continues must repeat, and the list of images, in the output folder. Readers of
# data sets pass over names that begin with a dot.
_SETTINGS, LIST = ".dfk.json", ".images"


class Outcome(NamedTuple):
    """The rows that the output folder holds, counted, and the first few errors."""

    count: Count
    examples: list[str]


@contextlib.contextmanager
def begun(output: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """The output folder, locked; after a first call that got to no part it is as it was."""
    is_new = not output.exists()
    if not is_new and not output.is_dir():
        raise UsageError(f"{output} is a file; choose a folder as --output")
    output.mkdir(parents=True, exist_ok=True)
    with locked(output):
        is_first = not (output / _SETTINGS).is_file()
        check_settings(output, settings)
        try:
            yield
        finally:
            if is_first and not any("part-" in entry.name for entry in output.iterdir()):
                (output / _SETTINGS).unlink()
                for left in output.glob(f"{LIST}*"):
                    shutil.rmtree(left)
                if is_new:
                    output.rmdir()


def check_settings(output: Path, settings: Mapping[str, Any]) -> None:
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
    names = dict.fromkeys([*settings, *before])
    other = [name for name in names if settings.get(name) != before.get(name)]
    if other:
        raise UsageError(
            f"{output} was begun with another {', '.join(other)}; choose another --output, or "
            "repeat that call to continue it"
        )


def digest(model: Path) -> str:
    """SHA-256 of a model's file, or of all files of a SavedModel."""
    files = sorted(p for p in model.rglob("*") if p.is_file()) if model.is_dir() else [model]
    sha256 = hashlib.sha256()
    for file in files:
        sha256.update(file.read_bytes())
    return sha256.hexdigest()


def dataset(folders: Path | list[str], form: str) -> pa.dataset.Dataset:
    folders = folders if isinstance(folders, list) else [os.fspath(folders)]
    files = [os.fspath(p) for x in folders for p in sorted(Path(x).iterdir())]
    if form == "parquet":
        return pa.dataset.dataset(files, format="parquet")
    # A column whose first rows are empty has no type that Arrow could guess.
    texts = dict.fromkeys([PATH, ERROR, DOUBT, SET, CLAIMS], pa.string())
    text = pa.csv.ConvertOptions(column_types=texts, strings_can_be_null=False)
    lines = pa.csv.ParseOptions(newlines_in_values=True)
    kind = pa.dataset.CsvFileFormat(parse_options=lines, convert_options=text)
    return pa.dataset.dataset(files, format=kind)


def outcome_of(output: Path, form: str) -> Outcome:
    parts = sorted(os.fspath(p) for p in output.glob("part-*"))
    if not parts:
        return Outcome(Count(), [])
    rows = dataset(parts, form)
    is_bad = pa.dataset.field(ERROR) != ""
    count, bad = Count(), rows.filter(is_bad)
    count.unread = bad.count_rows()
    for batch in rows.to_batches(columns=[DOUBT], filter=~is_bad):
        for one in batch[DOUBT].value_counts():
            count.add(one["values"].as_py(), one["counts"].as_py())
    few = bad.head(10, columns=[PATH, ERROR]).to_pylist()
    return Outcome(count, [f"{row[PATH]}: {row[ERROR]}" for row in few])
