"""dfk tells which generator made an image.

`import dfk` is cheap: it imports neither TensorFlow nor Keras. The layers register
themselves with Keras once Keras is there, whichever of the two is imported first, so
`keras.models.load_model` opens a dfk model:

    import dfk
    import keras

    model = keras.models.load_model("runs/ensemble/model.keras")

Without `import dfk`, Keras raises a long `TypeError`, "Could not locate class 'CalibratedSoftmax'"
or another layer of dfk's; nothing but this import is missing then.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # For editors and type checkers; `__getattr__` imports them when they are used.
    from dfk import (
        config,
        data,
        errors,
        evaluation,
        export,
        inference,
        layers,
        models,
        training,
    )
    from dfk.inference import load

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "config",
    "data",
    "errors",
    "evaluation",
    "export",
    "inference",
    "layers",
    "load",
    "models",
    "training",
]


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


def __getattr__(name: str) -> Any:
    if name == "load":
        return importlib.import_module("dfk.inference").load
    if name in __all__:
        return importlib.import_module(f"dfk.{name}")
    raise AttributeError(f"module 'dfk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
