"""SQLite files as caches: opened, repaired or replaced, with one readable error."""

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
# Errors that another file in this place would meet too: no permission, busy for long, read-only, a disk that is full or
# fails. After any other error of SQLite's the file is not what was written.
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
PAGE_BYTES = 65536  # bytes: arrays are large, and SQLite moves a page at a time


class StoreError(OSError):
    """A place where features cannot be kept, with the remedy."""


def cache_dir() -> Path:
    """Where features are kept: `$SERNB_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("SERNB_CACHE") or platformdirs.user_cache_path("sernb")).expanduser() / "features"


def run_transaction(path: Path, work: Callable[[sqlite3.Connection], T], table: str) -> T:
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
            with closing(_connect(path, table)) as there:
                return work(there)
        except sqlite3.DatabaseError as error:
            if last or getattr(error, "sqlite_errorcode", 0) & 0xFF in ENVIRONMENT_ERRORS:
                raise storage_error(path, str(error)) from error
        quarantine(path)
    raise AssertionError("unreachable")


def storage_error(path: Path, reason: str) -> StoreError:
    """The error of a store that cannot be read or written."""
    remedy = "Free some space, or set SERNB_CACHE to another folder that can be written"
    return StoreError(f"the feature store {path}: {reason}. {remedy}; what was extracted before is kept.")


def quarantine(path: Path) -> None:
    """Take a store that is no longer what was written out of the way."""
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        path.replace(path.with_suffix(".damaged"))
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)


def _connect(path: Path, table: str) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error.strerror) from error
    # Others write for moments only; who waits this long waits for a machine that hangs.
    there = sqlite3.connect(path, timeout=120)
    there.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    there.execute(f"CREATE TABLE IF NOT EXISTS {table}")
    return there
