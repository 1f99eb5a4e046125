"""A model for another runtime: ONNX, OpenVINO or LiteRT, with a client that runs it alone."""

from __future__ import annotations

import importlib
import json
import logging
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from dfk import models
from dfk.errors import DfkError
from dfk.export import check, client, serving_files
from dfk.export.dense import Dense
from dfk.export.graph import ANSWER, PIXELS, Graph
from dfk.export.signatures import BUDGET_BYTES, largest_image, quiet
from dfk.layers import NoiseStatistics, RichFeatures, noise_statistics
from dfk.runs import locate
from dfk.system import files
from dfk.system.messages import stderr_closed
from dfk.text import printable

# Of each format, what must be installed: the converter and the runtime.
MODULES = {
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "litert": ("ai_edge_litert",),
}
_RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "ai-edge-litert"}
# Bytes of a pixel, at most, where an image is counted in one go and not in tiles
_COUNTED = 2500

_README = """\
# {name}: image in, {classes} classes out

`pip install {runtime} numpy pillow`, then `python {version}/client.py IMAGE...` prints a table. It
takes nothing else of dfk or TensorFlow. From Python:
```python
import json, pathlib, sys
sys.path.insert(0, "{version}")
import client
folder = pathlib.Path("{version}")
answer, facts = client.load(folder), json.loads((folder / "dfk.json").read_text())
probabilities = answer(client.read("image.png", facts))
```
The model takes `images`, uint8 [N, H, W, 3], any number of any one size from {smallest} pixels a
side, and answers `probabilities`, float32 [N, {classes}]. Classes: {names}.
`dfk.json` has them, the sizes and the thresholds; the model's file holds the same as metadata.
"""


class Writer:
    """Writes a model in one of these formats; arguments and methods as of `saved_model.Writer`."""

    # Other runtimes add in another order.
    tolerance: Mapping[str, float] = {"float32": 1e-4}

    def __init__(self, form: str, name: str, model: keras.Model, dense: Dense, max_pixels: int):
        self._form, self._model, self._dense = form, model, dense
        whole = _counts_whole(model)
        most = min(largest_image(dense), BUDGET_BYTES // _COUNTED if whole else math.inf)
        self.facts = {
            **serving_files.describe(name, model, dense, max_pixels or most),
            "largest_side": noise_statistics.WINDOW if whole else None,
            "format": form,
            "input": f"{PIXELS}: uint8 [N, H, W, 3]",
            "output": f"{ANSWER}: float32 [N, {len(models.class_names_of(model))}]",
        }

    def write(self, folder: Path) -> None:
        """Writes the model, and the client, to a folder that is not there yet.

        Raises:
            DfkError: for a model that has something which the format has not.
        """
        folder.mkdir()
        writer = importlib.import_module(f"dfk.export.{self._form}_file")
        with quiet(logging.ERROR), stderr_closed():
            graph = Graph(self._dense)
            try:
                writer.write(graph, folder, {k: _text(v) for k, v in self.facts.items()})
            except OSError:
                raise
            except Exception as error:  # Converters raise what they like.
                raise DfkError(
                    f"nothing was exported: {self.facts['name']} has what {self._form} has not: "
                    f"{_reason(error)}"
                ) from error
        shutil.copyfile(client.__file__, folder / "client.py")

    def difference(self, folder: Path, examples: Sequence[bytes]) -> float:
        """The largest difference of a probability from the trained model's; NaN for none."""
        sides = [side for _, side in self._dense.memory.crops]
        answer = client.load(folder)
        return check.largest_difference_of_pixels(self._model, answer, examples, sides)

    def finish(self, folder: Path, facts: dict[str, Any], examples: Sequence[bytes]) -> None:
        """Writes into the folder what the client reads."""
        files.write_json(folder / client.FACTS, facts)

    def write_beside(self, output_dir: Path, facts: dict[str, Any]) -> None:
        """Writes beside the versions how to run them."""
        version = max(locate.versions(output_dir))
        names = facts["class_names"]
        text = _README.format(
            name=facts["name"],
            classes=len(names),
            runtime=_RUNTIMES[self._form],
            version=version,
            smallest=facts["smallest_image"],
            names=", ".join(names),
        )
        files.write_atomic(output_dir / "README.md", text)


def _counts_whole(model: keras.Model) -> bool:
    """Whether a network counts in images of any size, not in crops of them."""
    if any(map(_counts_whole, models.members_of(model))):
        return True
    counting = NoiseStatistics | RichFeatures
    counts = any(isinstance(layer, counting) for layer in models.network_of(model).layers)
    return counts and not models.input_size(model) and not models.crops_of(model)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, allow_nan=False)


# How the converters name an operation that a format has not.
_OPERATION = re.compile(
    r"No Op registered for (\w+)|'tf\.(\w+)' op|rule found for operations: (.+)"
)


def _reason(error: Exception) -> str:
    """The operations that a converter's message names; else its first line."""
    named = [next(filter(None, groups)) for groups in _OPERATION.findall(str(error))]
    lines = [line for line in str(error).splitlines() if line.strip()]
    told = ", ".join(dict.fromkeys(named)) or (lines or [type(error).__name__])[0]
    return printable(told[:500])
