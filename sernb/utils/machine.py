"""The processor cores and the memory that this process may use."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

CPU_FACTS = Path("/proc/cpuinfo")  # on Linux
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def cpu_count() -> int:
    """Return the cores that this process may use: the machine's, less what affinity or a container's quota takes."""
    import joblib

    return joblib.cpu_count()


def multiplies_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16; True where this cannot be found out."""
    try:
        words = set(CPU_FACTS.read_text().split())
    except OSError:
        return True
    return bool(words & BFLOAT16_FLAGS) or not words & {"flags", "Features"}


@functools.cache
def total_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or its container's limit."""
    import psutil

    limits = [psutil.virtual_memory().total]
    for file in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(file).read_text()))
    return min(limits)
