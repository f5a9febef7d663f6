"""The feature store: an SQLite file per feature and its settings, and a memory-mapped file for each large set of clips.

SQLite's transactions keep a file intact when a run is killed and when several run at once. Every row and every mapped
file has a checksum: what the disk has damaged is noticed and computed again.
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
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sernb import utils

FEATURE_TABLE = "features(key TEXT PRIMARY KEY, frames INTEGER, shape TEXT, crc INTEGER, data BLOB)"
PACKAGES = ("librosa", "scipy", "soxr")  # what features are computed with
LOCK_COUNT = 64  # sets of features that may be extracted at the same time
MIN_ARRAYS_KEPT = 512  # a smaller set is read from SQLite quickly enough
CHECKSUM_BLOCK = 2**24  # bytes that one thread takes the checksum of at a time
STALE_SECONDS = 3600  # a process that has been writing a set for that long was killed


def store_path(recipe: dict, code: str, packages: Sequence[str] = PACKAGES) -> Path:
    """Return the file that holds a feature.

    Args:
        recipe: The feature's name and settings.
        code: A digest of the source that computes it.
        packages: Those whose versions matter too.
    """
    versions = {package: version(package) for package in packages}
    digest = utils.text_digest(json.dumps({**recipe, **versions, "code": code}, sort_keys=True))
    return utils.cache_dir() / f"{recipe['feature']}-{digest[:12]}.sqlite"


@contextlib.contextmanager
def extraction_locks(sets: Iterable[Iterable[str]]) -> Iterator[None]:
    """Wait until no other process extracts one of these very sets of keys; a process that dies releases its locks.

    Different sets do not wait for each other: a long extraction must not hold up a short one.
    """
    from filelock import FileLock

    texts = ["\n".join(sorted(keys)).encode("utf-8", "surrogateescape") for keys in sets]
    # All processes take their locks in the same order, or two could wait for each other.
    numbers = sorted({zlib.crc32(text) % LOCK_COUNT for text in texts})
    with contextlib.ExitStack() as locks:
        for number in numbers:
            lock = FileLock(utils.cache_dir() / "turns" / f"{number:02}.lock")
            try:
                Path(lock.lock_file).parent.mkdir(exist_ok=True)
                locks.enter_context(lock)
            except OSError as error:
                raise utils.storage_error(utils.cache_dir(), error.strerror) from error
        yield


# rows of the SQLite file


def missing_keys(connection: sqlite3.Connection, keys: Iterable[str]) -> list[str]:
    """Return those of some keys that the store does not have."""
    stored = {key for (key,) in connection.execute("SELECT key FROM features")}
    return [key for key in keys if key not in stored]


def frame_counts(connection: sqlite3.Connection, keys: Sequence[str]) -> list[int]:
    """Return the number of frames of each clip itself, without padding."""
    frames = dict(connection.execute("SELECT key, frames FROM features"))
    return [frames[key] for key in keys]


def insert(connection: sqlite3.Connection, results: list[tuple[str, int, np.ndarray]]) -> None:
    """Write (key, frames, array) rows and empty the list: a killed run keeps them, and the lock is held briefly."""
    rows = [_encode_row(*result) for result in results]
    connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    results.clear()


def delete(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Delete the rows of some keys."""
    connection.executemany("DELETE FROM features WHERE key = ?", [(key,) for key in keys])
    connection.commit()


def forget_recordings(digests: Iterable[str]) -> int:
    """Delete the features of recordings, and every mapped set of a store that had one; return how many were deleted.

    Args:
        digests: The SHA-256 of each recording's file; its augmented copies are deleted too.
    """
    deleted = 0
    for path in sorted(utils.cache_dir().glob("*-*.sqlite")):
        if count := utils.run_transaction(path, partial(_forget, digests=list(digests)), FEATURE_TABLE):
            deleted += count
            for file in path.parent.glob(f"{path.stem}-*.npy"):
                file.unlink(missing_ok=True)
    return deleted


def _forget(connection: sqlite3.Connection, digests: list[str]) -> int:
    connection.execute("PRAGMA secure_delete = ON")  # overwrite the deleted rows with zeros
    with connection:
        cursor = connection.executemany(
            "DELETE FROM features WHERE key = ? OR key LIKE ? || ':%'", [(digest, digest) for digest in digests]
        )
    return cursor.rowcount


def _encode_row(key: str, frames: int, array: np.ndarray) -> tuple:
    data, shape = array.astype("<f4").tobytes(), json.dumps(array.shape)
    return key, frames, shape, _checksum(key, frames, shape, data), data


def _checksum(key: str, frames: int, shape: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{key} {frames} {shape}".encode()))


def decode_row(key: str, row: tuple | None) -> np.ndarray | None:
    """Return the array of a row (frames, shape, crc, data), or None if it is not what was stored."""
    if row is None or not isinstance(row[3], bytes) or _checksum(key, *row[:2], row[3]) != row[2]:
        return None
    return np.frombuffer(row[3], "<f4").reshape(json.loads(row[1]))


# one array of many rows


def stack(path: Path, keys: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Read the arrays of all keys into one, padded to the longest clip's frames; a large one is kept as a file to map.

    Returns:
        The array, and the keys of rows that are damaged or missing; where there are any the array is not valid.

    Raises:
        StoreError: The store cannot be read, or there is no space for the array.
    """
    return utils.run_transaction(path, partial(_stack, path=path, keys=keys), FEATURE_TABLE)


def _stack(connection: sqlite3.Connection, path: Path, keys: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    sizes = _array_sizes(connection, set(keys))
    if damaged := [key for key in keys if key not in sizes]:
        return np.empty(0), damaged
    frames, shape = max(sizes[key][0] for key in keys), sizes[keys[0]][1]
    shape = (len(keys), *shape[:-1], frames or shape[-1])
    if len(keys) >= MIN_ARRAYS_KEPT:
        with contextlib.suppress(OSError):  # no space, or not writable: build it in memory
            return _stack_to_file(connection, path, keys, shape)
    out = allocate_features(shape)
    return out, _copy_rows(out, connection, keys)


def _array_sizes(connection: sqlite3.Connection, keys: set[str]) -> dict[str, tuple[int, list[int]]]:
    """Return frames and shape of the arrays of some keys, without those that contradict themselves or the others."""
    sizes = {}
    for key, frames, text, size in connection.execute("SELECT key, frames, shape, length(data) FROM features"):
        with contextlib.suppress(ValueError, TypeError, LookupError):
            shape = json.loads(text)
            complete = min(shape) > 0 and math.prod(shape) * 4 == size
            if key in keys and complete and 0 <= frames <= shape[-1]:
                sizes[key] = frames, shape
    usual = Counter(tuple(shape[:-1]) for _, shape in sizes.values()).most_common(1)
    return {key: size for key, size in sizes.items() if tuple(size[1][:-1]) == usual[0][0]}


def _copy_rows(out: np.ndarray, connection: sqlite3.Connection, keys: Sequence[str]) -> list[str]:
    """Copy the arrays of all keys into one, repeating their last frame; return the keys of those that are damaged."""
    damaged = []
    for key, target in zip(keys, out, strict=True):
        query = "SELECT frames, shape, crc, data FROM features WHERE key = ?"
        array = decode_row(key, connection.execute(query, (key,)).fetchone())
        if array is None:
            damaged.append(key)
            continue
        frames = min(array.shape[-1], target.shape[-1])
        target[..., :frames] = array[..., :frames]
        target[..., frames:] = array[..., -1:]
    return damaged


def allocate_features(shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 array of zeros: in memory, or beside the store if it is too large (see `utils.allocate`).

    Raises:
        StoreError: The disk has no space for it.
    """
    try:
        return utils.allocate(shape, utils.cache_dir())
    except OSError as error:
        reason = f"{4 * math.prod(shape) / 1e9:.1f} GB for an array: {error.strerror}"
        raise utils.storage_error(utils.cache_dir(), reason) from error


# large sets, kept as files to map


def load_stacked(path: Path, keys: Sequence[str]) -> np.ndarray | None:
    """Return a set of arrays that an earlier call of `stack` has kept; changes to it do not change the file.

    Args:
        path: The store that the arrays came from.
        keys: Of the arrays, in their order.

    Returns:
        The array; None if it was not kept, or its file is damaged.
    """
    for file in path.parent.glob(f"{_file_stem(path, keys)}-*.npy"):
        with contextlib.suppress(OSError, ValueError):  # gone by now, or empty
            if file.stem.endswith(f"-{_file_checksum(file):08x}"):
                with contextlib.suppress(PermissionError):  # another user's file
                    os.utime(file)  # the set that was not used for the longest is removed first: see `_evict`
                return _open_map(file)
            file.unlink()
    return None


def _stack_to_file(
    connection: sqlite3.Connection, path: Path, keys: Sequence[str], shape: tuple[int, ...]
) -> tuple[np.ndarray, list[str]]:
    """Stack the arrays of all keys in a file that has its checksum in its name, and map it."""
    stem = _file_stem(path, keys)
    with tempfile.TemporaryDirectory(prefix=f"{stem}-", dir=path.parent, ignore_cleanup_errors=True) as folder:
        file = Path(folder, "set.npy")
        out = np.lib.format.open_memmap(file, mode="w+", dtype="<f4", shape=shape)
        with open(file, "r+b") as opened:
            utils.reserve_disk(opened, out.nbytes, start=out.offset)
        if damaged := _copy_rows(out, connection, keys):
            return np.empty(0), damaged
        del out  # Windows does not rename a file that is mapped
        final = file.replace(path.with_name(f"{stem}-{_file_checksum(file):08x}.npy"))
    _evict(path, final)
    return _open_map(final), []


def _file_stem(path: Path, keys: Sequence[str]) -> str:
    digest = hashlib.blake2b("\n".join(keys).encode("utf-8", "surrogateescape"), digest_size=8)
    return f"{path.stem}-{digest.hexdigest()}"


def _open_map(file: Path) -> np.ndarray:
    """Map the array of a file as a private copy, of which only what is changed takes memory."""
    with open(file, "rb") as opened:
        np.lib.format.read_magic(opened)
        shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
        offset = opened.tell()
        if 4 * math.prod(shape) > utils.memory_limit():
            return np.memmap(file, dtype, mode="c", offset=offset, shape=shape)
        # One that fits in memory must not be a `numpy.memmap`: see `utils.is_memmap`.
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.frombuffer(content, dtype, offset=offset).reshape(shape)


def _file_checksum(file: Path) -> int:
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        starts = range(0, len(content), CHECKSUM_BLOCK)
        with memoryview(content) as view, ThreadPoolExecutor(utils.cpu_count()) as pool:
            checksums = list(pool.map(lambda start: zlib.crc32(view[start : start + CHECKSUM_BLOCK]), starts))
    return zlib.crc32(repr(checksums).encode())


def _evict(path: Path, newest: Path) -> None:
    """Remove the oldest sets of a store until the sets are no larger than the store itself; the newest one stays."""
    free = path.stat().st_size - newest.stat().st_size
    for file in sorted(path.parent.glob(f"{path.stem}-*"), key=_last_use, reverse=True):
        with contextlib.suppress(OSError):  # removed by another process, or mapped by one (Windows)
            if file.is_dir() and time.time() - _last_use(file) > STALE_SECONDS:
                shutil.rmtree(file, ignore_errors=True)
            elif file.is_file() and file != newest:
                free -= file.stat().st_size
                if free < 0:
                    file.unlink()


def _last_use(file: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_mtime
    return 0.0
