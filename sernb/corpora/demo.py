"""The built-in corpora: synthetic speech with real words, so that everything runs with no network.

`folder` unpacks a corpus that ships with the package. `python tools/make_demo_corpora.py [OUT_DIR]` makes the three zips again from
nothing but espeak-ng (a formant synthesiser) and the tables of this module, byte for byte the same with the same
versions of espeak-ng and libsndfile. No recording of a person is in them: they show that the tools run and say nothing
about people.

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
    """A built-in corpus cannot be unpacked or made; the message says what would help."""


def demo_folder(name: str) -> Path:
    """Unpack a built-in corpus, once, and return its folder.

    It lies in `$SERNB_CACHE`, or else in the user's cache folder, under a name that carries the hash of the zip. It
    gets that name only when whole: an interrupted unpacking is never believed, and several processes may try at once.
    """
    archive = DATA_DIR / f"{check_demo_name(name)}.zip"
    if not archive.is_file():
        raise DemoError(f"{archive} is missing: reinstall sernb, or make it with `python tools/make_demo_corpora.py`")
    target = _unpack_root() / f"{name}-{hashlib.sha256(archive.read_bytes()).hexdigest()[:8]}"
    if not _is_complete(target, archive):
        try:
            _unpack(archive, target)
        except OSError as error:
            message = f"cannot unpack {name} into {target.parent}: {error.strerror or error}"
            raise DemoError(f"{message}; set $SERNB_CACHE to a folder that can be written") from error
    return target


def check_demo_name(name: str) -> str:
    if name not in DEMO_CORPORA:
        raise DemoError(f"no built-in corpus is called {name!r}; there are {', '.join(DEMO_CORPORA)}")
    return name


def _unpack_root() -> Path:
    return Path(os.environ.get("SERNB_CACHE") or platformdirs.user_cache_path("sernb")).expanduser().absolute()


def _is_complete(target: Path, archive: Path) -> bool:
    """Tell whether every file of the archive is there: cleaners of caches delete single files."""
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
            if not _is_complete(target, archive):  # else another process was faster, and its copy is as good
                raise
