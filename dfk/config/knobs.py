"""What a knob is: a field of a dataclass that says what its flag is for, and what it may be."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

from dfk.config.conditions import Needs
from dfk.config.values import Switch, Text, Value, write

# More epochs, steps or images than anybody trains, and few enough to count in any type.
MANY = 1_000_000
# Pixels: the side of a square of 50 megapixels, the largest image that is decoded.
LARGEST_SIDE = 7071
# Of what float32 holds; a network has diverged long before.
LARGEST_RATE = 1e38


class Knob(NamedTuple):
    """A knob; its flag has its name.

    Attributes:
        name: of the field and the flag.
        default: used if it is not given.
        help: what it is for: a sentence that stands alone.
        value: what it may be.
        needs: what other knobs must be for it to have an effect; None for nothing.
        lack: why other kinds of model have none, if that can be said.
        transient: whether it says how to start a run, not what it is: `config.flags` leaves
            it out.
    """

    name: str
    default: Any
    help: str
    value: Value
    needs: Needs | None
    lack: str
    transient: bool

    @property
    def is_switch(self) -> bool:
        """Whether its flag needs no value: `--name`, `--noname`."""
        return isinstance(self.default, bool)

    def line(self, value: Any) -> str:
        """The line of a flag file that gives it a value."""
        return f"--{self.name}={write(value)}"


def knob(
    default: Any,
    help: str,
    value: Value | None = None,
    *,
    needs: Needs | None = None,
    lack: str = "",
    transient: bool = False,
) -> Any:
    """A field that is a knob; its arguments are the attributes of `Knob`.

    Without `value`, it is a switch or a line of text, as the default is.
    """
    value = value or (Switch() if isinstance(default, bool) else Text())
    about = {"help": help, "value": value, "needs": needs, "lack": lack, "transient": transient}
    return dataclasses.field(default=default, metadata=about)


@functools.cache
def knobs_in(group: type) -> tuple[Knob, ...]:
    """The knobs of a dataclass, in its order."""
    fields = [field for field in dataclasses.fields(group) if field.metadata]
    return tuple(Knob(field.name, field.default, **field.metadata) for field in fields)


def each_is_named(items: tuple[str, ...]) -> bool:
    """Whether no item of a list is empty."""
    return all(items)
