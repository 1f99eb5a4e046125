"""What follows from the weights that a network starts with, and what contradicts them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dfk.config import Config
from dfk.config.start import IMAGENET, NONE, is_run
from dfk.config.values import write
from dfk.errors import UsageError
from dfk.model_files import keras_files
from dfk.models import starts
from dfk.models.kinds import BUILDERS, KINDS, kind_of, start_of
from dfk.models.starts import Network, plain
from dfk.runs import locate


def follow(
    weights: Sequence[str], model: str, output_dir: str, earlier: Sequence[Config]
) -> dict[str, Any]:
    """The knobs that weights decide, by name, as `dfk.config.parse` asks for them.

    Args:
        weights: names of them; the first that means something counts.
        model: the kind of network that is to start with them; "" for what they are of.
        output_dir: the folder of runs.
        earlier: the experiments that will have been run.

    Raises:
        UsageError: if no model is given and they do not tell one, or a file is damaged.
    """
    runs = {config.run_dir: config for config in earlier}
    for name in weights:
        if config := runs.get(Path(locate.named(name, output_dir, runs))):
            return _of_run(config)
    name = next((x for x in weights if _is_there(x, output_dir)), weights[-1])
    if name in ("", NONE):
        return {}
    if name == IMAGENET:
        return {"model": "vgg16"}
    file = locate.locate(name, output_dir) if is_run(name) else Path(name)
    if model and not file.exists():  # Who goes on with a finished run needs it no more.
        return {}
    file = starts.located(file)
    if file.suffix == ".h5":
        return _of_arrays(name, model)
    return _of_network(name, _chosen(name, file, model))


def _is_there(name: str, output_dir: str) -> bool:
    if not is_run(name):
        return True
    found = locate.named(name, output_dir)
    return locate.is_shipped(name, output_dir) or os.path.exists(found)


def _of_run(config: Config) -> dict[str, Any]:
    """Of a run that is not there yet, as its flags say it."""
    if "start" not in config.options.GROUPS:
        return {}
    kind = KINDS[config.model]
    names = ("model", "image_size", *kind.shape, *kind.follows)
    return {name: config.value(name) for name in names}


def _of_arrays(name: str, model: str) -> dict[str, Any]:
    if not model:
        raise UsageError(
            f"--weights={name}: a file of weights does not say what network they are of; give "
            f"--model, one of {', '.join(BUILDERS)}"
        )
    return {}


def _chosen(name: str, file: Path, model: str) -> Network | None:
    """The network in a file that is meant; None where what is wrong is told later."""
    networks = starts.networks_in(file)
    kinds = [kind_of(network) for network in networks]
    if model:
        return networks[kinds.index(model)] if model in kinds else None
    if len(set(kinds)) == 1 and kinds[0]:
        return networks[0]
    fitting = [f"--model={kind}" for kind in dict.fromkeys(kinds) if kind]
    if len(networks) > 1 and fitting:
        raise UsageError(
            f"--weights={name} is an ensemble, and one network starts with one member of it: give "
            f"{' or '.join(fitting)}"
        )
    raise UsageError(f"--weights={name}: its network is none that dfk trains; give --model")


def _of_network(name: str, network: Network | None) -> dict[str, Any]:
    if network is None:
        return {}
    model = kind_of(network)
    height, width = network.image_size or (0, 0)
    # No flag says another height than width.
    size = {"image_size": height} if height == width else {}
    kind = KINDS[model]
    return {"model": model, **size, **_knobs(model, network, (*kind.shape, *kind.follows))}


def _knobs(model: str, network: Network, names: Sequence[str]) -> dict[str, Any]:
    """Knobs as a network in a file has them."""
    shape_of = KINDS[model].shape_of
    shape = shape_of(network.layers) if shape_of else {}
    return {name: _as_knob(shape[name]) for name in names}


def _as_knob(value: Any) -> Any:
    return tuple(f"{number:g}" for number in value) if isinstance(value, Sequence) else value


def check(config: Config, upcoming: Mapping[Path, Config]) -> None:
    """Refuses weights that the network of `config` cannot start with, before anything is begun.

    Args:
        config: whose names of runs are resolved.
        upcoming: by folder, the runs that will be there.

    Raises:
        UsageError: saying which flags would fit.
    """
    weights, given = config.starts_with, f"--{config.weights_flag}={config.starts_with}"
    if not weights:
        return
    if weights == IMAGENET and config.model != "vgg16":
        raise UsageError(f"{given}: ImageNet's weights are for --model=vgg16")
    if run := upcoming.get(Path(weights).parent):
        _check_run(config, run)
        KINDS[config.model].check_layer(config.with_(**{config.weights_flag: NONE}))
        return
    if config.weights_flag == "weights":
        _check_kind(config, given)
    start = start_of(config)
    if start.network:
        shape = _knobs(config.model, start.network, KINDS[config.model].shape)
        _check_shape(config, shape, given)
        keras_files.load(start.file)
    KINDS[config.model].check_layer(config)


def _check_run(config: Config, run: Config) -> None:
    if run.model != config.model:
        raise UsageError(f"--{config.weights_flag}: {run.run_dir} is a run of --model={run.model}")
    shape = {name: run.value(name) for name in KINDS[config.model].shape}
    _check_shape(config, shape, f"--{config.weights_flag}={config.starts_with}")


def _check_kind(config: Config, given: str) -> None:
    """Refuses a file that holds other networks only."""
    if config.starts_with == IMAGENET:
        return
    file = starts.located(locate.named_path(config.starts_with, config.run.output_dir))
    if file.suffix == ".h5":
        return
    kinds = [kind for kind in map(kind_of, starts.networks_in(file)) if kind]
    if kinds and config.model not in kinds:
        fitting = " or ".join(f"--model={kind}" for kind in dict.fromkeys(kinds))
        raise UsageError(f"{given} does not fit --model={config.model}: {fitting} would")


def _check_shape(config: Config, shape: Mapping[str, Any], given: str) -> None:
    wrong = [n for n in shape if not _alike(shape[n], config.value(n))]
    if wrong:
        here = " ".join(f"--{name}={write(config.value(name))}" for name in wrong)
        there = " ".join(f"--{name}={write(shape[name])}" for name in wrong)
        raise UsageError(f"{given} does not fit {here}: {there} would, or none of them")


def _alike(one: Any, other: Any) -> bool:
    return plain(one) == plain(other)


def told(config: Config) -> str:
    """The flags that nobody gave and that follow from the weights, as a line; "" for none."""
    known = [name for name in config.followed if name in config.recorded()]
    flags = " ".join(f"--{name}={write(config.value(name))}" for name in known)
    return f"From --weights={config.starts_with}: {flags}" if flags else ""
