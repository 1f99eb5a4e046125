"""From flags to experiments: defaults, suites, seeds, and what each model has of the knobs."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from dfk.config import checks, flag_files
from dfk.config.flag_files import Given
from dfk.config.knobs import DEFAULTS, KNOBS, MODELS, NETWORKS, Config, seeded
from dfk.config.values import shown, write
from dfk.errors import UsageError

# Of a suite each flag file has its own.
_ONE_EACH = ("experiment", "model", "members")


def parse(arguments: Sequence[str]) -> list[Config]:
    """Reads command line arguments, flag files included: a Config per experiment.

    Each member of a suite is read as `--flagfile=MEMBER` followed by the flags that stand
    beside `--suite`, so that these win. `--seeds` makes one experiment several, in which an
    ensemble combines the members, and a student or VGG16 has the run it builds on, of its own
    seed.

    Raises:
        UsageError: for an unknown flag, a value out of range, words that are no flag, a knob that
            has no effect on the model, or a flag that means one experiment beside a suite of
            several.
    """
    return _experiments(arguments, beside={}, suites=())


def flags_help() -> str:
    """The flags with what they may be, their defaults, and the models that have them."""
    return "\n".join(map(_help, KNOBS))


def starts_from_run(config: Config) -> bool:
    """Whether `--vgg16_weights` names a run."""
    weights = config.vgg16_weights
    return weights not in ("imagenet", "none") and Path(weights).suffix not in (".h5", ".keras")


def _experiments(
    arguments: Sequence[str], beside: Mapping[str, Given], suites: tuple[Path, ...]
) -> list[Config]:
    """As `parse`.

    Args:
        beside: the flags beside the suite that the arguments are a member of.
        suites: the members that lead here, each within the one before.
    """
    given = {flag.name: flag for flag in flag_files.read(arguments)} | dict(beside)
    config = Config(**{name: _value(flag) for name, flag in given.items()})
    if "suite" in given:
        return _members(config, given, beside, suites)
    name = config.experiment or flag_files.stem(arguments) or config.model
    config = dataclasses.replace(config, experiment=name)
    if config.seeds and "seed" in given and not _overruled("seed", ("seeds",), given):
        raise UsageError("--seed beside --seeds: one of them")
    seeds = dict.fromkeys(map(int, config.seeds))
    configs = [_with_seed(config, seed) for seed in seeds] or [config]
    configs = [_settled(config, given, beside) for config in configs]
    for config in configs:
        checks.check(config)
    return configs


def _members(
    config: Config,
    given: Mapping[str, Given],
    beside: Mapping[str, Given],
    suites: tuple[Path, ...],
) -> list[Config]:
    """The experiments of a suite."""
    if not config.suite:
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
    for member in config.suite:
        where = f"{given['suite'].place}--suite={shown(member)}"
        path = flag_files.path_of(member, where)
        if path in suites:
            raise UsageError(f"{where}: this suite names itself")
        configs += _experiments([f"--flagfile={member}"], shared, (*suites, path))
    names = [config.experiment for config in configs]
    if len(set(names)) < len(names):
        raise UsageError(f"--suite: several experiments share a name: {', '.join(names)}")
    for name in shared.keys() - beside.keys():
        if not any(name in config.own() for config in configs):
            raise UsageError(f"{given[name].place}--{name}: no experiment of the suite has it")
    return configs


def _with_seed(config: Config, seed: int) -> Config:
    def of_this_seed(run: str) -> str:
        return run if "/" in run or not run else seeded(run, seed)

    return dataclasses.replace(
        config,
        experiment=seeded(config.experiment, seed),
        members=tuple(map(of_this_seed, config.members)),
        teacher=of_this_seed(config.teacher),
        vgg16_weights=of_this_seed(config.vgg16_weights)
        if starts_from_run(config)
        else config.vgg16_weights,
        seed=seed,
        seeds=(),
    )


def _value(flag: Given):
    """What the text of a flag says."""
    try:
        return KNOBS[flag.name]["kind"].read(flag.text)
    except ValueError as error:
        raise UsageError(f"{flag.place}--{flag.name}={shown(flag.text)}: {error}") from None


def _settled(config: Config, given: Mapping[str, Given], beside: Mapping[str, Given]) -> Config:
    """With the defaults of all knobs that have no effect; who asked for one is told.

    One is left aside where it stands beside a suite, in the file of a run, or in a file around
    which another flag has taken its effect.
    """
    own = config.own()
    for name, flag in given.items():
        if name in own or name in beside or flag.place.of_run:
            continue
        knob = KNOBS[name]
        if config.model not in knob["of"]:
            raise UsageError(f"{flag.place}--{name}: {_lack(name, config.model)}")
        if not _overruled(name, knob["needs"].knobs, given):
            raise UsageError(f"{flag.place}--{name}: it has no effect without {knob['needs'].text}")
    rest = {name: getattr(DEFAULTS, name) for name in KNOBS if name not in own}
    return dataclasses.replace(config, **rest)


def _overruled(name: str, by: Sequence[str], given: Mapping[str, Given]) -> bool:
    """Whether one of some flags was given outside of the file that a flag stands in."""
    depth = given[name].place.depth
    return any(other in given and given[other].place.depth < depth for other in by)


def _lack(name: str, model: str) -> str:
    """Why a model has no such knob, and which it has."""
    of = KNOBS[name]["of"]
    if KNOBS[name]["lack"]:
        return f"{KNOBS[name]['lack']}, --model={model} is none"
    # Those that distinguish it: not what all models, or all networks, have.
    common = NETWORKS if model in NETWORKS else MODELS
    has = [
        f"--{n}" for n, k in KNOBS.items() if model in k["of"] and not set(common) <= set(k["of"])
    ]
    its_own = f"; it has {', '.join(has)}" if has else ""
    return (
        f"--model={model} has none, {' and '.join(of)} {'has' if len(of) == 1 else 'have'}{its_own}"
    )


def _help(name: str) -> str:
    knob, default = KNOBS[name], getattr(DEFAULTS, name)
    flag = f"--[no]{name}" if isinstance(default, bool) else f"--{name}"
    lines = [knob["help"], f"({knob['kind'].allowed}; default: {write(default) or 'none'})"]
    of = [] if knob["of"] == MODELS else [", ".join(knob["of"])]
    needs = [f"with {knob['needs'].text}"] if knob["needs"] else []
    if of or needs:
        lines.append(f"[{'; '.join(of + needs)}]")
    text = "\n".join(textwrap.fill(line, 92) for line in lines)
    return f"  {flag}\n{textwrap.indent(text, '      ')}"
