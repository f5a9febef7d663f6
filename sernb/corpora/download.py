"""The public corpora from their official records, verified, in the layout that `corpora` reads.

Nothing gets its final name before its bytes are known to be the official ones, and no file that lies there already is
overwritten. What a broken transfer has brought lies in `.fetch` and is used by the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file
from importlib.resources import files
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from sernb import __version__
from sernb import audio
from sernb import utils
from sernb.corpora.table import get_corpus
from sernb.corpora.table import sha256_of_files

RAVDESS_CORPUS, CREMA_CORPUS = "ravdess", "crema"
MAX_TRIES = 4  # that bring nothing, one after the other
RETRY_SECONDS = 1.0  # seconds before the second; twice as long before each one after it
CHUNK_BYTES = 2**13  # bytes; what is lost of a transfer that breaks is less than one
CONNECTIONS = 8
MAX_FAILURES = 10  # files that cannot be had before the others are not tried any more


class FetchError(RuntimeError):
    """A download that cannot be made or believed, with the remedy."""


@dataclass(frozen=True)
class RemoteFile:
    """One official file: where it comes from, its place in the corpus's folder, its hash and size in bytes."""

    url: str
    name: str
    hash: str
    bytes: int


@dataclass(frozen=True)
class Archive(RemoteFile):
    """An official zip, and about how many bytes it holds unpacked."""

    unpacked: int


@dataclass(frozen=True)
class FetchSummary:
    """What a download came to: files that are new, files that were there, and those there that are not official."""

    new: int = 0
    kept: int = 0
    others: tuple[str, ...] = ()

    def __add__(self, other: FetchSummary) -> FetchSummary:
        return FetchSummary(self.new + other.new, self.kept + other.kept, self.others + other.others)


# the official records

_ZENODO = "https://zenodo.org/records/1188976/files/{}?download=1"
ARCHIVES = tuple(
    Archive(_ZENODO.format(name), name, md5, size, unpacked)
    for name, md5, size, unpacked in (
        ("Audio_Speech_Actors_01-24.zip", "md5:bc696df654c87fed845eb13823edef8a", 208_468_073, 511_700_000),
        ("Audio_Song_Actors_01-24.zip", "md5:5411230427d67a21e18aa4d466e6d1b9", 225_505_317, 452_000_000),
    )
)
# Recordings are in Git LFS, which this address serves; the table of the actors is an ordinary file.
CREMA_CLIPS = "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master/AudioWAV/"
DEMOGRAPHICS = RemoteFile(
    "https://raw.githubusercontent.com/CheyneyComputerScience/CREMA-D/master/VideoDemographics.csv",
    "VideoDemographics.csv",
    "e33ddc8b60bedf98541735801127cbb67098b5957271adbdd5dea8a44294eec3",
    4033,
)


def crema_registry() -> pd.DataFrame:
    """`name`, `sha256` and `bytes` of each of CREMA-D's 7,442 official WAV files."""
    with as_file(files("sernb") / "data" / "crema-official.csv.xz") as file:
        return pd.read_csv(file)


def describe_official(table: pd.DataFrame) -> str:
    """A sentence on how much of a clip table of CREMA-D is the official corpus."""
    known = crema_registry()
    names = table["clip"].str.rsplit("/", n=1).str[-1]
    mine = pd.DataFrame({"name": names, "mine": table["sha256"]}).merge(known, on="name")
    here, same = mine["name"].nunique(), mine.loc[mine["mine"] == mine["sha256"], "name"].nunique()
    told = f"official: {here} of {len(known)} names are here, {same} of them with the official bytes"
    return told if same == len(known) else f"{told}; `sernb fetch crema` brings what is missing"


# a corpus


def fetch_corpus(corpus: str, to: Path | None = None) -> str:
    """Download what is missing of a public corpus, verify it and put it where `corpora` finds it.

    Args:
        corpus: `ravdess` or `crema`.
        to: The folder of corpora; `$SERNB_DATA` or else `corpora` by default. The corpus gets a folder in it.

    Returns:
        What was done, and where to point `SERNB_DATA`.

    Raises:
        FetchError: The server, the disk or the bytes are not as they must be; the same call goes on where it was.
    """
    if corpus not in (RAVDESS_CORPUS, CREMA_CORPUS):
        raise FetchError(
            f"{corpus!r} cannot be fetched; {RAVDESS_CORPUS} and {CREMA_CORPUS} can. `sernb corpora` lists the others."
        )
    home = Path(to or os.environ.get("SERNB_DATA") or "corpora").expanduser().absolute()
    folder = home / corpus
    try:
        with _download_dir(folder) as work:
            brought = (_fetch_ravdess if corpus == RAVDESS_CORPUS else _fetch_crema)(folder, work)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FetchError(
            f"{folder}: {reason}. What has come is kept; mend it, or name another folder by --to"
        ) from error
    return _summary(corpus, home, brought)


def _summary(corpus: str, home: Path, brought: FetchSummary) -> str:
    lines = [f"{home / corpus}: {brought.new} files are new, {brought.kept} were there"]
    if brought.others:
        shown = ", ".join(map(audio.escape_control_characters, brought.others[:3]))
        lines += [f"{len(brought.others)} files there are not the official ones and were left as they are: {shown} ..."]
    lines += [f"licence: {get_corpus(corpus).licence}; {get_corpus(corpus).source}"]
    here = Path(os.environ.get("SERNB_DATA") or "/nowhere").expanduser().absolute() == home
    return "\n".join([*lines, f"sernb check {corpus}" if here else f"export SERNB_DATA={home}; sernb check {corpus}"])


@contextlib.contextmanager
def _download_dir(folder: Path) -> Iterator[Path]:
    """A folder for what is not yet verified; it goes when all is, and one download at a time has it."""
    from filelock import FileLock
    from filelock import Timeout

    work = folder / ".fetch"
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            yield work
            shutil.rmtree(work)
    except Timeout as error:
        raise FetchError(f"another download into {folder} is under way") from error


def _check_free_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        told = f"{needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free"
        raise FetchError(f"{folder}: {told}. Free some space, or name another folder by --to.")


# RAVDESS: two archives


def _fetch_ravdess(folder: Path, work: Path) -> FetchSummary:
    brought, todo = FetchSummary(), []
    for archive in ARCHIVES:
        there = _all_members_present(folder, archive)
        brought, todo = (brought + FetchSummary(kept=there), todo) if there else (brought, [*todo, archive])
    _check_free_space(folder, sum(one.bytes - _file_size(work / f"{one.name}.part") + one.unpacked for one in todo))
    for archive in todo:
        with utils.progress_bar(total=archive.bytes, desc=archive.name, unit="B", unit_scale=True) as bar:
            packed = download_file(archive, work, bar.update)
        brought += _unpack_with_receipt(packed, archive, folder)
        packed.unlink()
    return brought


def _receipt_path(folder: Path, archive: Archive) -> Path:
    return folder / f"{Path(archive.name).stem}.json"


def _all_members_present(folder: Path, archive: Archive) -> int:
    """How many files an archive gave, if all of them still lie there with the bytes that they had; or else 0."""
    try:
        noted = json.loads(_receipt_path(folder, archive).read_text(encoding="utf-8"))
        members = noted["members"] if noted["hash"] == archive.hash else {}
        root = folder / Path(archive.name).stem
        return len(members) if all(_matches(root / name, *facts) for name, facts in members.items()) else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _matches(path: Path, size: int, crc: int) -> bool:
    return path.is_file() and path.stat().st_size == size and zlib.crc32(path.read_bytes()) == crc


def _unpack_with_receipt(packed: Path, archive: Archive, folder: Path) -> FetchSummary:
    """Unpack an archive into a folder of its name, and note what was in it."""
    root = folder / Path(archive.name).stem
    brought = unpack_archive(packed, root)
    with zipfile.ZipFile(packed) as opened:
        members = {one.filename: (one.file_size, one.CRC) for one in opened.infolist() if not one.is_dir()}
    note = {"hash": archive.hash, "members": members}
    _receipt_path(folder, archive).write_text(json.dumps(note, indent=1), encoding="utf-8")
    return brought


def unpack_archive(packed: Path, root: Path) -> FetchSummary:
    """Unpack a zip into a folder; files that lie there stay as they are.

    Raises:
        FetchError: A member would lie outside of the folder, before anything is unpacked; or there is no room.
    """
    root.mkdir(exist_ok=True)
    new, kept, others = 0, 0, []
    with zipfile.ZipFile(packed) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        for member in members:
            _check_member_path(member, root)
        missing = [member for member in members if not os.path.lexists(root / member.filename)]
        _check_free_space(root, sum(member.file_size for member in missing))
        for member in utils.progress_bar(members, desc=f"unpacking {packed.name}"):
            target = root / member.filename
            if not os.path.lexists(target):
                _extract_member(opened, member, target)
                new += 1
            elif _matches(target, member.file_size, member.CRC):
                kept += 1
            else:
                others.append(member.filename)
    return FetchSummary(new, kept, tuple(others))


def _check_member_path(member: zipfile.ZipInfo, root: Path) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    climbs = path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
    link = stat.S_ISLNK(member.external_attr >> 16)
    if climbs or link or not (root / path).resolve().is_relative_to(root.resolve()):
        raise FetchError(
            f"{audio.escape_control_characters(member.filename)} would lie outside of {root}: nothing is unpacked."
        )


def _extract_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        with opened.open(member) as source, open(part, "wb") as file:
            shutil.copyfileobj(source, file)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


# CREMA-D: 7,442 files


def _fetch_crema(folder: Path, work: Path) -> FetchSummary:
    clips = crema_registry().itertuples()
    wanted = [RemoteFile(CREMA_CLIPS + clip.name, f"AudioWAV/{clip.name}", clip.sha256, clip.bytes) for clip in clips]
    return _fetch_files([*wanted, DEMOGRAPHICS], folder, work)


def _fetch_files(wanted: list[RemoteFile], folder: Path, work: Path) -> FetchSummary:
    """Bring the files that are not there; of those that are, say which are not the official ones."""
    there = [file for file in wanted if _is_present(folder / file.name)]
    digests = sha256_of_files([folder / file.name for file in there], again=True)
    others = tuple(file.name for file, sha256 in zip(there, digests, strict=True) if sha256 != file.hash)
    todo = [file for file in wanted if file not in set(there)]
    _check_free_space(folder, sum(file.bytes for file in todo))
    (folder / "AudioWAV").mkdir(exist_ok=True)
    with utils.progress_bar(total=sum(file.bytes for file in todo), desc=folder.name, unit="B", unit_scale=True) as bar:
        _run_concurrently([partial(_download_one, file, folder, work, bar.update) for file in todo])
    return FetchSummary(len(todo), len(there) - len(others), others)


def _is_present(path: Path) -> bool:
    """Whether a file is there that is to be kept: Git LFS's pointer stands for one that is not."""
    if not os.path.lexists(path):
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(len(audio.LFS_PREFIX)) != audio.LFS_PREFIX
    return True


def _download_one(file: RemoteFile, folder: Path, work: Path, count: Callable[[int], Any]) -> None:
    os.replace(download_file(file, work, count), folder / file.name)


def _run_concurrently(jobs: list[Callable[[], None]]) -> None:
    """Do the jobs on several connections; one that fails does not stop the others, many do."""
    failed: list[FetchError] = []

    def attempt(job: Callable[[], None]) -> None:
        try:
            len(failed) < MAX_FAILURES and job()
        except FetchError as error:
            failed.append(error)

    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        for done in [pool.submit(attempt, job) for job in jobs]:
            done.result()
    finally:  # after Ctrl-C those under way end, and no others begin
        pool.shutdown(cancel_futures=True)
    if failed:
        more = f" And {len(failed) - 1} more failed." if len(failed) > 1 else ""
        raise FetchError(f"{failed[0]}{more} The others are here, and the same command goes on.")


# a file


def download_file(file: RemoteFile, work: Path, count: Callable[[int], Any]) -> Path:
    """Download a file into a folder, go on where an earlier transfer broke, and verify it.

    Raises:
        FetchError: It cannot be had, or its bytes are not the official ones.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    name = PurePosixPath(file.name).name
    download = partial(_download, part=work / f"{name}.part", size=file.bytes, count=count)
    try:
        return Path(pooch.retrieve(file.url, file.hash, name, work, downloader=download))
    except ValueError as error:  # pooch's word for a hash that is another
        raise FetchError(f"{file.url}: its bytes are not the official ones, so none of them are kept.") from error


def _download(url: str, output_file: str, _: Any, *, part: Path, size: int, count: Callable[[int], Any]) -> None:
    """A downloader as pooch wants it, that resumes."""
    import requests

    failures = 0
    if _file_size(part) > size:
        part.unlink()
    count(_file_size(part))
    while (before := _file_size(part)) < size:
        try:
            _transfer(url, part, size, count)
        except requests.RequestException as error:
            failures = 1 if _file_size(part) > before else failures + 1
            status = error.response.status_code if error.response is not None else 0
            if failures >= MAX_TRIES or (400 <= status < 500 and status not in (408, 429)):
                raise FetchError(f"{url}: {_error_reason(error)}. What has come is kept; try again.") from error
            time.sleep(RETRY_SECONDS * 2 ** (failures - 1))
    os.replace(part, output_file)


def _error_reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    return (
        f"the server says {response.status_code} {response.reason}" if response is not None else f"no answer ({error})"
    )


def _transfer(url: str, part: Path, size: int, count: Callable[[int], Any]) -> None:
    import requests

    there = _file_size(part)
    headers = {"User-Agent": f"sernb/{__version__}", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={there}-"} if there else {}
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code == 416:
            part.unlink()  # or it would be asked for again and again
        response.raise_for_status()
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {there}-")
        with open(part, "ab" if resumed else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                count(len(chunk))
                if file.tell() > size:
                    break
    if _file_size(part) > size:
        part.unlink()
        raise FetchError(f"{url}: more than the official {size} bytes, so none of them are kept.")
    if _file_size(part) < size:
        raise requests.ConnectionError("the transfer ended early")


def _file_size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
