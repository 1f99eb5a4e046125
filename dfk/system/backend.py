"""What Keras computes with: TensorFlow, or JAX with KERAS_BACKEND=jax in the environment."""

from __future__ import annotations

import contextlib
import importlib.util
import os

from dfk.errors import UsageError

BACKENDS = ("tensorflow", "jax")


def chosen() -> str:
    """The backend that the environment asks for."""
    return os.environ.get("KERAS_BACKEND") or "tensorflow"


def on_jax() -> bool:
    """Whether Keras runs on JAX."""
    import keras

    return keras.backend.backend() == "jax"


def check() -> None:
    """Refuses a backend that dfk does not know, or that is not installed, before Keras fails on it.

    Raises:
        UsageError: saying what to do.
    """
    backend = chosen()
    if backend not in BACKENDS:
        raise UsageError(f"KERAS_BACKEND={backend}: dfk runs on {' or '.join(BACKENDS)}")
    if importlib.util.find_spec(backend) is None:
        what = "it is not installed; pip install 'dfk-keras[jax]'"
        raise UsageError(f"KERAS_BACKEND={backend}: {what}")


def keep_tensorflow_to_cpu() -> None:
    """Leaves the GPUs to JAX: TensorFlow, which decodes and makes batches, would take their memory.

    To be called before TensorFlow has computed anything.
    """
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # It has begun, and taken what it takes.
        tf.config.set_visible_devices([], "GPU")
