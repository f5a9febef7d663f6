"""Locks on folders that one process at a time may write to."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE = ".sernb.lock"  # in the folder while it is locked; it says who holds it
LOCKED_FOLDER = "SERNB_LOCKED_FOLDER"  # environment variable of a kernel: the folder that `sernb run` holds for it
LOCK_SECONDS = 30.0  # how long to wait: workers of a killed command need a while to notice that they are orphans


class FolderInUseError(RuntimeError):
    """A folder into which another process is writing."""


@contextlib.contextmanager
def output_lock(folder: str | Path, *, seconds: float | None = None) -> Iterator[None]:
    """Hold a folder, which is created if it is missing, until the block ends or the process dies.

    A kernel that `sernb run` has started does not lock its own run's folder: the command holds it.

    Args:
        folder: The folder.
        seconds: How long to wait for another process that holds it; 30 by default.

    Raises:
        FolderInUseError: Another process still holds it; the message says which one, on which host, since when.
    """
    from filelock import FileLock
    from filelock import Timeout

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if os.environ.get(LOCKED_FOLDER) == str(folder.resolve()):
        yield
        return
    file = folder / LOCK_FILE
    lock = FileLock(file)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"sernb: waiting for {_holder(file)}, which is writing into {folder}", file=sys.stderr)
            lock.acquire(timeout=LOCK_SECONDS if seconds is None else seconds)
    except Timeout as error:
        raise FolderInUseError(
            f"{folder} is in use by {_holder(file)}: wait until it has finished, or choose another folder"
        ) from error
    try:
        record = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        file.write_text(json.dumps(record), encoding="utf-8")
        yield
    finally:
        file.unlink(missing_ok=True)  # before the release: whoever comes next creates a file of its own
        lock.release()


def _holder(file: Path) -> str:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return f"process {record['process']} on {record['host']} since {record['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written or removed
        return "another process"
