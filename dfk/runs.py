"""The folder of a run: what it is, what made it, and whether it may start, go on or is finished."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has no such lock; nothing keeps two processes apart there.
    fcntl = None

import dfk
from dfk import hardware
from dfk.config import Config
from dfk.errors import UsageError
from dfk.files import write_atomic, write_json

FLAGS, ENVIRONMENT, METRICS = "config.flags", "environment.json", "metrics.json"
MODEL, SVM_MODEL = "model.keras", "model.skops"
HISTORY, PREDICTIONS = "history.csv", "predictions.csv"
SUBMISSION, REPORT, CHECKPOINT = "submission.csv", "report.html", "checkpoint.npz"

_PACKAGES = ("tensorflow", "jax", "keras", "keras-cv", "scikit-learn", "numpy", "pillow")


def finished(run_dir: Path) -> dict[str, Any] | None:
    """The metrics of a finished run, else None. They are the last file that a run writes."""
    path = run_dir / METRICS
    return json.loads(path.read_text()) if path.is_file() else None


def check(config: Config) -> None:
    """Says whether the run's folder lets this run start or go on; reads only.

    Raises:
        UsageError: if the folder holds a run and neither --resume nor --overwrite is
            given, was started with other flags, or is no run at all.
    """
    run_dir = config.run_dir
    if not run_dir.exists():
        return
    if not (run_dir / FLAGS).is_file():
        # A run killed at its very start leaves nothing but a hidden temporary file.
        if run_dir.is_dir() and all(p.name.startswith(".") for p in run_dir.iterdir()):
            return
        raise UsageError(f"{run_dir} is there and is no run; choose another --experiment")
    if config.overwrite:
        return
    if not config.resume:
        raise UsageError(
            f"{run_dir} is there already: --resume continues it, --overwrite starts it anew, "
            "--experiment=NAME or --output_dir=DIR keeps both"
        )
    difference = _difference((run_dir / FLAGS).read_text(), config.to_flags())
    if difference:
        raise UsageError(
            f"{run_dir} was started with other flags:",
            *difference.splitlines(),
            "Use the same flags to resume it, or another --experiment.",
        )


@contextlib.contextmanager
def prepared(config: Config, environment: dict[str, Any]) -> Iterator[None]:
    """Makes the run's folder and writes what it is, or confirms that it is the same.

    Raises:
        UsageError: if the data has changed since the run was started, or another
            process is at work on it.
    """
    run_dir = config.run_dir
    if config.overwrite and run_dir.exists():
        with locked(run_dir):
            # Renamed first: killed in between, no half-deleted run is left under its name.
            doomed = run_dir.with_name(f".{run_dir.name}.deleted")
            shutil.rmtree(doomed, ignore_errors=True)
            run_dir.rename(doomed)
            shutil.rmtree(doomed)
    run_dir.mkdir(parents=True, exist_ok=True)
    with locked(run_dir):
        write_atomic(run_dir / FLAGS, config.to_flags())
        _check_environment(config, environment)
        try:
            yield
        except UsageError:
            # Nothing has been trained yet: the flags can be mended and given again.
            if {path.name for path in run_dir.iterdir()} <= {FLAGS, ENVIRONMENT}:
                shutil.rmtree(run_dir)
            raise


def _check_environment(config: Config, environment: dict[str, Any]) -> None:
    path = config.run_dir / ENVIRONMENT
    if not path.is_file():
        write_json(path, environment)
        return
    before = json.loads(path.read_text())["data"]["fingerprint"]
    if before != environment["data"]["fingerprint"]:
        raise UsageError(
            f"the images in {config.data_dir} have changed since {config.run_dir} was started; "
            "--overwrite starts it anew"
        )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other processes off a folder or file; the system lifts it when the process ends.

    Raises:
        UsageError: if another process holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another process is at work on {path}") from error
        yield
    finally:
        os.close(descriptor)


def environment(data: dict[str, Any]) -> dict[str, Any]:
    """Versions, hardware and code that a run is made with, beside what `data` says of images."""
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
    }


def _difference(before: str, now: str) -> str:
    """The flags that differ, old and new; a moved output folder is no difference.

    Nor is a flag that dfk did not have yet when the run was started, if it has its default now.
    """
    old, new = ({**_values(Config().to_flags()), **_values(x)} for x in (before, now))
    return "\n".join(
        f"  {flag}={old.get(flag, '(absent)')} then, {new.get(flag, '(absent)')} now"
        for flag in sorted(old.keys() | new.keys())
        if flag != "--output_dir" and old.get(flag) != new.get(flag)
    )


def _values(flags: str) -> dict[str, str]:
    """Flag -> value; members within the output folder without it."""
    values = dict(line.split("=", 1) for line in flags.splitlines() if "=" in line)
    folder = os.path.join(values.get("--output_dir", ""), "")
    members = values.get("--members", "").split(",")
    return values | {"--members": ",".join(member.removeprefix(folder) for member in members)}


def _version(package: str) -> str | None:
    for name in (package, f"{package}-cpu"):  # As TensorFlow may be installed
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def _git_commit() -> str | None:
    """The commit of the code, `+` where the working tree differs; None outside its checkout."""
    if not _git("ls-files", "--error-unmatch", "runs.py"):
        return None  # Installed somewhere inside another project's checkout
    return _git("describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
