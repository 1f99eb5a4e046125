"""Gives a model one more class, from 20 to 100 images of it, as a new run.

RUN is a run's folder, a .keras file or a model that comes with dfk; NAME is what the class is to
be called; DIR holds images of it. What the model has learned stays as it is: the class gets a
logit of its own, on what the model sees in an image. That takes about as long as to score
the images of the old classes, once: who adds another class finds their features stored.

The images of the old classes are those that RUN was trained on, divided as they were then. A model
without a run, such as those that come with dfk, needs --data_dir with images of all its classes.
A fifth of those in DIR is kept for validation; all others are learned from, in folds, so that each
of them is also one that the temperature and the thresholds are chosen on. From 5 images on it will
work, from 20 on it may work well.

So much that the old classes lose one point of accuracy on the holdout at most: what may not be lost
is not found either. --most_lost=0.05 lets the new class have more, --most_lost=1 what is likeliest.

All else is as in `dfk train --model=added`, and so are the other flags, --resume and --overwrite.

Examples:
  dfk add runs/rich stylegan my/stylegan_images --output_dir=runs --experiment=rich+stylegan
  dfk add unibuc-small stylegan my/stylegan_images --data_dir=data/unibuc
"""

from __future__ import annotations

import os
from pathlib import Path

from dfk.commands import train
from dfk.commands.parser import Parser, folder, model
from dfk.config.values import split, write
from dfk.errors import UsageError
from dfk.system.messages import prepare_logging

# What a run says of the images that it was trained on, and of what it promises
_KEPT = (
    *("data_dir", "on_bad_image", "exclude_class", "group_by", "class_names", "limit"),
    *("cache_gib", "false_alarm_rate"),
)


def main(arguments: list[str]) -> int:
    """Trains what RUN, NAME and DIR say and prints the table of all experiments; returns 0."""
    parser = Parser("add", __doc__)
    parser.add_argument(
        "run", metavar="RUN", type=model, help="the model: a run, a .keras file, or unibuc"
    )
    parser.add_argument("name", metavar="NAME", help="of the new class")
    parser.add_argument("folder", metavar="DIR", type=folder, help="the folder with its images")
    options, flags = parser.parse_known_args(arguments)
    return train.main(_flags(options.run, options.name, options.folder, flags))


def _flags(run: str, name: str, images: str, given: list[str]) -> list[str]:
    """The flags of the training; those that are given win."""
    if ":" in name:
        raise UsageError(f"{name}: a class that is added may have no colon in its name")
    prepare_logging()
    from dfk import runs
    from dfk.runs import locate

    run = run if "/" in run or locate.is_shipped(run) else os.path.join(".", run)
    file = locate.find_keras(run, "classes are added to Keras models")
    before = _recorded(file.with_name(runs.FLAGS))
    if "data_dir" not in before and not any(x.lstrip("-").startswith("data_dir") for x in given):
        raise UsageError(
            f"{run} does not say what images it was trained on: name a folder with images of all "
            f"its classes by --data_dir (`dfk info {run}` lists them)"
        )
    classes = [f"{name}:{images}"]
    if before.get("model") == "added":  # Both classes are added to what that one was added to.
        run, classes = before["base"], [*split(before["new_class"]), *classes]
    return [
        "--model=added",
        f"--experiment={Path(run).stem}+{'+'.join(x.partition(':')[0] for x in classes)}",
        *(f"--{flag}={before[flag]}" for flag in _KEPT if flag in before),
        *given,
        f"--base={run}",
        f"--new_class={write(tuple(classes))}",
    ]


def _recorded(path: Path) -> dict[str, str]:
    """The flags of a run, as text; none where there is no run."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.removeprefix("--").split("=", 1) for line in lines if "=" in line)
