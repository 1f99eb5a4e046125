"""What a network starts with: the weights of another, of a run, a file or a shipped model.

A network is found by the configuration that its `.keras` file holds, without making it.
`dfk.models.transfer` then takes its arrays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dfk.errors import UsageError
from dfk.model_files import keras_files
from dfk.model_files.refused import Refused, told
from dfk.runs import locate

# What is said of an SVM and of a SavedModel.
WHY = "a network starts with the weights of another: a run, a .keras file, a file of weights"
_FROZEN = "dfk>Frozen"  # A member of an ensemble
# From the configurations of a network's layers, by name, to the arguments that it was built with;
# None for a network of another kind.
Reader = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


class Network(NamedTuple):
    """A network in a `.keras` file, or one of those in an ensemble.

    Attributes:
        place: the names of the members that lead to it, the outermost first.
        name: of the model that it is in.
        layers: the configurations of its layers by name, in their order.
        class_names: that its model carries.
        image_size: (H, W) that its model resizes images to; None if they keep their own.
    """

    place: tuple[str, ...]
    name: str
    layers: Mapping[str, Any]
    class_names: tuple[str, ...]
    image_size: tuple[int, int] | None


class Start(NamedTuple):
    """Weights that a network can start with.

    Attributes:
        file: that holds them.
        shape: the arguments of the network that they were made for, as far as they are known.
        network: which of the file's; None where it holds weights alone.
    """

    file: Path
    shape: Mapping[str, Any]
    network: Network | None = None


def plain(value: Any) -> Any:
    """An argument that can be compared with another, whether it is a list or a tuple."""
    return tuple(map(float, value)) if isinstance(value, Sequence) else value


def settle(start: Start | None, **arguments: tuple[Any, Any]) -> list[Any]:
    """Arguments of a network, each a value and a default; where one is None, as the weights have.

    Raises:
        UsageError: if a value is another than what the weights were made for.
    """
    held = start.shape if start else {}
    for name, (value, _) in arguments.items():
        if value is not None and name in held and plain(value) != plain(held[name]):
            raise UsageError(
                f"{start.file} is of a network with {name}={held[name]}, not with {value}"
            )
    return [
        held.get(name, default) if value is None else value
        for name, (value, default) in arguments.items()
    ]


def names(start: Start | None, classes: int, given: Sequence[str] | None) -> Sequence[str] | None:
    """The names of classes: those that are given, or what the weights call so many."""
    known = start.network.class_names if start and start.network else ()
    return known if given is None and len(known) == classes else given


def located(weights: str | os.PathLike) -> Path:
    """The `.keras` file, or file of weights, that `weights` of a builder means.

    Raises:
        UsageError: if there is none.
    """
    path = Path(weights)
    if path.suffix == ".h5" and not path.is_dir():
        if not path.exists():
            raise UsageError(f"there are no weights at {path}")
        return path
    return locate.find_keras(weights, WHY)


def find(weights: str | os.PathLike | None, reader: Reader, kind: str) -> Start | None:
    """What a network of some kind starts with.

    Args:
        weights: a run's folder, a `.keras` file, a file of weights, or the name of a model that
            comes with dfk; None or "none" for fresh weights. Of an ensemble it is the first
            member of this kind.
        reader: knows networks of this kind.
        kind: its name.

    Raises:
        UsageError: if there is no such file, it is damaged, or it holds no network of this kind.
    """
    if weights is None or weights == "none":
        return None
    file = located(weights)
    if file.suffix == ".h5":
        with told(file, "cannot be loaded as weights"), keras_files.weights(file):
            return Start(file, {})
    networks = networks_in(file)
    for network in networks:
        if (shape := reader(network.layers)) is not None:
            return Start(file, shape, network)
    names = ", ".join(network.name for network in networks) or "a Keras model that is none of dfk's"
    raise UsageError(f"{weights} holds {names}, and no weights of {kind}")


def networks_in(file: Path) -> list[Network]:
    """The networks of a `.keras` file: that of the model, or those of an ensemble's members.

    Raises:
        UsageError: if it is damaged, or names what no image classifier is made of.
    """
    with told(file, "cannot be loaded as a Keras model"):
        configuration = keras_files.configuration(file)
        try:
            return list(_networks(configuration, ()))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise Refused("its layers are not those of an image classifier") from error


def _networks(model: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[Network]:
    layers = {layer["config"]["name"]: layer for layer in model["config"]["layers"]}
    if "network" not in layers or not layers["network"].get("config", {}).get("layers"):
        return  # Keras' own, say
    inside = layers["network"]["config"]["layers"]
    if members := [layer for layer in inside if layer.get("registered_name") == _FROZEN]:
        for member in members:
            yield from _networks(member, (*place, member["config"]["name"]))
        return
    head = model["config"]["layers"][-1]["config"]
    resize = layers.get("resize", {}).get("config")
    yield Network(
        place,
        str(model["config"]["name"]),
        {layer["config"]["name"]: layer["config"] for layer in inside},
        tuple(map(str, head.get("class_names", ()))),
        (int(resize["height"]), int(resize["width"])) if resize else None,
    )
