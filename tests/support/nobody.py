"""Permissions for tests that root runs too, who may read and write everything."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def somebody() -> Iterator[Path]:
    """Be a user without rights for a while, in a folder of that user's own; whoever is no root stays so."""
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
