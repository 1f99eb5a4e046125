"""Several devices, or several machines, for one training: tf.distribute's strategies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator

import keras
import tensorflow as tf

from dfk.config import STRATEGIES, Config
from dfk.data.catalog import Split
from dfk.errors import DfkError, UsageError
from dfk.system import backend
from dfk.training import jax_devices

NONE, MIRRORED, MULTI_WORKER, TPU = STRATEGIES

# Seconds between two questions whether a worker's process answers, which it does while it writes
# its report, too. After three times ten seconds without an answer, TensorFlow gives up waiting.
_HEALTH_INTERVAL = 10


class LostWorkerError(DfkError):
    """Another of the workers that train together is gone; the message says how to go on."""


def prepare(config: Config) -> None:
    """Sets up the strategy of `config`: of several machines before TensorFlow does anything else.

    Raises:
        UsageError: if there is nothing to set up, or a batch cannot be shared.
    """
    if config.fit.strategy == NONE:
        return
    if backend.on_jax():
        raise UsageError("--strategy is TensorFlow's; JAX uses all of its devices without it")
    count = of(config).num_replicas_in_sync
    batch_size = config.keras.batch_size
    if batch_size % count:
        raise UsageError(f"--batch_size={batch_size} does not divide among {count} devices")


def of(config: Config) -> tf.distribute.Strategy | None:
    """The strategy that `config` names; None for none."""
    return None if config.fit.strategy == NONE else _made(config.fit.strategy)


def scope(config: Config) -> contextlib.AbstractContextManager:
    """Within it, variables are made for the strategy of `config`."""
    strategy = of(config)
    return strategy.scope() if strategy else contextlib.nullcontext()


def is_chief() -> bool:
    """Whether this process writes what a run leaves: it does unless it is another's worker."""
    return workers()[0] == 0


def workers() -> tuple[int, int]:
    """(i, n): this is the i-th of n processes that train together; (0, 1) alone."""
    if MULTI_WORKER not in _MADE:
        return 0, 1
    resolver = _MADE[MULTI_WORKER].cluster_resolver
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def synchronize(network: keras.Model) -> None:
    """Lets BatchNormalization take its statistics of a whole batch, on whichever devices it lies.

    So the number of devices changes nothing but rounding.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def holdout(config: Config, split: Split) -> Split:
    """What of a split this process scores while it trains.

    Of several machines each scores its share. Several devices of one share every batch, and
    Keras wants equal shares: up to an image a device less one is left out, which nothing but the
    choice of the best epoch sees.
    """
    index, count = workers()
    if count > 1:
        return split.take(range(index, len(split), count))
    if config.fit.strategy == NONE:
        return jax_devices.divided(split)
    return split.take(range(len(split) - len(split) % of(config).num_replicas_in_sync))


def wait_for_all() -> None:
    """Returns when every worker has come here."""
    if workers()[1] > 1:
        strategy = _MADE[MULTI_WORKER]
        with lost_workers_named():
            _meet(strategy)


@tf.function
def _meet(strategy: tf.distribute.Strategy) -> tf.Tensor:
    ones = strategy.run(lambda: tf.ones([]))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)


@contextlib.contextmanager
def lost_workers_named() -> Iterator[None]:
    """Turns what TensorFlow raises where another worker does not answer into a plain message."""
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.DeadlineExceededError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
    ) as error:
        if workers()[1] == 1:
            raise
        raise LostWorkerError(
            "another worker is gone, or does not answer; start all of them again with --resume to "
            "go on after the last whole epoch"
        ) from error


def digest(network: keras.Model) -> str:
    """SHA-256 of all weights, to compare those of workers."""
    sha256 = hashlib.sha256()
    for weight in network.get_weights():
        sha256.update(weight.tobytes())
    return sha256.hexdigest()


# A process makes each once.
_MADE: dict[str, tf.distribute.Strategy] = {}


def _made(name: str) -> tf.distribute.Strategy:
    if name not in _MADE:
        tf.get_logger().setLevel("ERROR")  # It would tell of every all-reduce.
        _MADE[name] = {MIRRORED: _mirrored, MULTI_WORKER: _multi_worker, TPU: _tpu}[name]()
    return _MADE[name]


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker() -> tf.distribute.Strategy:
    _check_cluster(os.environ.get("TF_CONFIG", ""))
    try:
        # No timeout among its options: for each operation, it has a thread sleep that long.
        made = tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, tf.errors.OpError) as error:
        raise DfkError(f"the workers of TF_CONFIG did not find each other: {error}") from error
    made.extended._check_health_interval = _HEALTH_INTERVAL  # Not public; without it, 30
    return made


def _check_cluster(text: str) -> None:
    """Refuses a TF_CONFIG that does not name a cluster of workers and this process in it."""
    try:
        told = json.loads(text)
        names, task = told["cluster"]["worker"], told["task"]
        good = task["type"] == "worker" and 0 <= int(task["index"]) < len(names)
    except (ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise UsageError(
            "--strategy=multi_worker needs TF_CONFIG in the environment, such as "
            '{"cluster": {"worker": ["host1:5000", "host2:5000"]}, "task": {"type": "worker", '
            '"index": 0}} on the first of two machines'
        )


def _tpu() -> tf.distribute.Strategy:
    try:
        # Without a name it would ask the network for one.
        name = os.environ.get("TPU_NAME", "local")
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UsageError(
            "--strategy=tpu: this TensorFlow sees no TPU (the last build for TPUs is "
            "tensorflow-tpu 2.20); KERAS_BACKEND=jax trains on newer ones"
        ) from error
