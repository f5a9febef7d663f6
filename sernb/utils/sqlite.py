"""SQLite files as caches: opened, replaced when damaged, with one readable error."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import platformdirs

T = TypeVar("T")
# Errors that a new file in the same folder would meet too: no permission, busy for long, read-only, a disk that is full
# or fails. After any other error of SQLite's the file is damaged.
ENVIRONMENT_ERRORS = {
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
PAGE_BYTES = 65536  # arrays are large, and SQLite reads and writes whole pages


class StoreError(OSError):
    """A cache file cannot be read or written; the message names the remedy."""


def cache_dir() -> Path:
    """Return the folder of the feature store: in `$SERNB_CACHE`, or in the user's cache folder."""
    return Path(os.environ.get("SERNB_CACHE") or platformdirs.user_cache_path("sernb")).expanduser() / "features"


def run_transaction(path: Path, work: Callable[[sqlite3.Connection], T], table: str) -> T:
    """Run a function on an SQLite file; a damaged file is moved away and the function run again on a new one.

    Args:
        path: The file.
        work: Takes the connection.
        table: The file's table as SQL defines it; it is created if need be.

    Raises:
        StoreError: The file cannot be read or written.
    """
    for last in (False, True):
        try:
            with closing(_connect(path, table)) as connection:
                return work(connection)
        except sqlite3.DatabaseError as error:
            if last or getattr(error, "sqlite_errorcode", 0) & 0xFF in ENVIRONMENT_ERRORS:
                raise storage_error(path, str(error)) from error
        quarantine(path)
    raise AssertionError("unreachable")


def storage_error(path: Path, reason: str) -> StoreError:
    """Return the error of a store that cannot be read or written, with the remedy."""
    remedy = "Free some space, or set SERNB_CACHE to another folder that can be written"
    return StoreError(f"cannot use the feature store {path}: {reason}. {remedy}; stored features are kept.")


def quarantine(path: Path) -> None:
    """Rename a damaged store, so that a new one can take its place."""
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        path.replace(path.with_suffix(".damaged"))
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def _connect(path: Path, table: str) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error.strerror) from error
    # Other processes write for moments only: after so long one of them hangs.
    connection = sqlite3.connect(path, timeout=120)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
    return connection
