"""The models that come with the package, by name: `dfk.load("unibuc")`."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "weights"  # Its README.md is their model card.


def names() -> list[str]:
    """The names of the models that are shipped."""
    return sorted(path.stem for path in FOLDER.glob("*.keras"))


def locate(model: str | os.PathLike) -> Path:
    """The path that a user's MODEL means: itself where that exists, else a shipped model's file."""
    path = Path(model)
    if not path.exists() and os.fspath(model) in names():
        return FOLDER / f"{model}.keras"
    return path
