"""Training on JAX: all of its devices share each batch."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from dfk.data.catalog import Split
from dfk.errors import UsageError
from dfk.system import backend


class _DataParallel(keras.distribution.DataParallel):
    """Divides a batch among the devices; one that cannot be divided goes to each of them whole."""

    def get_data_layout(self, data_shape):
        if data_shape[0] % self.device_mesh.devices.size:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return super().get_data_layout(data_shape)


def check(batch_size: int) -> None:
    """Makes sure that Keras runs on what dfk can train on, and that its devices can share batches.

    Raises:
        UsageError: naming the backend, or the number of devices.
    """
    if (name := keras.backend.backend()) not in backend.BACKENDS:  # By ~/.keras/keras.json
        raise UsageError(f"Keras runs on {name}: set KERAS_BACKEND to tensorflow or jax")
    if backend.on_jax() and batch_size % (count := len(keras.distribution.list_devices())):
        raise UsageError(
            f"--batch_size={batch_size} does not divide among the {count} devices of JAX"
        )


def use_all() -> None:
    """Spreads what follows over all devices that JAX sees, if Keras runs on JAX.

    Each holds all weights and its share of the images of a batch.
    """
    devices = keras.distribution.list_devices() if backend.on_jax() else []
    if len(devices) > 1:
        keras.distribution.set_distribution(_DataParallel(devices=devices))


def divided(split: Split) -> Split:
    """What of a split can be divided among the devices of JAX; all of it where it is too small."""
    whole = len(split) - len(split) % _devices()
    return split.take(range(whole or len(split)))


def laid_out_alike(batches: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Batches in two: those that can be divided among the devices, and the rest.

    Keras lays out all batches of a dataset as it does the first. With one device, or none of
    JAX's, all are alike; an empty part is left out.
    """
    if (count := _devices()) == 1:
        return [list(batches)]
    ends = [len(batch) - len(batch) % count for batch in batches]
    whole = [batch[:end] for batch, end in zip(batches, ends, strict=True) if end]
    rest = [batch[end:] for batch, end in zip(batches, ends, strict=True) if end < len(batch)]
    return [part for part in (whole, rest) if part]


def _devices() -> int:
    distribution = keras.distribution.distribution()
    return distribution.device_mesh.devices.size if distribution else 1
