"""Compute something for many files on all cores, and cache the results until a file changes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from sernb.utils.machine import cpu_count
from sernb.utils.sqlite import cache_dir
from sernb.utils.sqlite import run_transaction

RESULTS_TABLE = "files(key TEXT PRIMARY KEY, answer TEXT, crc INTEGER)"
FILES_PER_TASK = 32  # handing files to threads one at a time takes longer than reading them
MIN_AGE_SECONDS = 2.0  # a newer file may change again without a change of its times


def map_files(function: Callable[[Any], Any], files: Iterable[Any]) -> list:
    """Return the results of a function for each file, in their order; in threads, since reading waits for the disk."""
    files = list(files)
    size = max(1, min(FILES_PER_TASK, len(files) // (4 * cpu_count())))
    chunks = [files[start : start + size] for start in range(0, len(files), size)]
    with ThreadPoolExecutor(min(32, cpu_count() + 4)) as pool:
        results = pool.map(lambda chunk: [function(file) for file in chunk], chunks)
        return [result for chunk in results for result in chunk]


def cached_per_file(name: str, function: Callable[[str | Path], str], paths: Sequence[str | Path]) -> list[str]:
    """Return the results of a function for each file, computed again only for files that have changed since.

    A file has changed if its size, times or inode are different. The cache holds digests of paths, no paths.

    Args:
        name: Of what is computed; it is part of the key.
        function: Takes a path; an empty result is not cached.
        paths: The files.
    """
    keys, database = [_file_key(name, path) for path in paths], cache_dir() / "files.sqlite"
    cached: dict[str, str] = {}
    # What cannot be cached is computed each time: no reason to stop.
    with contextlib.suppress(OSError):
        if os.path.exists(database):  # opening it would create it
            cached = run_transaction(database, partial(_read_cached, keys=set(keys)), RESULTS_TABLE)
    missing = [(key, path) for key, path in zip(keys, paths, strict=True) if key not in cached]
    results = map_files(lambda pair: function(pair[1]), missing)
    new = {key: result for (key, _), result in zip(missing, results, strict=True) if key and result}
    if new:
        with contextlib.suppress(OSError):
            run_transaction(database, partial(_write_cached, results=new), RESULTS_TABLE)
    by_path = {path: result for (_, path), result in zip(missing, results, strict=True)}
    return [cached[key] if key in cached else by_path[path] for key, path in zip(keys, paths, strict=True)]


def _file_key(name: str, path: str | Path) -> str:
    """Return a digest of what is computed and of the file's present state; empty if it is absent or may be changing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    if time.time() - max(status.st_mtime, status.st_ctime) < MIN_AGE_SECONDS:
        return ""
    state = (name, os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return hashlib.blake2b(repr(state).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _read_cached(connection: sqlite3.Connection, keys: set[str]) -> dict[str, str]:
    rows = connection.execute("SELECT key, answer, crc FROM files")
    return {key: result for key, result, crc in rows if key in keys and crc == _checksum(key, result)}


def _write_cached(connection: sqlite3.Connection, results: dict[str, str]) -> None:
    rows = [(key, result, _checksum(key, result)) for key, result in results.items()]
    connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
    connection.commit()


def _checksum(key: str, result: str) -> int:
    return zlib.crc32(f"{key} {result}".encode())
