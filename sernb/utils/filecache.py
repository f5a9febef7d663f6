"""What is asked of many files is asked on all cores, and remembered until a file changes."""

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

ANSWERS_TABLE = "files(key TEXT PRIMARY KEY, answer TEXT, crc INTEGER)"
KEYS_PER_QUERY = 32  # files: handing over one at a time takes longer than to read it
MIN_AGE_SECONDS = 2.0  # seconds: a file as new as that may change again without its times telling


def map_files(ask: Callable[[Any], Any], files: Iterable[Any]) -> list:
    """What `ask` returns for each file, in their order; threads, since reading waits for the disk."""
    files = list(files)
    size = max(1, min(KEYS_PER_QUERY, len(files) // (4 * cpu_count())))
    chunks = [files[start : start + size] for start in range(0, len(files), size)]
    with ThreadPoolExecutor(min(32, cpu_count() + 4)) as pool:
        return [found for chunk in pool.map(lambda chunk: [ask(file) for file in chunk], chunks) for found in chunk]


def cached_per_file(what: str, ask: Callable[[str | Path], str], paths: Sequence[str | Path]) -> list[str]:
    """What `ask` returns for each file, asked again only of files that have changed since.

    A file has changed if its size, its times or its place on the disk are others. No name is kept, only a digest of it.

    Args:
        what: The name of the question.
        ask: Given a path; an empty answer is not remembered.
        paths: The files.
    """
    keys, place = [_file_stamp(what, path) for path in paths], cache_dir() / "files.sqlite"
    known: dict[str, str] = {}
    # What cannot be remembered is asked again: no reason to stop.
    with contextlib.suppress(OSError):
        if os.path.exists(place):  # opening it would make it
            known = run_transaction(place, partial(_cached_answers, wanted=set(keys)), ANSWERS_TABLE)
    asked = [(key, path) for key, path in zip(keys, paths, strict=True) if key not in known]
    answers = map_files(lambda pair: ask(pair[1]), asked)
    new = {key: answer for (key, _), answer in zip(asked, answers, strict=True) if key and answer}
    if new:
        with contextlib.suppress(OSError):
            run_transaction(place, partial(_store_answers, answers=new), ANSWERS_TABLE)
    by_path = {path: answer for (_, path), answer in zip(asked, answers, strict=True)}
    return [known[key] if key in known else by_path[path] for key, path in zip(keys, paths, strict=True)]


def _file_stamp(what: str, path: str | Path) -> str:
    """A question and a file as it is now; empty for one that cannot be seen, or may be under somebody's pen."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ""
    if time.time() - max(found.st_mtime, found.st_ctime) < MIN_AGE_SECONDS:
        return ""
    told = (what, os.path.abspath(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    return hashlib.blake2b(repr(told).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _cached_answers(there: sqlite3.Connection, wanted: set[str]) -> dict[str, str]:
    rows = there.execute("SELECT key, answer, crc FROM files")
    return {key: answer for key, answer, crc in rows if key in wanted and crc == _checksum(key, answer)}


def _store_answers(there: sqlite3.Connection, answers: dict[str, str]) -> None:
    rows = [(key, answer, _checksum(key, answer)) for key, answer in answers.items()]
    there.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
    there.commit()


def _checksum(key: str, answer: str) -> int:
    return zlib.crc32(f"{key} {answer}".encode())
