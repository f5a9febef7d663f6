"""Floor 0: the feature store: one SQLite file for each feature and its settings, one row a clip.

SQLite's transactions keep a file whole when a run is killed and when several run at once. A row's checksum covers all
of it: what a disk has changed is noticed and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sqlite3
import zlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TypeVar

import numpy as np
import platformdirs

from sernb import large

T = TypeVar("T")
# Errors that another file in this place would meet too: no permission, busy for long, read-only, a disk that is full or
# fails. After any other error of SQLite's the file is not what was written.
OUTSIDE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOLFS,
}
FEATURES = "features(key TEXT PRIMARY KEY, frames INTEGER, shape TEXT, crc INTEGER, data BLOB)"
PAGE = 65536  # bytes: arrays are large, and SQLite moves a page at a time
TURNS = 64  # how many sets of features may be extracted at a time


class StoreError(OSError):
    """A place where features cannot be kept, with the remedy."""


def folder() -> Path:
    """Where features are kept: `$SERNB_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("SERNB_CACHE") or platformdirs.user_cache_path("sernb")).expanduser() / "features"


def place(recipe: dict, *, version: int) -> Path:
    """The file of a feature and its settings, as these versions of packages and of the store compute it."""
    made_by = {package: version_of(package) for package in ("librosa", "scipy", "soxr")}
    described = json.dumps({**recipe, **made_by, "store": version}, sort_keys=True)
    return folder() / f"{recipe['feature']}-{hashlib.sha256(described.encode()).hexdigest()[:12]}.sqlite"


def working(path: Path, work: Callable[[sqlite3.Connection], T], table: str = FEATURES) -> T:
    """Do some work on a store; one that is no longer what was written is put away, and the work begins anew.

    Args:
        path: The store's file.
        work: Is given the store.
        table: The table that the store has, which is made if need be.

    Raises:
        StoreError: The store cannot be read or written, with the remedy.
    """
    for last in (False, True):
        try:
            with closing(_open(path, table)) as there:
                return work(there)
        except sqlite3.DatabaseError as error:
            if last or getattr(error, "sqlite_errorcode", 0) & 0xFF in OUTSIDE:
                raise trouble(path, str(error)) from error
        put_away(path)
    raise AssertionError("unreachable")


def trouble(path: Path, reason: str) -> StoreError:
    """The error of a store that cannot be read or written."""
    remedy = "Free some space, or set SERNB_CACHE to another folder that can be written"
    return StoreError(f"the feature store {path}: {reason}. {remedy}; what was extracted before is kept.")


def put_away(path: Path) -> None:
    """Take a store that is no longer what was written out of the way."""
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        path.replace(path.with_suffix(".damaged"))
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def _open(path: Path, table: str) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise trouble(path, error.strerror) from error
    # Others write for moments only; who waits this long waits for a machine that hangs.
    there = sqlite3.connect(path, timeout=120)
    there.execute(f"PRAGMA page_size = {PAGE}")
    there.execute(f"CREATE TABLE IF NOT EXISTS {table}")
    return there


@contextlib.contextmanager
def turns(sets: Iterable[Iterable[str]]) -> Iterator[None]:
    """Wait until no other process extracts one of these very sets; a process that dies gives its turn away.

    Sets that differ do not wait for each other: a long extraction must not hold up a short one.
    """
    from filelock import FileLock

    texts = ["\n".join(sorted(keys)).encode("utf-8", "surrogateescape") for keys in sets]
    # Each once, and by all processes in one order, or two could wait for each other.
    numbers = sorted({zlib.crc32(text) % TURNS for text in texts})
    with contextlib.ExitStack() as stack:
        for number in numbers:
            lock = FileLock(folder() / "turns" / f"{number:02}.lock")
            try:
                Path(lock.lock_file).parent.mkdir(exist_ok=True)
                stack.enter_context(lock)
            except OSError as error:
                raise trouble(folder(), error.strerror) from error
        yield


def lacking(there: sqlite3.Connection, keys: Iterable[str]) -> list[str]:
    """Those of some keys that the store does not have."""
    found = {key for (key,) in there.execute("SELECT key FROM features")}
    return [key for key in keys if key not in found]


def put(there: sqlite3.Connection, done: list[tuple[str, int, np.ndarray]]) -> None:
    """Write and forget what is done: a killed run keeps it, and others are locked out for no longer than this takes."""
    there.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", [_row(*one) for one in done])
    there.commit()
    done.clear()


def drop(there: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Forget some arrays."""
    there.executemany("DELETE FROM features WHERE key = ?", [(key,) for key in keys])
    there.commit()


def _row(key: str, frames: int, array: np.ndarray) -> tuple:
    data, shape = array.astype("<f4").tobytes(), json.dumps(array.shape)
    return key, frames, shape, _checksum(key, frames, shape, data), data


def _checksum(key: str, frames: int, shape: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{key} {frames} {shape}".encode()))


def get(there: sqlite3.Connection, key: str) -> tuple | None:
    """The row of a key, as it is; None if there is none."""
    return there.execute("SELECT frames, shape, crc, data FROM features WHERE key = ?", (key,)).fetchone()


def whole(key: str, row: tuple | None) -> np.ndarray | None:
    """The array that a row holds, or None if it is not what was stored."""
    if row is None or not isinstance(row[3], bytes) or _checksum(key, *row[:2], row[3]) != row[2]:
        return None
    return np.frombuffer(row[3], "<f4").reshape(json.loads(row[1]))


def room(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros for so many features, float32: in memory, or beside the store if they are too many (see `large`).

    Raises:
        StoreError: The disk has no room for them.
    """
    try:
        return large.zeros(shape, folder())
    except OSError as error:
        raise trouble(folder(), f"{4 * math.prod(shape) / 1e9:.1f} GB for an array: {error.strerror}") from error
