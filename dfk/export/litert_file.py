"""A graph as a file of LiteRT, which was TensorFlow Lite."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from dfk.export.graph import Graph

FILE = "model.tflite"


def write(graph: Graph, folder: Path, facts: Mapping[str, str]) -> None:
    """Writes the model into a folder; `facts` are the file `dfk.json` of the archive at its end.

    TensorFlow Lite keeps associated files so: `unzip -p model.tflite dfk.json` shows it.

    Raises:
        Exception: of any kind, for an operation that LiteRT has not itself.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.traced], graph)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    file = folder / FILE
    file.write_bytes(converter.convert())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo("dfk.json"), json.dumps(facts))
