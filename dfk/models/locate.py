"""Which file or folder a name or a path of a model means."""

from __future__ import annotations

import os
from pathlib import Path

from dfk import runs
from dfk.errors import UsageError

FOLDER = Path(__file__).parents[1] / "weights"  # Its README.md is their model card.


def names() -> list[str]:
    """The names of the models that are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.keras"))


def locate(model: str | os.PathLike) -> Path:
    """The path that a user's MODEL means: itself where that exists, else a shipped model's file."""
    path = Path(model)
    if not path.exists() and os.fspath(model) in names():
        return FOLDER / f"{model}.keras"
    return path


def find_model(path: Path) -> Path:
    """The `.keras` or `.skops` file, or the folder with a `saved_model.pb`, that `path` means.

    Raises:
        UsageError: if there is none.
    """
    if not path.exists():
        shipped_too = ", ".join(names())
        raise UsageError(f"there is no model at {path}; with dfk come {shipped_too}")
    if path.is_file():
        if path.suffix not in (".keras", ".skops"):
            raise UsageError(
                f"{path} is no model: give a run's folder, a .keras file, a SavedModel"
            )
        return path
    numbered = [
        folder / str(number) / "saved_model.pb"
        for folder in (path, path / runs.EXPORTS)
        for number in reversed(versions(folder))
    ]
    candidates = [path / runs.MODEL, path / runs.SVM_MODEL, path / "saved_model.pb", *numbered]
    for candidate in candidates:
        if candidate.exists():
            return candidate.parent if candidate.name == "saved_model.pb" else candidate
    unfinished = (path / runs.FLAGS).is_file()
    hint = "; the run is not finished, continue it with --resume" if unfinished else ""
    if os.fspath(path) in names():
        hint += f"; it hides the {path} that comes with dfk, which another working directory shows"
    raise UsageError(f"{path} holds no {runs.MODEL}, {runs.SVM_MODEL} or SavedModel{hint}")


def versions(folder: Path) -> list[int]:
    """The numbers of the versions in a folder, oldest first; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
