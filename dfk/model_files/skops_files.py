"""`.skops` files from anybody: arrays, numbers and text, and no more than the file has room for."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

from numpy.lib import format as npy

from dfk.model_files import archives, bounds
from dfk.model_files.refused import Refused, Unsafe, reason

_SCHEMA = "schema.json"
_LARGEST_SCHEMA = 2**20  # Bytes; a schema of dfk's has some 10 kB
# What skops may make. It knows others, which make objects of scikit-learn, SciPy and itself.
_LOADERS = {
    "DictNode": ("builtins", "dict"),
    "ListNode": ("builtins", "list"),
    "TupleNode": ("builtins", "tuple"),
    "TypeNode": ("builtins", "str"),
    "JsonNode": ("builtins", "str"),
    "NdArrayNode": ("numpy", "ndarray"),
}
# Which compression holds a reader to the size that an entry claims
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def load(path: Path) -> Any:
    """What a `.skops` file holds: dictionaries, lists and tuples of arrays, numbers and text.

    Raises:
        Refused: if it is damaged, names anything else, or holds more than a file of its size can.
        OSError: if it cannot be read.
    """
    from skops import io  # Takes a second: it lists all that scikit-learn has.

    with archives.opened(path) as archive:
        if any(entry.compress_type not in _METHODS for entry in archive.infolist()):
            raise Refused("it is compressed as no such file of dfk is")
        _check_schema(archive)
        total = sum(_check_array(archive, x) for x in archive.namelist() if x != _SCHEMA)
        bounds.check_unpacked(total, path)
    try:
        return io.load(path)
    except Exception as error:  # skops lets whatever a damaged file causes through.
        raise Refused(reason(error)) from error


def _check_schema(archive: zipfile.ZipFile) -> None:
    if _SCHEMA in archive.namelist() and archive.getinfo(_SCHEMA).file_size > _LARGEST_SCHEMA:
        raise Refused(f"{_SCHEMA} has more than {_LARGEST_SCHEMA:,} bytes")
    try:
        nodes = [json.loads(archives.read(archive, _SCHEMA))]
    except (ValueError, RecursionError) as error:
        raise Refused(f"{_SCHEMA} is no JSON ({reason(error)})") from error
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        elif isinstance(node, dict):
            nodes += node.values()
            made = node.get("__module__"), node.get("__class__")
            if "__loader__" in node and _LOADERS.get(str(node["__loader__"])) != made:
                raise Unsafe(f"it makes a {made[0]}.{made[1]}"[:200])


def _check_array(archive: zipfile.ZipFile, name: str) -> int:
    """Bytes of an array, which are as many as the file has of it."""
    try:
        with archive.open(name) as file:
            if npy.read_magic(file) != (1, 0):
                raise ValueError("unknown version")
            shape, _, dtype = npy.read_array_header_1_0(file)
            held = archive.getinfo(name).file_size - file.tell()
    except archives.DAMAGED as error:
        raise Refused(f"{name} is no array ({reason(error)})") from error
    if dtype.kind not in "fiu" or math.prod(shape) * dtype.itemsize != held:
        raise Refused(f"{name} is no array of numbers of the size that it claims")
    return held
