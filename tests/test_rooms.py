"""The order of the rooms: each imports only from those below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dfk

ROOT = Path(dfk.__file__).parent

# From the top to the bottom; rooms that share a floor do not import each other.
FLOORS = (
    ("cli",),
    ("commands",),
    ("benchmarks",),
    ("training",),
    ("reports", "web", "export"),
    ("inference",),
    ("models",),
    ("model_files",),
    ("data",),
    ("layers", "runs"),
    ("system",),
    ("config",),
    ("evaluation",),
    ("errors",),
    ("text",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def _imported(source: str) -> Iterator[str]:
    """The rooms that a module's text imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "dfk":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dfk."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (x.name.split(".")[1] for x in node.names if x.name.startswith("dfk."))


def _wrong(room: str, source: str) -> list[str]:
    """The rooms that a module of `room` imports and may not."""
    others = [other for other in _imported(source) if other != room]
    return [other for other in others if FLOOR[other] <= FLOOR[room]]


MODULES = [path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.py"))]


@pytest.mark.parametrize("module", [m for m in MODULES if m.name != "__init__.py" or m.parent.name])
def test_a_room_imports_only_from_those_below_it(module):
    room = module.parts[0].removesuffix(".py")
    assert _wrong(room, (ROOT / module).read_text()) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from dfk.layers import Resizing", []),
        ("from dfk import layers, inference", ["inference"]),
        ("def f():\n    import dfk.training.phases", ["training"]),
        ("if TYPE_CHECKING:\n    from dfk.reports.mistakes import Mistake", ["reports"]),
    ],
)
def test_another_arrow_is_seen(source, wrong):
    assert _wrong("models", source) == wrong
