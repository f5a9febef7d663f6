"""File permissions for tests that root, who may read and write everything, runs too."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def somebody() -> Iterator[Path]:
    """Act as a user without rights, in a folder of that user's own; if not root, stay the same user."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    root = os.geteuid() == 0
    try:
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in folder.rglob("*"):
            path.is_dir() and path.chmod(0o700)
        shutil.rmtree(folder)
