"""What only one kind of model has of the knobs, a dataclass for each `--model`.

Two kinds may have a knob of the same name: its flag then means that of the model that is chosen.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import ClassVar, Self

from dfk.config import conditions, start
from dfk.config.knobs import each_is_named, knob
from dfk.config.values import Choice, ClassImages, FilePath, Number, Several
from dfk.errors import UsageError

if typing.TYPE_CHECKING:
    from dfk.config.experiment import Config

ENSEMBLE_METHODS = ("confidence", "average", "stacked", "gated")


@dataclasses.dataclass(frozen=True)
class Options:
    """What those of all kinds derive from."""

    # The groups of `dfk.config.groups` that a kind has, too.
    GROUPS: ClassVar[tuple[str, ...]] = ("data", "run")

    @property
    def closed_form(self) -> bool:
        """Whether it is a network that is fitted at once, without gradients."""
        return False

    def check(self, config: Config) -> None:
        """Refuses an experiment in which they do not fit each other or the other knobs.

        Raises:
            UsageError: naming the flags.
        """

    def sources(self) -> list[tuple[str, str]]:
        """The runs and files that it is made from: each flag with one of them."""
        return []

    def with_runs(self, change: Callable[[str], str]) -> Self:
        """The same with other names of the runs that it is made from."""
        return self


class Network(Options):
    """A network that is trained; a new one needs no more than this and its own knobs."""

    GROUPS: ClassVar[tuple[str, ...]] = ("data", "run", "keras", "input", "start", "fit")


@dataclasses.dataclass(frozen=True)
class FixedPart(Network):
    """A network of which a part may stay fixed, which then answers features once."""

    feature_draws: int = knob(
        0,
        "How often every image is augmented and cropped to compute its features from, before "
        "training and beside the whole image; 0 does so in every epoch.",
        Number(int, 0, 10_000),
        needs=conditions.FIXED_FEATURES,
    )

    def has_fixed_part(self, config: Config) -> bool:
        """Whether it does as the knobs are set: the base does while the head is trained."""
        stays = config.start.head_epochs > 0 or not config.start.fine_tune_from
        return bool(config.starts_with) and stays

    def check(self, config: Config) -> None:
        if self.feature_draws and (config.input.data_service or config.fit.strategy != "none"):
            raise UsageError(
                "--feature_draws: not with --strategy or --data_service, which make every batch "
                "anew"
            )


@dataclasses.dataclass(frozen=True)
class DeepFakeNet(FixedPart):
    """The study's CNN."""

    dropout: tuple[str, ...] = knob(
        ("0.25", "0.3", "0.4"),
        "The dropout rate after each of the three blocks.",
        Several(Number(float, 0, 0.99), "three numbers from 0 to 0.99", count=3),
    )
    input_range: tuple[str, ...] = knob(
        ("0", "1"),
        "What the pixel values 0 and 255 are mapped to.",
        Several(
            Number(float, -1000, 1000),
            "two numbers from -1000 to 1000, the lower one first",
            count=2,
            check=lambda ends: ends[0] < ends[1],
        ),
    )


@dataclasses.dataclass(frozen=True)
class VGG16(FixedPart):
    """The study's second network."""

    vgg16_weights: str = knob(
        start.IMAGENET,
        "The same as --weights, where that is not given: `imagenet`, `none` (with "
        "BatchNormalization), a run, or a file.",
        FilePath(),
        needs=conditions.NO_WEIGHTS,
    )


@dataclasses.dataclass(frozen=True)
class ResidualNet(FixedPart):
    """The residual network for images at their own size."""

    filters: tuple[str, ...] = knob(
        ("32", "64", "128", "256"),
        "The channels of the network, a number per block.",
        Several(
            Number(int, 1, 4096),
            "one to ten whole numbers from 1 to 4096, a block's channels each",
            check=lambda widths: 1 <= len(widths) <= 10,
        ),
    )
    high_pass: bool = knob(
        False, "Lets the network see high-pass filters' answers beside the colours."
    )


class RichNet(FixedPart):
    """Dense layers on counts of what the noise of an image does together."""

    def has_fixed_part(self, config: Config) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class Fisher(RichNet):
    """A linear discriminant on the counts of RichNet, in closed form."""

    GROUPS: ClassVar[tuple[str, ...]] = ("data", "run", "keras", "input")

    shrinkage: float = knob(
        0.1,
        "How far the covariance of the features is drawn to a round one.",
        Number(float, 1e-6, 1),
    )

    @property
    def closed_form(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class Ensemble(Options):
    """Several finished networks in one model."""

    GROUPS: ClassVar[tuple[str, ...]] = ("data", "run", "keras")

    members: tuple[str, ...] = knob(
        (),
        "Runs to combine: names within output_dir, paths with a slash, or names of models that "
        "come with dfk.",
        Several(FilePath(), "names or paths of runs", check=each_is_named),
        lack="--members and --model=ensemble go together",
    )
    method: str = knob(
        "confidence",
        "How the members are combined: weighed by their confidence, on average, by a small "
        "network on their answers (stacked), or weighed by what was done to the image (gated).",
        Choice(*ENSEMBLE_METHODS),
    )

    def check(self, config: Config) -> None:
        if not self.members:
            raise UsageError("--members and --model=ensemble go together: name the runs to combine")

    def sources(self) -> list[tuple[str, str]]:
        return [("members", member) for member in self.members]

    def with_runs(self, change: Callable[[str], str]) -> Self:
        return dataclasses.replace(self, members=tuple(map(change, self.members)))


@dataclasses.dataclass(frozen=True)
class Added(Options):
    """A finished model, as it is, and classes that it learns from a few images each."""

    GROUPS: ClassVar[tuple[str, ...]] = ("data", "run", "keras")

    base: str = knob(
        "",
        "The model that gets classes more: a run, a .keras file, or a model that comes with dfk. "
        "--data_dir has the images of its own classes.",
        FilePath(),
    )
    new_class: tuple[str, ...] = knob(
        (),
        "The class that it gets and the folder of its images, as in stylegan:my/images; or "
        "several. A fifth of them is kept for validation.",
        Several(ClassImages()),
    )
    most_lost: float = knob(
        0.01,
        "The share of the images of its own classes, on the holdout, that the model may lose to "
        "new ones; 1 lets it answer what is likeliest.",
        Number(float, 0, 1),
    )

    @property
    def closed_form(self) -> bool:
        return True

    def check(self, config: Config) -> None:
        if not self.base or not self.new_class:
            raise UsageError(
                "--model=added needs --base, the model that gets a class more, and --new_class, "
                "the name of the class and the folder of its images (stylegan:my/images)"
            )
        if config.data.exclude_class in [name for name, _ in self.classes()]:
            raise UsageError(
                f"--new_class={config.data.exclude_class}: that is the class that --exclude_class "
                "leaves out, whose images play the unknown generator; give the new one another "
                "name"
            )

    def classes(self) -> list[tuple[str, str]]:
        """The name of each class that is added, and the folder of its images."""
        return list(map(ClassImages().read, self.new_class))

    def sources(self) -> list[tuple[str, str]]:
        return [("base", self.base)]

    def with_runs(self, change: Callable[[str], str]) -> Self:
        return dataclasses.replace(self, base=change(self.base))


class SVM(Options):
    """A support vector machine, which has no knobs of its own."""


# By what `--model` says; `dfk.models.kinds` has what is asked of each beside its knobs.
OPTIONS: dict[str, type[Options]] = {
    "deepfakenet": DeepFakeNet,
    "vgg16": VGG16,
    "residual": ResidualNet,
    "rich": RichNet,
    "fisher": Fisher,
    "ensemble": Ensemble,
    "added": Added,
    "svm": SVM,
    "svm_forensic": SVM,
}


class Model:
    """The name of a kind of model."""

    @property
    def allowed(self) -> str:
        return Choice(*OPTIONS).allowed

    def read(self, text: str) -> str:
        """The name itself."""
        return Choice(*OPTIONS).read(text)
