"""What this machine computes with, and the precision that follows from it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from dfk import backend


def resolve_precision(precision: str) -> str:
    """Turns `auto` into `mixed_bfloat16` where the hardware computes in bfloat16, else `float32`.

    Decided by what the GPUs (compute capability 8 and up) or TPUs or, without one, the CPU
    (AVX512_BF16 or AMX) have, never by timing, so that a run repeats. JAX on a CPU gains
    nothing from bfloat16, and jaxlib 0.11.2 computes NaN in it.
    """
    if precision != "auto":
        return precision
    if accelerators := _accelerators():
        able = all(able for _, able in accelerators)
    elif backend.on_jax():
        able = False
    else:
        able = bool({"avx512_bf16", "amx_bf16"} & set(_cpuinfo("flags").split()))
    return "mixed_bfloat16" if able else "float32"


def cpu() -> str:
    """The CPU's name."""
    return _cpuinfo("model name") or platform.processor()


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> float:
    """Main memory of this machine; infinite where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return float("inf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def gpus() -> list[str]:
    """The names of the GPUs, or TPUs, that Keras' backend sees."""
    return [name for name, _ in _accelerators()]


def _accelerators() -> list[tuple[str, bool]]:
    """The name of each, and whether it computes in bfloat16."""
    if backend.on_jax():
        import jax

        found = [device for device in jax.devices() if device.platform != "cpu"]
        return [(device.device_kind, _jax_computes_in_bfloat16(device)) for device in found]
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(device) for device in devices]
    return [
        (x.get("device_name", "GPU"), x.get("compute_capability", (0, 0)) >= (8, 0))
        for x in details
    ]


def _jax_computes_in_bfloat16(device) -> bool:
    if device.platform == "tpu":
        return True
    capability = getattr(device, "compute_capability", "0.0")
    return tuple(map(int, str(capability).split("."))) >= (8, 0)


def _cpuinfo(key: str) -> str:
    """The first value of `key` in what Linux says of the CPU; "" elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
