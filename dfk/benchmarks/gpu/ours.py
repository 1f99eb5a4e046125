"""dfk's side of `dfk benchmark gpu`, in a process of its own, on JAX."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dfk.benchmarks.gpu.plan import CLASSES, Case, Plan, asked, config_of


def make(plan: Plan) -> Ours:
    """Starts JAX, which shares the GPU's memory with PyTorch's process."""
    os.environ |= {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return Ours(plan)


class Ours:
    """What the process is asked for, by name; each answers a dictionary of figures."""

    def __init__(self, plan: Plan):
        self._plan = plan

    def __call__(self, do: str, **arguments: Any) -> dict[str, Any]:
        return asked(self, do, arguments)

    def about(self) -> dict[str, Any]:
        """The GPU's name, "" without one; the versions; FLOP/s of products of matrices."""
        import jax
        import jax.numpy as jnp

        names = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
        if not names and self._plan.on_gpu:
            return {"gpu": ""}
        from dfk.system import backend

        backend.keep_tensorflow_to_cpu()
        side, times = self._plan.matrix, 8
        a = jnp.ones((side, side), jnp.bfloat16)

        @jax.jit
        def products(x):
            return jax.lax.fori_loop(0, times, lambda _, x: (x @ a) * (1 / side), x)

        seconds = _best(lambda: products(a).block_until_ready(), self._plan.seconds)
        rate = times * 2 * side**3 / seconds
        return {"gpu": names[0] if names else "a CPU", "rate": rate, "version": jax.__version__}

    def prepare(self, case: Case) -> dict[str, Any]:
        """Builds what trains on images that lie on the device, and compiles it."""
        import keras

        keras.utils.set_random_seed(0)
        self._training = _Training(config_of(case), _catalog(self._plan.images, _around(case)))
        self._case = case
        self._training.epochs(1)
        return {}

    def measure(self) -> dict[str, Any]:
        """Seconds of a step and of an epoch, and the FLOPs of training on an image."""
        from dfk.benchmarks import machine

        epochs = self._training.epochs(self._plan.seconds)
        step = self._training.step(self._plan.seconds)
        flops = machine.training_flops_of(self._training.network, self._case.side)
        return {
            "epoch": epochs / self._training.images,
            "step": step / self._case.batch,
            "flops": float(flops),
        }

    def trace(self, folder: str) -> dict[str, Any]:
        """Writes a profile of a block of steps, to be seen in Perfetto or TensorBoard."""
        import jax

        from dfk.benchmarks.gpu.profile import busy

        with jax.profiler.trace(folder, create_perfetto_trace=True):
            self._training.step(0)
        return {"busy": busy(Path(folder))}

    def whole(self) -> dict[str, Any]:
        """Seconds of the epochs of residual_wide as its flag file has them, with all of a run."""
        from dfk.benchmarks.gpu import whole

        self._training = None
        return whole.measure(self._plan.whole)

    def scoring(self) -> dict[str, Any]:
        """Seconds an image of what `dfk predict` does, and of decoding alone."""
        from dfk.benchmarks.gpu import scoring

        with tempfile.TemporaryDirectory(prefix="dfk-benchmark-") as folder:
            return scoring.measure(Path(folder), self._plan.files)

    def peak(self) -> dict[str, Any]:
        """The most memory of the device that was in use at a time so far, in bytes."""
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        return {"peak": stats.get("peak_bytes_in_use")}


class _Training:
    """A network that trains as `dfk.training.phases` lets it, without a holdout."""

    def __init__(self, config: Any, data: Any):
        from dfk import models
        from dfk.data import resident
        from dfk.models import KINDS
        from dfk.system import hardware
        from dfk.training import on_device, optimizers, phases
        from dfk.training.pace import Pace

        precision = hardware.resolve_precision("auto")
        model = models.build(config, data.class_names, precision=precision)
        (phase,) = KINDS[config.model].phases(config)
        self.network = on_device.resident_of(models.network_of(model), config, data)
        self.network.compile(
            optimizer=optimizers.make(config, phase.learning_rate),
            loss=phases.loss_of(config),
            metrics=["accuracy"],
        )
        steps = len(data.splits["train"]) // config.keras.batch_size
        self._blocks = resident.blocks(steps)
        self._pace = Pace.of(steps, self._blocks, ahead=True)
        self._dataset = lambda: on_device.training(config, data, 0, config.fit.epochs)
        self.images = steps * config.keras.batch_size

    def epochs(self, seconds: float) -> float:
        """The median of the seconds of epochs, of which there are three or as many as fit in."""
        import keras

        from dfk.training.callbacks import StopAtNaN

        # After a `fit` Keras' average and the weights are the same arrays, given away twice.
        for variable in self.network.optimizer.variables:
            variable.assign(keras.ops.copy(variable))
        clock = clock_of(seconds)
        self.network.fit(
            self._dataset(),
            epochs=1000,
            steps_per_epoch=len(self._blocks),
            shuffle=False,
            verbose=0,
            callbacks=[StopAtNaN(self._pace), clock],
        )
        return statistics.median(clock.seconds)

    def step(self, seconds: float) -> float:
        """Seconds of a step among those of a block; the network is lost with it."""
        import jax

        block = next(self._dataset().as_numpy_iterator())
        state = self.network._get_jax_state(
            trainable_variables=True,
            non_trainable_variables=True,
            optimizer_variables=True,
            metrics_variables=True,
        )
        # Copies: the network's own are given away with the first call.
        state = jax.tree.map(lambda x: x.copy(), state)

        def run() -> None:
            nonlocal state
            logs, state = self.network.train_function(state, iter([block]))
            jax.block_until_ready((logs, state))

        return _best(run, seconds) / len(block["indices"])


def clock_of(seconds: float) -> Any:
    """A callback that times epochs, and ends the training after so many seconds."""
    import keras

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.seconds, self._start = [], time.perf_counter()

        def on_epoch_begin(self, epoch, logs=None):
            self._epoch = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            now = time.perf_counter()
            self.seconds.append(now - self._epoch)
            self.model.stop_training = now - self._start > seconds and len(self.seconds) > 2

    return Clock()


def _best(run: Callable[[], object], seconds: float) -> float:
    """The least seconds of runs after the first, of which there are two or as many as fit in."""
    run()
    taken, start = [], time.perf_counter()
    while len(taken) < 2 or time.perf_counter() - start < seconds:
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def _around(case: Case) -> int:
    """The side of images that a case crops to its own."""
    return case.side * 5 // 4


def noise(count: int, side: int) -> np.ndarray:
    """Images of noise, uint8 [N, side, side, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def _catalog(count: int, side: int) -> Any:
    """A training set of noise."""
    from dfk.benchmarks import pictures
    from dfk.data.catalog import Catalog

    names = tuple(map(str, range(CLASSES)))
    return Catalog(names, {"train": pictures.split(list(noise(count, side)))})
