"""From the rows of a feature store to one array; a large set is kept as it was assembled, to be mapped again.

A mapped file costs a check of its bytes, where rows must be found, checked and put into their places one by one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import shutil
import sqlite3
import tempfile
import time
import zlib
from collections import Counter
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from sernb import utils
from sernb.features.store import FEATURE_TABLE
from sernb.features.store import allocate_features
from sernb.features.store import decode_row
from sernb.features.store import fetch

KEYS_PER_SELECT = 64  # arrays
MIN_ARRAYS_KEPT = 512  # arrays: a smaller set is assembled in a moment
CHECKSUM_BLOCK = 2**24  # bytes whose checksum a thread takes at once
STALE_SECONDS = 3600  # seconds: who assembles for as long was killed


def load_stacked(place: Path, keys: Sequence[str]) -> np.ndarray | None:
    """A set of arrays that has been assembled before; None if it has not, or its file is not what was written.

    Args:
        place: The store that the arrays came from.
        keys: Of the arrays, in their order.

    Returns:
        The array that `make` returned; what is changed in it is not changed in the file.
    """
    for file in place.parent.glob(f"{_file_stem(place, keys)}-*.npy"):
        with contextlib.suppress(OSError, ValueError):  # gone by now, or empty
            if file.stem.endswith(f"-{_file_checksum(file):08x}"):
                with contextlib.suppress(PermissionError):  # somebody else's
                    os.utime(file)  # the one that was not asked for the longest goes first: see `_make_way`
                return _open_map(file)
            file.unlink()
    return None


def stack(place: Path, keys: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Assemble the arrays of all keys, pictures padded to the longest clip's frames; and the keys found damaged.

    Raises:
        StoreError: The store cannot be read, or there is no room for the array.
    """
    return utils.run_transaction(place, partial(_stack, place=place, keys=keys), FEATURE_TABLE)


def _stack(there: sqlite3.Connection, place: Path, keys: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    known = _array_sizes(there, set(keys))
    if damaged := [key for key in keys if key not in known]:
        return np.empty(0), damaged
    frames, shape = max(known[key][0] for key in keys), known[keys[0]][1]
    shape = (len(keys), *shape[:-1], frames or shape[-1])
    if len(keys) >= MIN_ARRAYS_KEPT:
        with contextlib.suppress(OSError):  # no room, or not writable: no reason to stop
            return _stack_to_file(there, place, keys, shape, frames)
    out = allocate_features(shape)
    return out, _stack_rows(out, there, keys, frames)


def _stack_to_file(
    there: sqlite3.Connection, place: Path, keys: Sequence[str], shape: tuple[int, ...], frames: int
) -> tuple[np.ndarray, list[str]]:
    """The arrays of all keys, in a file that has its checksum in its name."""
    stem = _file_stem(place, keys)
    with tempfile.TemporaryDirectory(prefix=f"{stem}-", dir=place.parent, ignore_cleanup_errors=True) as folder:
        file = Path(folder, "set.npy")
        out = np.lib.format.open_memmap(file, mode="w+", dtype="<f4", shape=shape)
        with open(file, "r+b") as opened:
            utils.reserve_disk(opened, file.stat().st_size, place.parent)
        if damaged := _stack_rows(out, there, keys, frames):
            return np.empty(0), damaged
        del out  # what is mapped cannot be renamed everywhere
        kept = file.replace(place.with_name(f"{stem}-{_file_checksum(file):08x}.npy"))
    _evict(place, kept)
    return _open_map(kept), []


def _file_stem(place: Path, keys: Sequence[str]) -> str:
    digest = hashlib.blake2b("\n".join(keys).encode("utf-8", "surrogateescape"), digest_size=8)
    return f"{place.stem}-{digest.hexdigest()}"


def _open_map(file: Path) -> np.ndarray:
    """The array of a file, as a private copy of which only what is changed takes memory."""
    with open(file, "rb") as opened:
        np.lib.format.read_magic(opened)
        shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
        offset = opened.tell()
        if 4 * math.prod(shape) > utils.memory_limit():
            return np.memmap(file, dtype, mode="c", offset=offset, shape=shape)
        # One that memory is meant for is not a `numpy.memmap`: see `large`.
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.frombuffer(content, dtype, offset=offset).reshape(shape)


def _file_checksum(file: Path) -> int:
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        starts = range(0, len(content), CHECKSUM_BLOCK)
        with memoryview(content) as view, ThreadPoolExecutor() as pool:
            found = list(pool.map(lambda start: zlib.crc32(view[start : start + CHECKSUM_BLOCK]), starts))
    return zlib.crc32(repr(found).encode())


def _evict(place: Path, newest: Path) -> None:
    """Sets of one store take at most as much of the disk as the store itself; the newest stays in any case."""
    left = place.stat().st_size
    with contextlib.suppress(FileNotFoundError):  # another process makes way too
        others = sorted(place.parent.glob(f"{place.stem}-*"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in [newest, *(file for file in others if file != newest)]:
            left -= file.stat().st_size
            if file.is_dir() and time.time() - file.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(file, ignore_errors=True)
            elif file.is_file() and file != newest and left < 0:
                file.unlink()


def _stack_rows(out: np.ndarray, there: sqlite3.Connection, keys: Sequence[str], frames: int) -> list[str]:
    """Lay the arrays of all keys into their places; returns the keys of those that are damaged."""
    damaged: list[str] = []
    chunks = [range(start, min(start + KEYS_PER_SELECT, len(keys))) for start in range(0, len(keys), KEYS_PER_SELECT)]
    pending: deque[Future] = deque()
    with ThreadPoolExecutor() as pool:
        for chunk in chunks:
            rows = {i: fetch(there, keys[i]) for i in chunk}
            pending.append(pool.submit(_copy_rows, out, keys, rows, frames))
            if len(pending) > 4:  # what is read and not yet laid is in memory twice
                damaged += pending.popleft().result()
        for future in pending:
            damaged += future.result()
    return damaged


def _copy_rows(out: np.ndarray, keys: Sequence[str], rows: dict[int, tuple | None], frames: int) -> list[str]:
    damaged = []
    for i, row in rows.items():
        if (array := decode_row(keys[i], row)) is None:
            damaged.append(keys[i])
            continue
        array = array[..., :frames] if frames else array
        out[i, ..., : array.shape[-1]] = array
        out[i, ..., array.shape[-1] :] = array[..., -1:]
    return damaged


def _array_sizes(there: sqlite3.Connection, keys: set[str]) -> dict[str, tuple[int, list[int]]]:
    """Frames and shape of the arrays of some keys, without those that contradict themselves or the others."""
    found = {}
    for key, frames, text, size in there.execute("SELECT key, frames, shape, length(data) FROM features"):
        with contextlib.suppress(ValueError, TypeError, LookupError):
            shape = json.loads(text)
            whole = min(shape) > 0 and math.prod(shape) * 4 == size
            if key in keys and whole and 0 <= frames <= shape[-1]:
                found[key] = frames, shape
    usual = Counter(tuple(shape[:-1]) for _, shape in found.values()).most_common(1)
    return {key: sizes for key, sizes in found.items() if tuple(sizes[1][:-1]) == usual[0][0]}
