"""Locks on folders that one process at a time may write."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LOCK_FILE, HOLDER_FILE = ".sernb.lock", ".sernb.holder"


class FolderInUseError(RuntimeError):
    """A folder into which another process is writing."""


@contextlib.contextmanager
def output_lock(folder: Path) -> Iterator[None]:
    """Hold a folder, which is created if it is missing, until the block ends.

    Raises:
        FolderInUseError: Another process holds it; the message names that process.
    """
    from filelock import FileLock
    from filelock import Timeout

    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / HOLDER_FILE
    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            try:
                yield
            finally:
                holder.unlink(missing_ok=True)
    except Timeout as error:
        name = holder.read_text(encoding="utf-8") if holder.is_file() else "another process"
        raise FolderInUseError(
            f"{folder} is in use by {name}: wait until it has finished, or choose another folder"
        ) from error
