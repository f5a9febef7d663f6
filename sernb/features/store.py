"""The feature store: one SQLite file for each feature and its settings, one row a clip.

SQLite's transactions keep a file whole when a run is killed and when several run at once. A row's checksum covers all
of it: what a disk has changed is noticed and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
import zlib
from collections.abc import Iterable
from collections.abc import Iterator
from importlib.metadata import version as version_of
from pathlib import Path

import numpy as np

from sernb import utils

FEATURE_TABLE = "features(key TEXT PRIMARY KEY, frames INTEGER, shape TEXT, crc INTEGER, data BLOB)"
LOCK_COUNT = 64  # how many sets of features may be extracted at a time


def store_path(recipe: dict, *, version: int) -> Path:
    """The file of a feature and its settings, as these versions of packages and of the store compute it."""
    made_by = {package: version_of(package) for package in ("librosa", "scipy", "soxr")}
    described = json.dumps({**recipe, **made_by, "store": version}, sort_keys=True)
    return utils.cache_dir() / f"{recipe['feature']}-{hashlib.sha256(described.encode()).hexdigest()[:12]}.sqlite"


@contextlib.contextmanager
def extraction_locks(sets: Iterable[Iterable[str]]) -> Iterator[None]:
    """Wait until no other process extracts one of these very sets; a process that dies gives its turn away.

    Sets that differ do not wait for each other: a long extraction must not hold up a short one.
    """
    from filelock import FileLock

    texts = ["\n".join(sorted(keys)).encode("utf-8", "surrogateescape") for keys in sets]
    # Each once, and by all processes in one order, or two could wait for each other.
    numbers = sorted({zlib.crc32(text) % LOCK_COUNT for text in texts})
    with contextlib.ExitStack() as stack:
        for number in numbers:
            lock = FileLock(utils.cache_dir() / "turns" / f"{number:02}.lock")
            try:
                Path(lock.lock_file).parent.mkdir(exist_ok=True)
                stack.enter_context(lock)
            except OSError as error:
                raise utils.storage_error(utils.cache_dir(), error.strerror) from error
        yield


def missing_keys(there: sqlite3.Connection, keys: Iterable[str]) -> list[str]:
    """Those of some keys that the store does not have."""
    found = {key for (key,) in there.execute("SELECT key FROM features")}
    return [key for key in keys if key not in found]


def insert(there: sqlite3.Connection, done: list[tuple[str, int, np.ndarray]]) -> None:
    """Write and forget what is done: a killed run keeps it, and others are locked out for no longer than this takes."""
    there.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", [_encode_row(*one) for one in done])
    there.commit()
    done.clear()


def delete(there: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Forget some arrays."""
    there.executemany("DELETE FROM features WHERE key = ?", [(key,) for key in keys])
    there.commit()


def _encode_row(key: str, frames: int, array: np.ndarray) -> tuple:
    data, shape = array.astype("<f4").tobytes(), json.dumps(array.shape)
    return key, frames, shape, _checksum(key, frames, shape, data), data


def _checksum(key: str, frames: int, shape: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{key} {frames} {shape}".encode()))


def fetch(there: sqlite3.Connection, key: str) -> tuple | None:
    """The row of a key, as it is; None if there is none."""
    return there.execute("SELECT frames, shape, crc, data FROM features WHERE key = ?", (key,)).fetchone()


def decode_row(key: str, row: tuple | None) -> np.ndarray | None:
    """The array that a row holds, or None if it is not what was stored."""
    if row is None or not isinstance(row[3], bytes) or _checksum(key, *row[:2], row[3]) != row[2]:
        return None
    return np.frombuffer(row[3], "<f4").reshape(json.loads(row[1]))


def allocate_features(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros for so many features, float32: in memory, or beside the store if they are too many (see `large`).

    Raises:
        StoreError: The disk has no room for them.
    """
    try:
        return utils.allocate(shape, utils.cache_dir())
    except OSError as error:
        raise utils.storage_error(
            utils.cache_dir(), f"{4 * math.prod(shape) / 1e9:.1f} GB for an array: {error.strerror}"
        ) from error
