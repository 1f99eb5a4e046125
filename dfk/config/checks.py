"""What flags may not say together, and what `--class_weight` says of the classes."""

from __future__ import annotations

from collections.abc import Sequence

from dfk.config.experiment import Config
from dfk.config.values import ClassName, ClassWeight, Name, shown
from dfk.errors import UsageError


def check(config: Config) -> None:
    """Refuses an experiment whose flags, each right by itself, do not fit each other.

    Raises:
        UsageError: naming them.
    """
    if not config.data.data_dir:
        raise UsageError("--data_dir is missing: name the folder with your images, or `demo`")
    _check_name(config.run.experiment)
    if config.run.resume and config.run.overwrite:
        raise UsageError("--resume and --overwrite contradict each other")
    size, crop = config.input.image_size, config.input.train_crop
    if size and crop > size:
        raise UsageError(f"--train_crop={crop} is larger than --image_size={size}")
    config.options.check(config)


def _check_name(experiment: str) -> None:
    """A name may come from a flag file, a seed may have made it longer."""
    try:
        Name().read(experiment)
    except ValueError as error:
        raise UsageError(f"--experiment={shown(experiment)}: {error}") from None


def class_weights(config: Config) -> dict[str, float]:
    """`--class_weight` as a dictionary from class names to positive weights.

    Raises:
        UsageError: for an item that is not class:weight.
    """
    return dict(map(ClassWeight().read, config.keras.class_weight))


def display_names(config: Config) -> dict[str, str]:
    """`--class_names` as a dictionary from labels of the data to names.

    Raises:
        UsageError: for an item that is not label:name.
    """
    return dict(map(ClassName().read, config.data.class_names))


def weight_per_class(config: Config, class_names: Sequence[str]) -> list[float] | None:
    """`--class_weight` in the order of `class_names`; None where all are alike.

    Raises:
        UsageError: for a class that is none of them.
    """
    given = class_weights(config)
    unknown = given.keys() - set(class_names)
    if unknown:
        raise UsageError(
            f"--class_weight names {', '.join(sorted(unknown))}; the classes are "
            f"{', '.join(class_names)}; --class_weight= weighs them alike"
        )
    return [given.get(name, 1.0) for name in class_names] if given else None
