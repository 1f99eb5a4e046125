"""HDF5 files of weights: what they hold lies in them, and is no more than was allowed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import h5py

from dfk.model_files.refused import Refused, reason

# What h5py raises for damaged or foreign files.
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError)


def size(file: Path | io.BytesIO, largest: int) -> int:
    """Bytes of all arrays in a file of weights.

    Args:
        file: HDF5.
        largest: bytes that they may have together.

    Raises:
        Refused: if it is no such file, damaged, refers to something else, or holds more.
    """
    try:
        with h5py.File(file) as opened:
            total = sum(_size(dataset) for dataset in _datasets(opened))
    except DAMAGED as error:
        raise Refused(f"its weights cannot be read ({reason(error)})") from error
    if total > largest:
        held, allowed = total / 2**20, largest / 2**20
        raise Refused(f"its weights claim {held:,.0f} MiB, no file of its size has {allowed:,.0f}")
    return total


def _datasets(group: h5py.Group) -> Iterator[h5py.Dataset]:
    """Every array below a group, once, however many links lead to it."""
    seen, groups = set(), [group]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise Refused(f"{name!r} among its weights leads elsewhere")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append(item)
            else:
                yield item


def _size(dataset: h5py.Dataset) -> int:
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiubV":
        raise Refused(f"{dataset.name!r} among its weights is no array of numbers")
    if dataset.external or dataset.is_virtual:
        raise Refused(f"{dataset.name!r} among its weights lies in another file")
    return dataset.nbytes
