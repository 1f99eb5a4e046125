"""Which file or folder a name or a path of a model means.

A path, which has a slash, means what lies there. A bare name means what lies under it in a
folder: the working directory for the MODEL of a command, --output_dir for what a run is made
from. Where nothing lies there, it means the model of that name that comes with dfk.
"""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

from dfk import runs
from dfk.errors import UsageError

FOLDER = Path(__file__).parents[1] / "weights"  # Its README.md is their model card.


def names() -> list[str]:
    """The names of the models that are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.keras"))


def is_shipped(model: str, folder: str = "", upcoming: Container[Path] = ()) -> bool:
    """Whether a user's MODEL means one that comes with dfk.

    Args:
        model: a path or a bare name.
        folder: where a bare name is looked for first.
        upcoming: paths that are as good as there.
    """
    path = os.path.join(folder, model)
    return model in names() and not os.path.exists(path) and Path(path) not in upcoming


def named(model: str, folder: str = "", upcoming: Container[Path] = ()) -> str:
    """MODEL as a path, or as the bare name of a shipped model; arguments as of `is_shipped`."""
    if "/" in model or is_shipped(model, folder, upcoming):
        return model
    return os.path.join(folder, model)


def named_path(model: str, folder: str = "") -> Path:
    """The path that MODEL means once it is `named`.

    What is bare beside shipped names is a file of weights, in the working directory.
    """
    return locate(model, folder) if is_shipped(model, folder) else Path(model)


def locate(model: str | os.PathLike, folder: str = "") -> Path:
    """The path that MODEL means, whether anything is there or not."""
    name = os.fspath(model)
    return FOLDER / f"{name}.keras" if is_shipped(name, folder) else Path(named(name, folder))


def find_model(model: str | os.PathLike, folder: str = "") -> Path:
    """The `.keras` or `.skops` file, or the folder with a `saved_model.pb`, that MODEL means.

    Args:
        model: of a run's folder, a file, a SavedModel's folder, a folder of numbered versions
            of one, of which the highest is taken, or a shipped model's name.
        folder: where a bare name is looked for first.

    Raises:
        UsageError: if there is none.
    """
    path = locate(model, folder)
    if not path.exists():
        raise UsageError(
            f"there is no model at {path}; with dfk come {', '.join(names())}; "
            "a run of another name is trained first"
        )
    if path.is_file():
        if path.suffix not in (".keras", ".skops"):
            raise UsageError(
                f"{path} is no model: give a run's folder, a .keras file, a SavedModel"
            )
        return path
    numbered = [
        place / str(number) / "saved_model.pb"
        for place in (path, path / runs.EXPORTS)
        for number in reversed(versions(place))
    ]
    candidates = [path / runs.MODEL, path / runs.SVM_MODEL, path / "saved_model.pb", *numbered]
    for candidate in candidates:
        if candidate.exists():
            return candidate.parent if candidate.name == "saved_model.pb" else candidate
    unfinished = (path / runs.FLAGS).is_file()
    hint = "; the run is not finished, continue it with --resume" if unfinished else ""
    if os.fspath(model) in names():
        hint += f"; it hides the {model} that comes with dfk"
    raise UsageError(f"{path} holds no {runs.MODEL}, {runs.SVM_MODEL} or SavedModel{hint}")


def find_keras(model: str | os.PathLike, why: str, folder: str = "") -> Path:
    """The `.keras` file that MODEL means, as `find_model` finds it.

    Args:
        why: what is told of an SVM or a SavedModel: what only Keras models can do.

    Raises:
        UsageError: if there is none.
    """
    file = find_model(model, folder)
    if file.suffix != ".keras":
        kind = "an SVM" if file.suffix == ".skops" else "a SavedModel"
        raise UsageError(f"{file} is {kind}; {why}")
    return file


def versions(folder: Path) -> list[int]:
    """The numbers of the versions in a folder, oldest first; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
