"""Refuses models that may have learned from images that this run sets aside.

On what it has learned from, a member of an ensemble, a teacher or what training starts with is
better than it will ever be again: a holdout of such images chooses wrongly, and a validation split
of them that was carved out of train tells too much.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dfk import runs
from dfk.config import Config
from dfk.errors import UsageError
from dfk.runs import records
from dfk.system.files import DamagedError
from dfk.training import sources


def check(config: Config, upcoming: Mapping[Path, Config], fingerprint: str = "") -> None:
    """Compares how a run and those that it is made from divide the same images.

    Args:
        upcoming: the runs that will be there, by their folders.
        fingerprint: of the images, once they are read: they may have been moved.

    Raises:
        UsageError: if flags divide them otherwise.
        DamagedError: if the flags of a run that is there cannot be read.
    """
    for flag, source in sources.of(config):
        folder = source if source in upcoming or source.is_dir() else source.parent
        before = _flags(folder, upcoming)
        if not before or not _same_images(config, folder, before, fingerprint):
            continue
        if others := _otherwise(config, before):
            then, now = (" ".join(f"--{k}={pair[i]}" for k, pair in others.items()) for i in (0, 1))
            raise UsageError(
                f"--{flag}: {folder} was trained with {then}, this run has {now}: it may have "
                "learned from images that are set aside here, and be better on them than on new "
                "ones. Give both the same."
            )


def _flags(folder: Path, upcoming: Mapping[Path, Config]) -> dict[str, str]:
    """The flags of a run by their names; none where there is no run."""
    path = folder / runs.FLAGS
    try:
        if folder in upcoming:
            text = upcoming[folder].to_flags()
        else:
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
        lines = (line.removeprefix("--").split("=", 1) for line in text.splitlines())
        flags = dict(line for line in lines if len(line) == 2)
        int(flags.get("limit", "0"))
        return flags
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error


def _same_images(config: Config, folder: Path, before: Mapping[str, str], fingerprint: str) -> bool:
    if os.path.realpath(before.get("data_dir", "")) == os.path.realpath(config.data.data_dir):
        return True
    path = folder / runs.ENVIRONMENT
    if not fingerprint or not path.is_file():
        return False
    return records.read(path, records.ENVIRONMENT)["data"]["fingerprint"] == fingerprint


def _otherwise(config: Config, before: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The flags, (then, now), by which what was learned from may be set aside now."""
    pairs = {
        "group_by": (before.get("group_by", ""), config.data.group_by),
        "limit": (before.get("limit", "0"), str(config.data.limit)),
    }
    then, now = map(int, pairs["limit"])
    # Without groups, what is set aside of fewer images is set aside of more.
    if then == now or (not any(pairs["group_by"]) and (not then or 0 < now < then)):
        del pairs["limit"]
    return {flag: pair for flag, pair in pairs.items() if pair[0] != pair[1]}
