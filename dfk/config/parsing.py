"""From flags to experiments: defaults, suites, seeds, and what each model has of the knobs."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfk.config import checks, flag_files
from dfk.config.experiment import DEFAULTS, Config, every_knob, groups, knobs_of, seeded
from dfk.config.flag_files import Given
from dfk.config.knobs import Knob, knobs_in
from dfk.config.options import OPTIONS, Network, Options
from dfk.config.values import shown, write
from dfk.errors import UsageError

# What weights say of other knobs, by their names: of the names that weights may have, the first
# that means something; the kind of model, "" where that is not given; the folder of runs; and the
# experiments that come before.
Follow = Callable[[Sequence[str], str, str, Sequence[Config]], Mapping[str, Any]]

# Of a suite each flag file has its own.
_ONE_EACH = ("experiment", "model", "members")


def parse(arguments: Sequence[str], follow: Follow | None = None) -> list[Config]:
    """Reads command line arguments, flag files included: a Config per experiment.

    Each member of a suite is read as `--flagfile=MEMBER` followed by the flags that stand
    beside `--suite`, so that these win. `--seeds` makes one experiment several, in which an
    ensemble combines the members, and whatever builds on a run has the one, of its own
    seed. What is not given follows from `--weights`, as `follow` tells it, or has its default.

    Raises:
        UsageError: for an unknown flag, a value out of range, words that are no flag, a knob that
            has no effect on the model, or a flag that means one experiment beside a suite of
            several.
    """
    return _experiments(arguments, {}, (), follow or (lambda *_: {}), [])


def data_dir(arguments: Sequence[str]) -> str | None:
    """Where the images are, before anything follows from weights; None if no flag says it.

    Raises:
        UsageError: for an unknown flag, or a flag file that is not there.
    """
    given = {flag.name: flag.text for flag in flag_files.read(arguments)}
    return given.get("data_dir")


def flags_help() -> str:
    """The flags in their groups, with what they may be, their defaults, and who has them."""
    return "\n".join(map(_help_of_group, groups()))


def _experiments(
    arguments: Sequence[str],
    beside: Mapping[str, Given],
    suites: tuple[Path, ...],
    follow: Follow,
    earlier: Sequence[Config],
) -> list[Config]:
    """As `parse`.

    Args:
        beside: the flags beside the suite that the arguments are a member of.
        suites: the members that lead here, each within the one before.
        earlier: the experiments of the members before.
    """
    given = {flag.name: flag for flag in flag_files.read(arguments)} | dict(beside)
    if "suite" in given:
        return _members(given, beside, suites, follow)
    followed = _followed(given, follow, earlier)
    model = _value(given["model"]) if "model" in given else followed.get("model", DEFAULTS.model)
    values = followed | {name: _value(flag, model) for name, flag in given.items()}
    has = knobs_of(model)
    config = DEFAULTS.with_(**{name: v for name, v in values.items() if name in has})
    name = config.run.experiment or flag_files.stem(arguments) or model
    config = dataclasses.replace(config.with_(experiment=name), followed=tuple(followed))
    if config.run.seeds and "seed" in given and not _overruled("seed", ("seeds",), given):
        raise UsageError("--seed beside --seeds: one of them")
    seeds = dict.fromkeys(map(int, config.run.seeds))
    configs = [_with_seed(config, seed) for seed in seeds] or [config]
    configs = [_settled(config, given, beside) for config in configs]
    for config in configs:
        checks.check(config)
    return configs


def _members(
    given: Mapping[str, Given],
    beside: Mapping[str, Given],
    suites: tuple[Path, ...],
    follow: Follow,
) -> list[Config]:
    """The experiments of a suite."""
    values = {name: _value(flag) for name, flag in given.items()}
    if not values["suite"]:
        raise UsageError(f"{given['suite'].place}--suite: name a flag file, or several")
    for name in _ONE_EACH:
        if name in given:
            raise UsageError(
                f"{given[name].place}--{name} beside --suite: each flag file of a suite has its own"
            )
    # As if they stood outside of the members' files, which they rule.
    shared = {
        name: flag._replace(place=flag.place._replace(depth=0))
        for name, flag in given.items()
        if name != "suite"
    }
    configs = []
    for member in values["suite"]:
        where = f"{given['suite'].place}--suite={shown(member)}"
        name = flag_files.found(member, given["suite"].place, where)
        path = flag_files.real(name)
        if path in suites:
            raise UsageError(f"{where}: this suite names itself")
        file = [f"--flagfile={name}"]
        configs += _experiments(file, shared, (*suites, path), follow, configs)
    names = [config.run.experiment for config in configs]
    if len(set(names)) < len(names):
        raise UsageError(f"--suite: several experiments share a name: {', '.join(names)}")
    for name in shared.keys() - beside.keys():
        if not any(name in _names(config.own()) for config in configs):
            raise UsageError(f"{given[name].place}--{name}: no experiment of the suite has it")
    return configs


def _followed(
    given: Mapping[str, Given], follow: Follow, earlier: Sequence[Config]
) -> dict[str, Any]:
    """What follows from the weights that are given, but for what is given itself."""
    model = _value(given["model"]) if "model" in given else ""
    if "weights" not in given or (model and not issubclass(OPTIONS[model], Network)):
        return {}
    weights = _value(given["weights"])
    seeds = _value(given["seeds"]) if "seeds" in given else ()
    names = [*(_of_seed(weights, int(seed)) for seed in seeds[:1]), weights]
    folder = _value(given["output_dir"]) if "output_dir" in given else DEFAULTS.run.output_dir
    followed = follow(names, model, folder, earlier)
    return {name: value for name, value in followed.items() if name not in given}


def _with_seed(config: Config, seed: int) -> Config:
    config = config.with_runs(lambda run: _of_seed(run, seed))
    return config.with_(experiment=seeded(config.run.experiment, seed), seed=seed, seeds=())


def _of_seed(run: str, seed: int) -> str:
    """The bare name of a run as that of the one with this seed; a path, or a file, stays."""
    return run if "/" in run or run.endswith((".keras", ".h5")) else seeded(run, seed)


def _value(flag: Given, model: str = "") -> Any:
    """What the text of a flag says to a kind of model; without one, to any that has the knob.

    Raises:
        UsageError: if it may not.
    """
    knobs = every_knob()[flag.name]
    if model and flag.name in knobs_of(model):
        knobs = (knobs_of(model)[flag.name],)
    wrong = None
    for knob in knobs:
        try:
            return knob.value.read(flag.text)
        except ValueError as error:
            wrong = wrong or error
    raise UsageError(f"{flag.place}--{flag.name}={shown(flag.text)}: {wrong}") from None


def _settled(config: Config, given: Mapping[str, Given], beside: Mapping[str, Given]) -> Config:
    """With the defaults of all knobs that have no effect; who asked for one is told.

    One is left aside where it stands beside a suite, in the file of a run, or in a file around
    which another flag has taken its effect.
    """
    has, own = knobs_of(config.model), _names(config.own())
    for name, flag in given.items():
        if name in own or name in beside or flag.place.of_run:
            continue
        if name not in has:
            raise UsageError(f"{flag.place}--{name}: {_lack(name, config.model)}")
        needs = has[name].needs
        if not _overruled(name, needs.knobs, given):
            raise UsageError(f"{flag.place}--{name}: it has no effect without {needs.text}")
    return config.with_(**{name: has[name].default for name in has.keys() - own})


def _names(knobs: Iterable[Knob]) -> set[str]:
    return {knob.name for knob in knobs}


def _overruled(name: str, by: Sequence[str], given: Mapping[str, Given]) -> bool:
    """Whether one of some flags was given outside of the file that a flag stands in."""
    depth = given[name].place.depth
    return any(other in given and given[other].place.depth < depth for other in by)


def _lack(name: str, model: str) -> str:
    """Why a model has no such knob, and which it has."""
    (knob, *_) = every_knob()[name]
    if knob.lack:
        return f"{knob.lack}, --model={model} is none"
    of = [other for other in OPTIONS if name in knobs_of(other)]
    has = [f"--{name}" for name in _distinguishing(model)]
    its_own = f"; it has {', '.join(has)}" if has else ""
    return (
        f"--model={model} has none, {' and '.join(of)} {'has' if len(of) == 1 else 'have'}{its_own}"
    )


def _distinguishing(model: str) -> list[str]:
    """The knobs of a kind of model but for what all kinds, or all networks like it, have."""
    own = OPTIONS[model]
    alike = Network if issubclass(own, Network) else Options
    common = [
        knobs_of(other).keys()
        for other, kind in OPTIONS.items()
        if issubclass(kind, alike) and (alike is Options or {*own.GROUPS} <= {*kind.GROUPS})
    ]
    return [name for name in knobs_of(model) if not all(name in names for names in common)]


def _help_of_group(title: str) -> str:
    group, models = groups()[title]
    of = "" if len(models) in (1, len(OPTIONS)) else f" ({', '.join(models)})"
    return "\n".join([f"\n{title}{of}:", *map(_help, knobs_in(group))])


def _help(knob: Knob) -> str:
    flag = f"--[no]{knob.name}" if knob.is_switch else f"--{knob.name}"
    lines = [knob.help, f"({knob.value.allowed}; default: {write(knob.default) or 'none'})"]
    lines += [f"[with {knob.needs.text}]"] if knob.needs else []
    text = "\n".join(textwrap.fill(line, 92) for line in lines)
    return f"  {flag}\n{textwrap.indent(text, '      ')}"
