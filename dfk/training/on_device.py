"""Training on JAX with the images on its device: the steps of a block are one program.

A small network's step takes a GPU less time than a host needs to hand over a batch and start it.
So the training images lie on the device, as bytes, and it makes their batches itself from a few
numbers (`dfk.data.resident`); a program does many steps, and its losses are looked at when it is
done. Batches are those of the host's pipeline, steps those of Keras' own `fit`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from dfk.config import Config, weight_per_class
from dfk.data import augment, resident, stored
from dfk.data.catalog import Catalog, Split
from dfk.data.pipeline import targets_of, window_side
from dfk.data.resident import Held, Recipe
from dfk.errors import UsageError
from dfk.system import backend, hardware

AUTO, HOST, DEVICE = "auto", "host", "device"
# Of the memory that a device has left the images may take so much: the network needs the rest.
_SHARE = 0.25


def place(config: Config, data: Catalog) -> str:
    """Where the batches of a network are made: `host` or `device`."""
    return DEVICE if _may(config) and not _reason(config, data) else HOST


def chosen(config: Config, data: Catalog) -> bool:
    """Whether the device makes the batches; tells which, and why, where there is a choice."""
    if not _may(config):
        return False
    if reason := _reason(config, data):
        logging.info("The host makes the batches: %s.", reason)
    else:
        size = _bytes(data.splits["train"]) / 2**20
        logging.info("The training images lie on the device (%.0f MiB), which makes batches.", size)
    return not reason


def _may(config: Config) -> bool:
    """Whether the flags and the hardware let it; a CPU has nothing to gain unless it is asked."""
    where = config.input.images_on
    return backend.on_jax() and (where == DEVICE or (where == AUTO and bool(hardware.gpus())))


def check(config: Config, data: Catalog | None = None) -> None:
    """Refuses `--images_on=device` where the images, or what is done to them, do not allow it.

    Raises:
        UsageError: saying why.
    """
    if config.input.images_on != DEVICE:
        return
    if reason := _reason(config, data) if data else _refusal(config):
        raise UsageError(f"--images_on=device: {reason}")


def _reason(config: Config, data: Catalog) -> str:
    return _refusal(config) or _unfit(config, data.splits["train"])


def _refusal(config: Config) -> str:
    """Why the device cannot make the batches, whatever the images are; "" where it can."""
    if not backend.on_jax():
        return "it needs JAX (KERAS_BACKEND=jax)"
    if config.fit.teacher:
        return "a --teacher sees the batches of the host"
    if config.input.data_service:
        return "--data_service makes the batches elsewhere"
    if others := resident.others(augment.parse(config.input.augment)):
        return f"--augment={others[0]} is done by the host"
    return ""


def _unfit(config: Config, train: Split) -> str:
    """Why these images cannot lie on the device; "" where they can."""
    if len(set(train.shapes)) > 1:
        return "the training images have several sizes"
    if window_side(train, config.input.image_size, config.input.train_crop):
        return "the training images are large, and windows are cut out of their files"
    needed, there = _bytes(train), _available_bytes()
    if needed > _SHARE * there:
        return (
            f"the training images take {needed / 2**30:.1f} GiB, more than {_SHARE:.0%} of the "
            f"{there / 2**30:.1f} GiB that are free"
        )
    return ""


def _bytes(train: Split) -> int:
    """What the images of a split take in one array."""
    first = stored.kept_of(train.images)[0]
    return len(train) * int(np.prod(first.shape)) * getattr(first, "dtype", np.dtype("u1")).itemsize


def _available_bytes() -> float:
    """Memory that is left on the device which has least, and in the host, which stacks the images.

    A device that does not tell, as a CPU, has what the host has.
    """
    import jax

    left = [hardware.available_bytes()]
    for device in jax.local_devices():
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            left.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return min(left)


def _recipe(config: Config, data: Catalog) -> Recipe:
    """How the batches of a training are made; the images have one size."""
    height, width = data.splits["train"].shapes[0]
    size = config.input.image_size
    augmentations = augment.parse(config.input.augment)
    height, width = (size, size) if size else (height, width)
    augment.check(augmentations, height, width)
    return Recipe(
        classes=len(data.class_names),
        batch_size=config.keras.batch_size,
        height=height,
        width=width,
        image_size=size,
        augmentations=augmentations,
        crop=config.input.train_crop,
        mixup_alpha=config.input.mixup_alpha,
        cutmix_alpha=config.input.cutmix_alpha,
        switch_prob=config.input.switch_prob,
        class_weight=weight_per_class(config, data.class_names),
        balanced=config.input.sampling == "balanced",
        seed=config.run.seed,
    )


def resident_of(network: keras.Model, config: Config, data: Catalog) -> Resident:
    """A network that trains on the images of train, which are put on every device."""
    recipe = _recipe(config, data)
    return Resident(network, _hold(data.splits["train"], recipe), recipe)


def training(config: Config, data: Catalog, first_epoch: int, epochs: int) -> tf.data.Dataset:
    """What `Resident.fit` takes for some epochs: an element for each block of steps."""
    labels = data.splits["train"].labels
    return resident.drawn(labels, _recipe(config, data), first_epoch=first_epoch, epochs=epochs)


def _hold(train: Split, recipe: Recipe) -> Held:
    """Puts the images of a split, and what is to be answered to each, on every device."""
    import jax

    held = Held(resident.stacked(train), targets_of(train.labels, recipe.classes).numpy())
    if not (distribution := keras.distribution.distribution()):
        return Held(*map(jax.device_put, held))
    mesh = distribution.device_mesh
    layouts = [keras.distribution.TensorLayout([None] * x.ndim, mesh) for x in held]
    return Held(*map(keras.distribution.distribute_tensor, held, layouts))


class Resident(keras.Model):
    """A network's own layers, whose `fit` takes blocks of draws and does all steps of one at once.

    A step is Keras' own, of the batch that `dfk.data.resident.made` makes. `evaluate` takes batches
    of images, as any model's.

    Args:
        network: a functional model, images [N, H, W, 3] in 0..255 to logits [N, C].
        held: what lies on the device.
        recipe: how batches are made of it.
    """

    def __init__(self, network: keras.Model, held: Held, recipe: Recipe):
        super().__init__(network.input, network.output, name=network.name)
        # Keras would look for layers and variables in attributes.
        self._held = lambda: held
        self._made = functools.partial(resident.made, recipe)
        shape = recipe.batch_size, *recipe.sides, network.input_shape[-1]
        self._seen = shape, (recipe.batch_size, recipe.classes)

    def train_step(self, state: Any, data: tuple[Held, dict[str, Any]]) -> tuple[dict, Any]:
        """The steps of a block, one after the other, and what they come to: means of the epoch."""
        import jax

        held, block = data
        step = super().train_step

        def one(state: Any, numbers: dict[str, Any]) -> tuple[Any, dict]:
            logs, state = step(state, tuple(map(_divided, self._made(held, numbers))))
            return state, logs

        state, logs = jax.lax.scan(one, state, block)
        return {name: values[-1] for name, values in logs.items()}, state

    def make_train_function(self, force: bool = False) -> None:
        """Keras' own; with each block it is handed what lies on the device, which is not copied."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        run: Callable[[Any, Iterator], Any] = self.train_function
        self.train_function = lambda state, blocks: run(state, iter([(self._held(), next(blocks))]))

    def _symbolic_build(self, iterator=None, data_batch=None) -> None:
        """Keras' own, of a batch as the steps see it: a block of draws would tell it nothing."""
        if iterator is not None and data_batch is None:
            data_batch = tuple(keras.KerasTensor(shape, "float32") for shape in self._seen)
        super()._symbolic_build(iterator, data_batch)


def _divided(batch: Any) -> Any:
    """A batch of which each device has its share."""
    import jax

    if not (distribution := keras.distribution.distribution()):
        return batch
    layout = distribution.get_data_layout(batch.shape).backend_layout
    return jax.lax.with_sharding_constraint(batch, layout)
