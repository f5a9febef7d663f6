"""Arrays that may not fit in memory. A large one lies in a file that has no name and goes with the array."""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

MEMORY_SHARE = 8  # an array of more than this part of the machine's memory goes to disk: several are there at a time
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
BLOCK_BYTES = 2**26  # bytes that are worked on at once


class MemoryLimitError(ValueError):
    """A bound on memory that is no number."""


def memory_limit() -> int:
    """Bytes up to which an array is held in memory: `$SERNB_MEMORY` (in MB), or an eighth of all.

    Raises:
        LimitError: `$SERNB_MEMORY` is no number.
    """
    if not (told := os.environ.get("SERNB_MEMORY")):
        return total_memory() // MEMORY_SHARE
    try:
        if (size := int(float(told) * 1e6)) >= 0:
            return size
    except (ValueError, OverflowError):
        pass
    raise MemoryLimitError(f"SERNB_MEMORY is {told!r}; give a number of megabytes, or leave it out.")


@functools.cache
def total_memory() -> int:
    """Bytes of memory that this process may have: the machine's, or what its container is allowed."""
    import psutil

    allowed = [psutil.virtual_memory().total]
    for file in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            allowed.append(int(Path(file).read_text()))
    return min(allowed)


def allocate(shape: tuple[int, ...], folder: Path) -> np.ndarray:
    """An array of zeros, in memory or, if it is `large`, in a file in some folder.

    Args:
        shape: Of the array, which is float32.
        folder: On a disk, which the machine's folder for temporary files need not be; it is made.

    Returns:
        An array, or a `numpy.memmap`, which is one too.

    Raises:
        OSError: The disk has no room for it.
    """
    size = 4 * math.prod(shape)
    if size <= memory_limit():
        return np.zeros(shape, dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        reserve_disk(file, size, folder)
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)


def reserve_disk(file: IO[bytes], size: int, folder: Path) -> None:
    """Take room for a file that is to be mapped: a disk that is full only when a page is written kills the process.

    Args:
        file: Open for writing.
        size: In bytes.
        folder: Where the file lies.

    Raises:
        OSError: The disk has no room for it.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_memmap(x: np.ndarray) -> bool:
    """Whether an array, or what it is a view of, lies in a file: whoever copies it would need memory for all of it."""
    return isinstance(x, np.memmap)


def row_blocks(x: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """The numbers of some rows of an array, all if none are named, in blocks that are small enough to be copied."""
    rows = np.arange(len(x)) if rows is None else rows
    size = max(1, BLOCK_BYTES // max(1, x.nbytes // max(1, len(x))))
    yield from (rows[start : start + size] for start in range(0, len(rows), size))
