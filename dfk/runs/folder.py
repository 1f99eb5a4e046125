"""The folder of a run: what it is, what made it, and whether it may start, go on or is finished."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

import dfk
from dfk.config import Config
from dfk.config.values import split, write
from dfk.errors import DfkError, UsageError
from dfk.runs import ownership, records
from dfk.system import files
from dfk.system.files import DamagedError, locked, write_atomic, write_json

# Written first: it says that the folder is a run of dfk's.
MARK = ".dfk-run"
FLAGS, ENVIRONMENT, METRICS = "config.flags", "environment.json", "metrics.json"
MODEL, SVM_MODEL = "model.keras", "model.skops"
HISTORY, PREDICTIONS = "history.csv", "predictions.csv"
SUBMISSION, REPORT, CHECKPOINT = "submission.csv", "report.html", "checkpoint.npz"
TENSORBOARD, EXPORTS = "tensorboard", "saved_model"
# What a model is exported as, and the folders of it; the first is `EXPORTS`.
FORMATS = (EXPORTS, "onnx", "openvino", "litert")

# All that dfk leaves in the folder of a run; whatever else lies there is somebody's.
_FILES = {
    *(MARK, FLAGS, ENVIRONMENT, METRICS, MODEL, SVM_MODEL, HISTORY, PREDICTIONS),
    *(SUBMISSION, REPORT, CHECKPOINT),
}
_FOLDERS = {TENSORBOARD, *FORMATS}
# What versions before the mark left when they were killed.
_OLD_TEMPORARY = re.compile(
    rf"\.{re.escape(MODEL)}|\.({'|'.join(map(re.escape, sorted(_FILES)))})\.[a-z0-9_]{{8}}"
)

# Flags that name one other run; --members names several.
_FROM_RUNS = ("--base", "--teacher", "--weights", "--vgg16_weights")


def is_run(folder: Path) -> bool:
    """Whether dfk made a folder for a run: by its mark, or by what only dfk wrote before it."""
    with contextlib.suppress(DamagedError, OSError):
        if "dfk" in files.read_json(folder / MARK):
            return True
    try:
        known = records.read(folder / ENVIRONMENT, records.ENVIRONMENT)
        flags = _values((folder / FLAGS).read_text(encoding="utf-8"))
    except (DamagedError, OSError, UnicodeDecodeError):
        return False
    written = {"--data_dir", "--experiment", "--model"} <= flags.keys()
    return written and {"dfk", "python", "packages", "data"} <= known.keys()


def finished(run_dir: Path) -> dict[str, Any] | None:
    """The metrics of a finished run, else None. They are the last file that a run writes.

    Raises:
        DamagedError: if they are not what a run writes.
    """
    path = run_dir / METRICS
    return records.read(path, records.METRICS) if os.path.lexists(path) else None


def working_folder(config: Config) -> Path:
    """Where the work on a run is done: beside the run that it is to replace, if there is one."""
    aside = _aside(config.run_dir)
    goes_on = config.run.resume and is_run(aside) and not _other_flags(aside, config)
    begins = config.run.overwrite and is_run(aside)
    return aside if goes_on or begins else config.run_dir


def _aside(run_dir: Path) -> Path:
    """Where a run is made that replaces another, which stands until then."""
    return run_dir.with_name(f".{run_dir.name}.new")


def check(config: Config) -> None:
    """Says whether the run's folder lets this run start or go on; reads only.

    Raises:
        UsageError: if the folder holds a run and neither --resume nor --overwrite is
            given, was started with other flags, is damaged, or is no run at all.
    """
    run_dir = config.run_dir
    if run_dir.name.startswith("."):
        raise UsageError(
            f"--experiment={run_dir.name}: hidden folders are of runs that are being replaced"
        )
    _check_output_dir(run_dir.parent)
    for path in (run_dir, _aside(run_dir)):
        if os.path.lexists(path) and not is_run(path) and not _is_unused(path):
            raise UsageError(f"{path} is there and is no run; choose another --experiment")
    work = working_folder(config)
    if not is_run(run_dir) and work == run_dir:
        return
    if config.run.overwrite:
        _check_replaceable(run_dir)
    elif config.run.resume:
        _check_resumable(work, config)
    else:
        raise UsageError(
            f"{run_dir} is there already: --resume continues it, --overwrite starts it anew, "
            "--experiment=NAME or --output_dir=DIR keeps both"
        )


def _check_output_dir(folder: Path) -> None:
    there = next(x for x in (folder, *folder.absolute().parents) if os.path.lexists(x))
    if not there.is_dir():
        raise UsageError(f"{there} is no folder; choose another --output_dir")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{there} cannot be written; choose another --output_dir")
    ownership.refuse_others(folder, *ownership.RESULTS)


def _is_unused(path: Path) -> bool:
    """Whether a folder holds nothing, but for what a start that was killed may have left."""
    return path.is_dir() and not path.is_symlink() and all(map(_is_leftover, path.iterdir()))


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(files.SCRATCH) or bool(_OLD_TEMPORARY.fullmatch(path.name))


def _check_replaceable(run_dir: Path) -> None:
    """Refuses what stands under the names of a run and cannot be dfk's."""
    if run_dir.is_symlink():
        raise UsageError(f"{run_dir} is a link; --overwrite replaces a folder: name that one")
    for path in run_dir.iterdir():
        known = path.name in _FILES | _FOLDERS
        if known and (path.is_symlink() or path.is_dir() != (path.name in _FOLDERS)):
            raise UsageError(f"{path} is not what dfk writes there; move it away")


def _check_resumable(work: Path, config: Config) -> None:
    if other := _other_flags(work, config):
        raise UsageError(
            f"{work} was started with other flags:",
            *other.splitlines(),
            "Use the same flags to resume it, or another --experiment.",
        )
    from dfk.runs import checkpoint_file  # It takes NumPy, which no command's --help needs.

    try:
        if os.path.lexists(work / ENVIRONMENT):
            records.read(work / ENVIRONMENT, records.ENVIRONMENT)
        if not finished(work):
            records.read_history(work / HISTORY)
            checkpoint_file.check(work / CHECKPOINT)
    except DamagedError as error:
        raise UsageError(f"{error}; --overwrite starts the run anew") from error


@contextlib.contextmanager
def prepared(config: Config, environment: dict[str, Any]) -> Iterator[Path]:
    """Makes the folder to work in and writes what the run is, or confirms that it is the same.

    With --overwrite the old run stands until the new one does.

    Raises:
        UsageError: if the data has changed since the run was started, or another
            process is at work on it.
    """
    run_dir = config.run_dir
    with contextlib.ExitStack() as stack:
        if run_dir.exists():
            stack.enter_context(locked(run_dir))
        if config.run.overwrite:
            _begin_aside(run_dir)
        work = working_folder(config)
        there = work.exists()
        work.mkdir(parents=True, exist_ok=True)
        if work != run_dir or not there:
            stack.enter_context(locked(work))
        begun = there and not _is_unused(work) and {p.name for p in work.iterdir()} != {MARK}
        tidy(work)
        _check_environment(work, config, environment)
        _write_what_it_is(work, config, environment)
        try:
            yield work
        except UsageError:
            # Nothing has been trained yet: the flags can be mended and given again.
            if not begun and {path.name for path in work.iterdir()} <= {MARK, FLAGS, ENVIRONMENT}:
                _empty(work, remove=not there or work != run_dir)
            raise
        if work != run_dir:
            _take_place(work, run_dir)


def _begin_aside(run_dir: Path) -> None:
    """Deletes what an earlier --overwrite has begun, and makes a folder if a run is there."""
    aside = _aside(run_dir)
    if aside.exists():
        with locked(aside), files.scratch(run_dir.parent) as doomed:
            os.rename(aside, doomed / aside.name)
    if is_run(run_dir):
        aside.mkdir()
        _mark(aside)


def _mark(folder: Path) -> None:
    write_json(folder / MARK, {"dfk": dfk.__version__})


def _empty(folder: Path, *, remove: bool) -> None:
    for path in folder.iterdir():
        path.unlink()
    if remove:
        folder.rmdir()


def tidy(folder: Path) -> None:
    """Deletes what processes that were killed at this run have left; call it under its lock."""
    files.sweep(folder)
    files.sweep(folder.parent)
    for path in folder.iterdir():
        if _OLD_TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()
    if (folder / METRICS).is_file():
        (folder / CHECKPOINT).unlink(missing_ok=True)


def _check_environment(work: Path, config: Config, environment: dict[str, Any]) -> None:
    if not (work / ENVIRONMENT).is_file():
        return
    before = records.read(work / ENVIRONMENT, records.ENVIRONMENT)
    weights = [known.get("weights", {}).get("sha256") for known in (before, environment)]
    if None not in weights and weights[0] != weights[1]:
        raise UsageError(
            f"the weights in {environment['weights']['file']} have changed since {work} was "
            "started; --overwrite starts it anew"
        )
    for name, folder in (("fingerprint", config.data.data_dir), ("outliers", config.fit.outliers)):
        found = [known["data"].get(name) for known in (before, environment)]
        if None not in found and found[0] != found[1]:
            raise UsageError(
                f"the images in {folder} have changed since {work} was started; "
                "--overwrite starts it anew"
            )


def _write_what_it_is(work: Path, config: Config, environment: dict[str, Any]) -> None:
    if not (work / MARK).is_file():
        _mark(work)
    flags = work / FLAGS
    if not flags.is_file() or flags.read_text() != config.to_flags():  # output_dir may differ.
        write_atomic(flags, config.to_flags())
    if not (work / ENVIRONMENT).is_file():
        write_json(work / ENVIRONMENT, environment)


def complete(run_dir: Path) -> None:
    """Gives a run that is finished its name, if its process was killed before it could.

    Raises:
        UsageError: if another process is at work on it.
    """
    aside = _aside(run_dir)
    if not _is_finished(aside):
        return
    with contextlib.ExitStack() as stack:
        for path in filter(Path.exists, (aside, run_dir)):
            stack.enter_context(locked(path))
        if _is_finished(aside):  # Unless the other process has done so meanwhile
            tidy(aside)
            _take_place(aside, run_dir)


def _is_finished(aside: Path) -> bool:
    try:
        return is_run(aside) and finished(aside) is not None
    except DamagedError:
        return False


def _take_place(aside: Path, run_dir: Path) -> None:
    """Replaces a run by the finished one beside it, and keeps what dfk did not write.

    Killed at any moment, it leaves one of them under the name, or what `complete` completes.
    """
    if os.path.lexists(run_dir) and not is_run(run_dir) and not _is_unused(run_dir):
        raise DfkError(f"{run_dir} is no run any more; the finished one is {aside}")
    if not run_dir.exists():
        os.rename(aside, run_dir)
        return
    _keep(run_dir, aside)
    with files.scratch(run_dir.parent) as doomed:
        os.rename(run_dir, doomed / run_dir.name)
        try:
            os.rename(aside, run_dir)
        except OSError:
            os.rename(doomed / run_dir.name, run_dir)
            raise


def _keep(run_dir: Path, aside: Path) -> None:
    """Moves what dfk did not write from the old folder of a run into the new one."""
    kept = sorted(path.relative_to(run_dir) for path in _foreign(run_dir))
    for path in kept:
        to = aside / path
        to.parent.mkdir(parents=True, exist_ok=True)
        while os.path.lexists(to):
            to = to.with_name(f"{to.name}.old")
        os.rename(run_dir / path, to)
    if kept:
        names = ", ".join(map(str, kept))
        logging.warning("Kept in %s what dfk did not write: %s", run_dir, names)


def _foreign(run_dir: Path) -> Iterator[Path]:
    """The files and folders of a run's folder that dfk did not write."""
    for path in run_dir.iterdir():
        if path.name not in _FILES | _FOLDERS and not _is_leftover(path):
            yield path
    for parent, folders, names in os.walk(run_dir / TENSORBOARD):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        events = [name for name in names if not name.startswith("events.out.tfevents.")]
        yield from (Path(parent, name) for name in links + events)
    folders = (run_dir / name for name in FORMATS)
    for path in (path for folder in folders if folder.is_dir() for path in folder.iterdir()):
        if ownership.is_version(path):
            yield from ownership.strangers_in_version(path)
        elif not _is_leftover(path) and not (
            path.name in ownership.BESIDE and ownership.is_ours(path)
        ):
            yield path


def _other_flags(work: Path, config: Config) -> str:
    """The flags that a run was started with and that differ now; see `_difference`."""
    path = work / FLAGS
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else config.to_flags()
        return _difference(before, config)
    except (ValueError, IsADirectoryError) as error:
        raise UsageError(f"{path} is damaged; --overwrite starts the run anew") from error


def _difference(before: str, config: Config) -> str:
    """The flags that differ, old and new; a moved output folder is no difference.

    Nor is a flag that dfk did not have yet when the run was started, if it has its default now;
    nor one without effect, which earlier versions wrote down, too.
    """
    recorded = config.recorded()
    defaults = {f"--{name}": write(knob.default) for name, knob in recorded.items()}
    old, new = ({**defaults, **_values(flags)} for flags in (before, config.to_flags()))
    return "\n".join(
        f"  {flag}={old[flag]} then, {new[flag]} now"
        for flag in sorted(defaults)
        if flag != "--output_dir" and old[flag] != new[flag]
    )


def _values(flags: str) -> dict[str, str]:
    """Flag -> value; of other runs within the output folder only that they are there."""
    values = dict(line.split("=", 1) for line in flags.splitlines() if "=" in line)
    folder = os.path.join(values.get("--output_dir", ""), "")

    def within(run: str) -> str:
        inside = folder and run.startswith(folder)
        return f"<output_dir>/{run.removeprefix(folder)}" if inside else run

    members = tuple(map(within, split(values.get("--members", ""))))
    others = {flag: within(values[flag]) for flag in _FROM_RUNS if flag in values}
    return values | {"--members": write(members)} | others
