"""dfk tells which generator made an image.

`import dfk` is cheap: it imports neither TensorFlow nor Keras. The layers register
themselves with Keras once Keras is there, whichever of the two is imported first, so
`keras.models.load_model` opens a dfk model.
"""

from __future__ import annotations

import importlib
import sys

__version__ = "0.1.0"

_SUBMODULES = frozenset(
    ["config", "data", "evaluation", "export", "inference", "layers", "models", "training"]
)


class _WithKeras:
    """Python's import asks it first: it has the import of Keras end with that of the layers.

    `wrapt.when_imported` does as much, but importing that takes longer than all else here.
    """

    @classmethod
    def find_spec(cls, name: str, path=None, target=None):
        if name != "keras":
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(cls)
        try:
            spec = find_spec(name)
        finally:
            sys.meta_path.insert(0, cls)
        if spec is None:  # It is not installed.
            return None
        run = spec.loader.exec_module

        def run_and_register(keras) -> None:
            run(keras)
            importlib.import_module("dfk.layers")

        spec.loader.exec_module = run_and_register
        return spec


if "keras" in sys.modules:
    importlib.import_module("dfk.layers")
else:
    sys.meta_path.insert(0, _WithKeras)


def __getattr__(name: str):
    if name in _SUBMODULES:
        return importlib.import_module(f"dfk.{name}")
    if name == "load":
        return importlib.import_module("dfk.inference").load
    raise AttributeError(f"module 'dfk' has no attribute {name!r}")
