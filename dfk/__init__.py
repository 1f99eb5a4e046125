"""dfk tells which generator made an image.

`import dfk` is cheap: it imports neither TensorFlow nor Keras. The layers register
themselves with Keras once Keras is there, whichever of the two is imported first, so
`keras.models.load_model` opens a dfk model.
"""

from __future__ import annotations

import importlib

import wrapt

__version__ = "0.1.0"

_SUBMODULES = frozenset(
    ["config", "data", "evaluation", "export", "inference", "layers", "models", "training"]
)


@wrapt.when_imported("keras")
def _register_layers(_keras) -> None:
    importlib.import_module("dfk.layers")


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"dfk.{name}")
    if name == "load":
        return importlib.import_module("dfk.inference").load
    raise AttributeError(f"module 'dfk' has no attribute {name!r}")
