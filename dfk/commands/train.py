"""Trains, evaluates and reports experiments: flags in, a table and a report out.

Examples:
    dfk train --data_dir=demo --image_size=64 --epochs=2
    dfk train --recipe=residual_wide --data_dir=data/mine
    dfk train --flagfile=my.flags --data_dir=data/mine --resume
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping
from typing import Any

from dfk import config
from dfk.commands.parser import data_set
from dfk.errors import UsageError
from dfk.text import printable

_FLAGS = """\
Flags (the later one wins). More of them are read from --flagfile=FILE, one a line, or from
--recipe=NAME, a flag file of dfk's own; dfk recipes lists these."""


def main(arguments: list[str], doc: str | None = __doc__) -> int:
    """Trains what the flags say and prints the table of all experiments; returns the exit code."""
    if any(argument in ("-h", "-help", "--help", "--helpfull") for argument in arguments):
        print(f"{doc}\n{_FLAGS}")
        print(config.flags_help())
        return 0
    experiments = config.parse(arguments, functools.partial(_follow, arguments))
    for settings in experiments:  # Before TensorFlow is imported
        _check_folder(settings.data.data_dir)
    from dfk.system.messages import prepare_logging  # absl: --help does without

    prepare_logging()
    _train(experiments)
    return 0


def _check_folder(data_dir: str) -> None:
    try:
        data_set(data_dir)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--data_dir={error}") from None


def _follow(arguments: list[str], *about: Any) -> Mapping[str, Any]:
    """What weights say of other flags; asked where some are given, since it takes Keras."""
    if (data_dir := config.data_dir(arguments)) is not None:
        _check_folder(data_dir)
    from dfk.system.messages import prepare_logging

    prepare_logging()
    from dfk import models

    return models.follow(*about)


def _train(experiments: list[config.Config]) -> None:
    from absl import logging

    from dfk import runs, training
    from dfk.reports import resaving, results
    from dfk.training import strategy

    experiments = training.check(experiments)
    measured = []
    for number, settings in enumerate(experiments, start=1):
        if len(experiments) > 1:
            logging.info("%d of %d: %s", number, len(experiments), settings.run.experiment)
        measured.append(training.run_checked(settings))
        if strategy.is_chief():
            output_dir = settings.run_dir.parent
            there = results.write_results(output_dir)
    strategy.wait_for_all()  # A worker that ended first would look lost.
    if not strategy.is_chief():
        return
    print(results.summary(there))
    print(printable(f"table   {output_dir / 'results.md'}"))
    print(printable(f"page    {output_dir / 'index.html'}"))
    for settings, result in zip(experiments, measured, strict=True):
        print(printable(f"report  {settings.run_dir / runs.REPORT}"))
        for line in resaving.lines(result.get("resaved") or ()):
            print(printable(f"        {line}"))
