"""SavedModels from anybody: graphs that answer for images, and touch no file but their weights.

TensorFlow itself runs whatever a graph holds, and a graph can read and write files.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from dfk.errors import UsageError
from dfk.model_files import bounds, facts, operations
from dfk.model_files.refused import Refused, reason, told

GRAPH, FACTS = "saved_model.pb", "assets.extra/dfk.json"
_WEIGHTS = "variables/variables"
_SIGNATURE = "serve_images"
_LARGEST_FACTS = 2**20  # Bytes of dfk.json

# Objects that exports are made of. Others hold files, or make and initialise resources.
_OBJECTS = {"_generic_user_object", "trackable_list_wrapper", "signature_map"}
_KINDS = {"user_object", "function", "bare_concrete_function", "variable"}


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Loads an export of dfk.

    Returns:
        What TensorFlow makes of it, and what its `dfk.json` says.

    Raises:
        UsageError: if it is none, damaged, or its graph has other operations than exports have.
    """
    known = read_facts(folder)
    with told(folder, "is damaged, or no SavedModel of dfk"):
        _check_graph(folder)
        _check_weights(folder)
        try:
            loaded = tf.saved_model.load(os.fspath(folder))
            answers = loaded.signatures[_SIGNATURE].structured_outputs
            outputs = answers["valid"], answers["probabilities"]
        except Exception as error:  # TensorFlow lets whatever a damaged file causes through.
            raise Refused(f"{type(error).__name__}: {reason(error)}") from error
        facts.check_names(known["class_names"], outputs[1].shape[-1])
    return loaded, known


def read_facts(folder: Path) -> dict[str, Any]:
    """What `dfk.json` says of an export, with class names, thresholds and sizes that can be.

    Raises:
        UsageError: if there is none, or it is damaged.
    """
    path = folder / FACTS
    if not path.is_file():
        raise UsageError(f"{folder} is none of dfk's SavedModels: it has no {path}")
    with told(path, "is damaged"):
        if path.stat().st_size > _LARGEST_FACTS:
            raise Refused(f"it has more than {_LARGEST_FACTS:,} bytes")
        try:
            known = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise Refused(f"it is no JSON ({reason(error)})") from error
        if not isinstance(known, dict) or not isinstance(known.get("class_names"), list):
            raise Refused("it names no classes")
        names = facts.check_names(known["class_names"], len(known["class_names"]))
        thresholds = facts.check_thresholds(known.get("thresholds"), len(names))
        sizes = known.get("image_sizes", [])  # An older export may not tell.
        if not isinstance(sizes, list):
            raise Refused("its image sizes are no list")
        facts.check_sizes(size for size in sizes if size is not None)
        limits = facts.check_limits(known)
        trained_on = facts.check_trained_on(known.get("trained_on"), len(names))
    checked = {"class_names": names, "thresholds": thresholds, "image_sizes": sizes}
    return known | checked | {"limits": limits, "trained_on": trained_on}


def _check_graph(folder: Path) -> None:
    for path in folder.iterdir():  # Another TensorFlow may prefer one of these.
        if path.name == "debug" or (path.stem == "saved_model" and path.name != GRAPH):
            raise Refused(f"it holds {path.name} beside {GRAPH}")
    path = folder / GRAPH
    bounds.check_regular(path)
    bounds.check_unpacked(path.stat().st_size, path)
    try:
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise Refused(f"{GRAPH} cannot be read ({reason(error)})") from error
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].HasField("object_graph_def"):
        raise Refused(f"{GRAPH} holds not one graph of TensorFlow 2")
    graph = saved.meta_graphs[0]
    if graph.asset_file_def or set(graph.collection_def) - {"saved_model_main_op"}:
        raise Refused("its graph names files, or collections, as no export of dfk does")
    _check_objects(graph.object_graph_def)
    operations.check(graph, bounds.unpacked(path))


def _check_objects(objects: Any) -> None:
    for node in objects.nodes:
        kind = node.WhichOneof("kind")
        made = node.user_object.identifier if kind == "user_object" else kind
        usual = kind in _KINDS and (kind != "user_object" or made in _OBJECTS)
        if not usual or node.registered_name or node.saveable_objects:
            name = node.registered_name or made
            raise Refused(f"it holds a {name}, which no export of dfk does")


def _check_weights(folder: Path) -> None:
    """The arrays of its checkpoint are all in it, and so no more than it."""
    index, data = (folder / f"{_WEIGHTS}{end}" for end in (".index", ".data-00000-of-00001"))
    for path in (index, data):
        if not path.is_file():
            raise Refused(f"it has no {path.relative_to(folder)}")
    try:
        total = sum(_sizes(os.fspath(folder / _WEIGHTS)))
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise Refused(f"its weights cannot be read ({reason(error)})") from error
    if total > data.stat().st_size:
        raise Refused("its weights claim more than it holds")


def _sizes(checkpoint: str) -> Iterator[int]:
    reader = tf.train.load_checkpoint(checkpoint)
    kinds = reader.get_variable_to_dtype_map()
    for name, shape in reader.get_variable_to_shape_map().items():
        if kinds[name] != tf.string:
            yield math.prod(shape) * kinds[name].size
