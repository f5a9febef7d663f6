"""The built-in demo corpora: synthetic speech with real sentences, so that everything runs without a network.

They contain no recording of a person: they show that the tools run and say nothing about people.
`python tools/make_demo_corpora.py OUT_DIR` generates the three zip archives with espeak-ng, a formant synthesiser.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path

import platformdirs

DEMO_CORPORA = ("demo-crema", "demo-ravdess", "demo-local")
DATA_DIR = Path(__file__).parents[1] / "data"


class DemoError(RuntimeError):
    """A built-in corpus cannot be unpacked or generated; the message says what would help."""


def demo_folder(name: str) -> Path:
    """Unpack a built-in corpus, unless that has been done before, and return its folder.

    The folder is in `$SERNB_CACHE` or else in the user's cache folder; its name contains the hash of the archive.
    It gets this name only when it is complete: an interruption does no harm, and several processes may unpack at once.

    Raises:
        DemoError: There is no such corpus, the archive is missing, or the cache cannot be written.
    """
    archive = DATA_DIR / f"{check_demo_name(name)}.zip"
    if not archive.is_file():
        raise DemoError(f"{archive} is missing: reinstall sernb, or run `python tools/make_demo_corpora.py`.")
    target = _unpack_root() / f"{name}-{hashlib.sha256(archive.read_bytes()).hexdigest()[:8]}"
    if not _is_complete(target, archive):
        try:
            _unpack(archive, target)
        except OSError as error:
            message = f"cannot unpack {name} into {target.parent}: {error.strerror or error}"
            raise DemoError(f"{message}. Set $SERNB_CACHE to a writable folder.") from error
    return target


def check_demo_name(name: str) -> str:
    """Return the name of a built-in corpus, or raise a `DemoError` if there is none of that name."""
    if name not in DEMO_CORPORA:
        raise DemoError(f"no built-in corpus is called {name!r}; use one of {', '.join(DEMO_CORPORA)}.")
    return name


def _unpack_root() -> Path:
    return Path(os.environ.get("SERNB_CACHE") or platformdirs.user_cache_path("sernb")).expanduser().absolute()


def _is_complete(target: Path, archive: Path) -> bool:
    """Return whether every file of the archive is present: cache cleaners delete single files."""
    if not target.is_dir():
        return False
    with zipfile.ZipFile(archive) as packed:
        return all((target / name).is_file() for name in packed.namelist())


def _unpack(archive: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
        fresh = Path(temporary, "fresh")
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(fresh)
        if target.exists() and not _is_complete(target, archive):
            os.replace(target, Path(temporary, "damaged"))
        try:
            os.replace(fresh, target)
        except OSError:
            if not _is_complete(target, archive):  # otherwise another process was faster, and its copy is as good
                raise
