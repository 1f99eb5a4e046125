"""What this machine computes with, and the precision that follows from it."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil

from dfk.system import backend


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


def available_bytes() -> float:
    """Main memory that this process may still take: of the machine, its container and its shell."""
    return max(0, min(psutil.virtual_memory().available, _left_in_cgroup(), _left_to_process()))


def _left_to_process() -> float:
    """What `ulimit -v` leaves; infinite without."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    return math.inf if limit == resource.RLIM_INFINITY else limit - used


def _left_in_cgroup(root: Path = Path("/sys/fs/cgroup")) -> float:
    """What the groups leave that this process is in; infinite without limits."""
    left = math.inf
    for group in _cgroups(root):
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file "),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
        ):
            try:
                most, used = (group / limit).read_text().strip(), int((group / usage).read_text())
                stat = (group / "memory.stat").read_text().splitlines()
            except (OSError, ValueError):
                continue
            if most != "max":  # The system gives the cache of files back when it is asked.
                cached = sum(int(x.removeprefix(cache)) for x in stat if x.startswith(cache))
                left = min(left, int(most) - used + cached)
    return left


def _cgroups(root: Path) -> Iterator[Path]:
    """The folders of the groups of memory, versions 1 and 2, that this process is in."""
    yield from (root, root / "memory")  # What a container shows of itself
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = root / controllers
            group = top / path.lstrip("/")
            yield from (folder for folder in (group, *group.parents) if top in folder.parents)


def gpus() -> list[str]:
    """The names of the GPUs, or TPUs, that Keras' backend sees."""
    return [name for name, _ in _accelerators()]


def _accelerators() -> list[tuple[str, bool]]:
    """The name of each, and whether it computes in bfloat16."""
    if backend.on_jax():
        import jax

        accelerators = [device for device in jax.devices() if device.platform != "cpu"]
        return [(device.device_kind, _jax_computes_in_bfloat16(device)) for device in accelerators]
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
