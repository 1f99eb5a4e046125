"""What a run is made with: versions, hardware, the commit of the code, the first weights."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import dfk
from dfk.system import hardware

_PACKAGES = ("tensorflow", "jax", "keras", "keras-cv", "scikit-learn", "numpy", "pillow")


def environment(data: dict[str, Any], weights: Path | None = None) -> dict[str, Any]:
    """Versions, hardware and code that a run is made with, beside what `data` says of images.

    Args:
        data: what is said of them.
        weights: the file that a network starts with.
    """
    import keras

    return {
        "dfk": dfk.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "backend": keras.backend.backend(),
        "platform": platform.platform(),
        "cpu": hardware.cpu(),
        "cores": hardware.cores(),
        "gpus": hardware.gpus(),
        "git_commit": _git_commit(),
        "data": data,
        **({"weights": {"file": str(weights), "sha256": _sha256(weights)}} if weights else {}),
    }


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str | None:
    for name in (package, f"{package}-cpu"):  # As TensorFlow may be installed
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def _git_commit() -> str | None:
    """The commit of the code, `+` where the working tree differs; None outside its checkout."""
    if not _git("ls-files", "--error-unmatch", Path(__file__).name):
        return None  # Installed somewhere inside another project's checkout
    return _git("describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
