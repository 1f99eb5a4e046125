"""Which files and folders dfk wrote: it replaces and deletes no others of the same names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dfk.errors import UsageError

# How each begins that dfk writes beside what may be others'.
_BEGINS = {
    "results.md": rb"# Results\n\n(\| experiment |\nLeft out: )",
    "results.json": rb'\[(\]|\s*\{\s*"experiment": )',
    "README.md": rb"# .*: image in, \d+ classes out\n",
    "models.config": (
        rb'model_config_list \{\n  config \{\n    name: "(.*)"\n    base_path: "/models/\1"\n'
        rb'    model_platform: "tensorflow"\n  \}\n\}\n\Z'
    ),
}
_HEAD = 1 << 16  # Bytes that are looked at

# What an export writes beside its versions
BESIDE = ("README.md", "models.config")
# A version of an export: its files and folders.
_VERSION = {
    *("saved_model.pb", "variables", "assets", "assets.extra", "fingerprint.pb"),
    *("keras_metadata.pb", "batching_params.pbtxt"),
}
FACTS = Path("assets.extra", "dfk.json")


def is_ours(path: Path) -> bool:
    """Whether a file is what dfk writes under its name."""
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return re.match(_BEGINS[path.name], file.read(_HEAD)) is not None


def refuse_others(folder: Path, *names: str) -> None:
    """Makes sure that files can be written into a folder without replacing others' of these names.

    Raises:
        UsageError: if there is one that dfk did not write, or the folder is a file.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; choose another --output_dir")
    for path in (folder / name for name in names):
        if os.path.lexists(path) and not is_ours(path):
            raise UsageError(
                f"{path} is there and dfk did not write it; choose another --output_dir"
            )


def is_version(folder: Path) -> bool:
    """Whether a folder is a version that dfk exported."""
    real = folder.name.isdecimal() and not folder.is_symlink()
    return real and (folder / "saved_model.pb").is_file() and (folder / FACTS).is_file()


def strangers_in_version(folder: Path) -> Iterator[Path]:
    """What lies in a version and dfk did not write."""
    return (path for path in folder.iterdir() if path.name not in _VERSION)
