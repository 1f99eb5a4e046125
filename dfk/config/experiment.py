"""One experiment: the groups of knobs, and the options of its kind of model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from dfk.config import options
from dfk.config.groups import Data, Fit, Input, Keras, Run
from dfk.config.knobs import Knob, knob, knobs_in
from dfk.config.options import OPTIONS, VGG16, Network, Options
from dfk.config.start import IMAGENET, NONE, Start, is_run


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment. The defaults are row 2 of the study, DeepFakeNet.

    A group that a kind of model does not have is there with its defaults.

    Attributes:
        followed: the knobs that nobody set, but the weights that it starts with.
    """

    TITLE: ClassVar[str] = "The model"

    model: str = knob("deepfakenet", "The kind of model that is trained.", options.Model())
    data: Data = dataclasses.field(default_factory=Data)
    run: Run = dataclasses.field(default_factory=Run)
    keras: Keras = dataclasses.field(default_factory=Keras)
    input: Input = dataclasses.field(default_factory=Input)
    start: Start = dataclasses.field(default_factory=Start)
    fit: Fit = dataclasses.field(default_factory=Fit)
    options: Options = dataclasses.field(default_factory=options.DeepFakeNet)
    followed: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def run_dir(self) -> Path:
        """The folder of this run."""
        return Path(self.run.output_dir) / self.run.experiment

    @property
    def is_network(self) -> bool:
        """Whether the model is one that learns from images by Keras, with `input`."""
        return isinstance(self.options, Network)

    @property
    def family(self) -> str:
        """The experiment's name without the seed that `--seeds` gave it."""
        return self.run.experiment.removesuffix(seeded("", self.run.seed))

    def with_(self, **values: Any) -> Config:
        """The same with other values, by the names of their flags.

        Another `model` has its own options, with their defaults, and keeps the groups that it has.

        Raises:
            TypeError: for a name that this kind of model has no knob of.
        """
        config, model = self, values.pop("model", self.model)
        if model != self.model:
            own = OPTIONS[model]()
            others = {name: group() for name, group in _GROUPS.items() if name not in own.GROUPS}
            config = dataclasses.replace(self, model=model, options=own, **others)
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            by_group.setdefault(config._home(name), {})[name] = value
        groups = {
            group: dataclasses.replace(getattr(config, group), **some)
            for group, some in by_group.items()
        }
        return dataclasses.replace(config, **groups)

    @property
    def starts_with(self) -> str:
        """The weights that it starts with: a run, a file or `imagenet`; "" for fresh ones."""
        weights = self.value(self.weights_flag) if "start" in self.options.GROUPS else NONE
        return "" if weights == NONE else weights

    @property
    def weights_flag(self) -> str:
        """The flag of a network that says what it starts with."""
        older = isinstance(self.options, VGG16) and not self.start.weights
        return "vgg16_weights" if older else "weights"

    def sources(self) -> list[tuple[str, str]]:
        """The runs and files that it is made from: each flag with one of them."""
        teacher = [("teacher", self.fit.teacher)] if self.fit.teacher else []
        weights = [(self.weights_flag, self.starts_with)] * (self.starts_with not in ("", IMAGENET))
        return [*self.options.sources(), *weights, *teacher]

    def with_runs(self, change: Callable[[str], str]) -> Config:
        """The same with other names of the runs that it is made from."""
        config = dataclasses.replace(self, options=self.options.with_runs(change))
        if is_run(self.starts_with):
            config = config.with_(**{self.weights_flag: change(self.starts_with)})
        return config.with_(teacher=change(self.fit.teacher)) if self.fit.teacher else config

    def value(self, name: str) -> Any:
        """What a knob is set to, by the name of its flag.

        Raises:
            TypeError: if this kind of model has no knob of that name.
        """
        return self.model if name == "model" else getattr(getattr(self, self._home(name)), name)

    def own(self) -> tuple[Knob, ...]:
        """The knobs that have an effect on this model, as the others are set."""
        return tuple(
            each
            for each in knobs_of(self.model).values()
            if not each.needs or each.needs.hold(self)
        )

    def recorded(self) -> dict[str, Knob]:
        """Those of `own` that say what the run is, by name: `config.flags` has them."""
        return {each.name: each for each in self.own() if not each.transient}

    def to_flags(self) -> str:
        """A flag file that repeats the run: a line per knob of `recorded`."""
        lines = [each.line(self.value(name)) for name, each in self.recorded().items()]
        return "".join(f"{line}\n" for line in lines)

    def _home(self, name: str) -> str:
        """The group that a knob is in; the model's own options come first."""
        for group in ("options", *self.options.GROUPS):
            if any(each.name == name for each in knobs_in(type(getattr(self, group)))):
                return group
        raise TypeError(f"--model={self.model} has no knob {name!r}")


_GROUPS: dict[str, type] = {
    "data": Data,
    "run": Run,
    "keras": Keras,
    "input": Input,
    "start": Start,
    "fit": Fit,
}
DEFAULTS = Config()


def knobs_of(model: str) -> dict[str, Knob]:
    """The knobs that a kind of model has, by name, whether they have an effect or not."""
    kind = OPTIONS[model]
    groups = [_GROUPS[group] for group in kind.GROUPS]
    return {each.name: each for group in (Config, *groups, kind) for each in knobs_in(group)}


def groups() -> dict[str, tuple[type, tuple[str, ...]]]:
    """The dataclasses that hold knobs, by a title: each with the kinds of model that have it."""
    every = tuple(OPTIONS)
    shared = [
        (group, tuple(model for model in every if name in OPTIONS[model].GROUPS))
        for name, group in _GROUPS.items()
    ]
    common = {group.TITLE: (group, models) for group, models in [(Config, every), *shared]}
    own = {f"With --model={model}": (kind, (model,)) for model, kind in OPTIONS.items()}
    return common | {title: (kind, of) for title, (kind, of) in own.items() if knobs_in(kind)}


def every_knob() -> dict[str, tuple[Knob, ...]]:
    """All knobs by name; several where kinds of model share it."""
    by_name: dict[str, list[Knob]] = {}
    for group, _ in groups().values():
        for each in knobs_in(group):
            known = by_name.setdefault(each.name, [])
            if each not in known:
                known.append(each)
    return {name: tuple(knobs) for name, knobs in by_name.items()}


def seeded(name: str, seed: int) -> str:
    """The name of one of the experiments that `--seeds` makes of one."""
    return f"{name}-seed{seed}"
