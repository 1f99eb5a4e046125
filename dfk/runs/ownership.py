"""Which files and folders dfk wrote: it replaces and deletes no others of the same names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dfk.errors import UsageError
from dfk.runs.columns import PREDICTIONS

# What `dfk evaluate`, `results`, `audit`, `explain` and an export write, by name or pattern
EVALUATION = ("metrics.json", "predictions.csv", "report.html")
RESULTS = ("results.md", "results.json", "index.html")
AUDIT = ("audit.json", "audit.html")
PICTURES = ("[0-9][0-9][0-9][0-9]*-*.png",)
BESIDE = ("README.md", "models.config", "config.pbtxt")  # The versions
# Stands in each picture.
PICTURE_MARK = "dfk explain"

# What stands near the start of each that dfk writes beside what may be others'.
_MARKS = {
    "results.md": rb"\A# Results\n\n(\| experiment |\nLeft out: )",
    "results.json": rb'\A\[(\]|\s*\{\s*"experiment": )',
    "index.html": rb"dfk runs</title>",
    "metrics.json": rb'\A\{\s*"experiment": ',
    "predictions.csv": b"\\A" + ",".join(PREDICTIONS).encode(),
    "report.html": rb"dfk report</title>",
    "audit.json": rb'\A\{\s*"data_dir": ',
    "audit.html": rb"dfk audit</title>",
    **dict.fromkeys(PICTURES, PICTURE_MARK.encode()),
    "README.md": rb"\A# .*: image in, \d+ classes out\n",
    "config.pbtxt": rb"\A# NVIDIA Triton: written by dfk export\n",
    "models.config": (
        rb'\Amodel_config_list \{\n  config \{\n    name: "(.*)"\n    base_path: "/models/\1"\n'
        rb'    model_platform: "tensorflow"\n  \}\n\}\n\Z'
    ),
}
_HEAD = 1 << 16  # Bytes that are looked at
# A version of an export: its files and folders.
_VERSION = {
    *("saved_model.pb", "variables", "assets", "assets.extra", "fingerprint.pb"),
    *("keras_metadata.pb", "batching_params.pbtxt", "model.py"),
    *("model.onnx", "model.xml", "model.bin", "model.tflite", "client.py", "dfk.json"),
}
# Which files tell that a folder is a version: the model and what dfk says of it.
_MODELS = {
    "saved_model.pb": "assets.extra/dfk.json",
    **dict.fromkeys(("model.onnx", "model.xml", "model.tflite"), "dfk.json"),
}


def is_ours(path: Path, name: str = "") -> bool:
    """Whether a file is what dfk writes under its name, or under names like `name`."""
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return re.search(_MARKS[name or path.name], file.read(_HEAD)) is not None


def refuse_others(folder: Path, *names: str) -> None:
    """Makes sure that files can be written into a folder without replacing others'.

    Args:
        folder: need not be there.
        names: of the files, or patterns, as this module has them.

    Raises:
        UsageError: if there is one that dfk did not write, or the folder is a file.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; choose another --output_dir")
    for name in names:
        if others := [path for path in sorted(folder.glob(name)) if not is_ours(path, name)]:
            raise UsageError(
                f"{others[0]} is there and dfk did not write it; choose another --output_dir"
            )


def is_version(folder: Path) -> bool:
    """Whether a folder is a version that dfk exported."""
    real = folder.name.isdecimal() and not folder.is_symlink()
    return real and any(
        (folder / model).is_file() and (folder / facts).is_file()
        for model, facts in _MODELS.items()
    )


def strangers_in_version(folder: Path) -> Iterator[Path]:
    """What lies in a version and dfk did not write."""
    return (path for path in folder.iterdir() if path.name not in _VERSION)
