"""Arrays that may not fit in memory: a large one is mapped from an unnamed file, which is deleted with the array."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from sernb.utils.machine import total_memory

MEMORY_SHARE = 8  # an array larger than this part (an eighth) of the memory goes to disk: several exist at a time
BLOCK_BYTES = 2**26  # bytes that are processed at once


class MemoryLimitError(ValueError):
    """`$SERNB_MEMORY` is not a number of megabytes."""


def memory_limit() -> int:
    """Return the bytes up to which an array is held in memory: `$SERNB_MEMORY` (in MB), or an eighth of the memory.

    Raises:
        MemoryLimitError: `$SERNB_MEMORY` is not a number, or is negative.
    """
    if not (text := os.environ.get("SERNB_MEMORY")):
        return total_memory() // MEMORY_SHARE
    try:
        if (size := int(float(text) * 1e6)) >= 0:
            return size
    except (ValueError, OverflowError):
        pass
    raise MemoryLimitError(f"SERNB_MEMORY must be a number of megabytes, or not set (got {text!r})")


def allocate(shape: tuple[int, ...], folder: Path) -> np.ndarray:
    """Return a float32 array of zeros, in memory or, if it is larger than `memory_limit()`, mapped from a file.

    Args:
        shape: Of the array.
        folder: Where the file is created; on a disk, which the system's folder for temporary files need not be.

    Returns:
        An array, or a `numpy.memmap`.

    Raises:
        MemoryLimitError: As in `memory_limit`.
        OSError: The disk has no space for it.
    """
    size = 4 * math.prod(shape)
    if size <= memory_limit():
        return np.zeros(shape, dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        reserve_disk(file, size)
        return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)


def reserve_disk(file: IO[bytes], size: int, *, start: int = 0) -> None:
    """Reserve space for a file that is to be mapped: a disk that is full when a page is written kills the process.

    Args:
        file: Open for writing.
        size: Of the space, in bytes.
        start: Where it begins; the bytes before it stay.

    Raises:
        OSError: The disk has no space for it.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), start, size)
        return
    file.seek(start)  # macOS and Windows
    for offset in range(0, size, BLOCK_BYTES):
        file.write(bytes(min(BLOCK_BYTES, size - offset)))
    file.flush()


def is_memmap(x: np.ndarray) -> bool:
    """Return whether an array, such as a slice of another, is mapped from a file: a copy may not fit in memory."""
    return isinstance(x, np.memmap)


def row_blocks(x: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield the indices of some rows of an array (default: all) in blocks that are small enough to be copied."""
    rows = np.arange(len(x)) if rows is None else rows
    size = max(1, BLOCK_BYTES // max(1, x.nbytes // max(1, len(x))))
    yield from (rows[start : start + size] for start in range(0, len(rows), size))
