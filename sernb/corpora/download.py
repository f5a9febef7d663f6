"""Download public corpora from their official records, verify them, and unpack them for `corpora.load`.

A clip gets its final name only after its hash has been verified, and existing files are never overwritten. The data of
an interrupted transfer are kept in the folder `.fetch`, where the next one continues.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from sernb.corpora.table import FETCHED_CORPORA
from sernb.corpora.table import get_corpus
from sernb.corpora.table import sha256_of_files

RAVDESS_CORPUS, CREMA_CORPUS, EMODB_CORPUS = FETCHED_CORPORA
MAX_TRIES = 4  # successive attempts without any data before a transfer fails
RETRY_SECONDS = 1.0  # seconds before the second attempt; doubled before each further one
CHUNK_BYTES = 2**13  # bytes; an interrupted transfer loses less than one chunk
CONNECTIONS = 8
MAX_FAILURES = 10  # failed files after which the remaining ones are not attempted


class FetchError(RuntimeError):
    """A download failed or its bytes are not the official ones; the message says what would help."""


@dataclass(frozen=True)
class RemoteFile:
    """An official file: its URL, its path within the corpus folder, its hash (None: unknown) and its size in bytes."""

    url: str
    name: str
    digest: str | None
    size: int


@dataclass(frozen=True)
class Archive(RemoteFile):
    """An official zip archive, and roughly how many bytes it needs unpacked."""

    unpacked: int


@dataclass(frozen=True)
class FetchSummary:
    """The result of a download: how many files are new and already present, and which present ones are unofficial."""

    new: int = 0
    present: int = 0
    unofficial: tuple[str, ...] = ()

    def __add__(self, other: FetchSummary) -> FetchSummary:
        present, unofficial = self.present + other.present, self.unofficial + other.unofficial
        return FetchSummary(self.new + other.new, present, unofficial)


# the official records

_ZENODO = "https://zenodo.org/records/1188976/files/{}?download=1"
ARCHIVES = tuple(
    Archive(_ZENODO.format(name), name, md5, size, unpacked)
    for name, md5, size, unpacked in (
        ("Audio_Speech_Actors_01-24.zip", "md5:bc696df654c87fed845eb13823edef8a", 208_468_073, 511_700_000),
        ("Audio_Song_Actors_01-24.zip", "md5:5411230427d67a21e18aa4d466e6d1b9", 225_505_317, 452_000_000),
    )
)
# The recordings are in Git LFS, which this address serves; the table of actors is an ordinary file.
CREMA_CLIPS = "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master/AudioWAV/"
DEMOGRAPHICS = RemoteFile(
    "https://raw.githubusercontent.com/CheyneyComputerScience/CREMA-D/master/VideoDemographics.csv",
    "VideoDemographics.csv",
    "e33ddc8b60bedf98541735801127cbb67098b5957271adbdd5dea8a44294eec3",
    4033,
)
# The archive's own hash is not published; each clip's is in the registry.
EMODB_ARCHIVE = "http://emodb.bilderbar.info/download/download.zip"
EMODB_VOTES = "erkennung.txt"
MIRRORS = {
    RAVDESS_CORPUS: "Other ways to get it: download the two Audio_ archives by hand from zenodo.org/records/1188976",
    CREMA_CORPUS: "Other ways to get it: the release on github.com/CheyneyComputerScience/CREMA-D/releases, or the "
    "authors' mirror gitlab.com/cs-cooper-lab/crema-d-mirror (put the AudioWAV folder here)",
    EMODB_CORPUS: "Other ways to get it: download.zip by hand from emodb.bilderbar.info (unpack it here), or the "
    "authors' copy at zenodo.org/records/7447302",
}


def crema_registry() -> pd.DataFrame:
    """Return `name`, `sha256` and `bytes` of each of CREMA-D's 7,442 official WAV files."""
    return _read_registry(CREMA_CORPUS)


def emodb_registry() -> pd.DataFrame:
    """Return `name`, `sha256` and `bytes` of each of EmoDB's 535 official WAV files."""
    return _read_registry(EMODB_CORPUS)


def _read_registry(corpus: str) -> pd.DataFrame:
    with as_file(files("sernb") / "data" / f"{corpus}-official.csv.xz") as file:
        return pd.read_csv(file)


def describe_official(table: pd.DataFrame) -> str:
    """Describe how much of the official corpus a clip table contains; "" for a corpus without a list of its files."""
    corpus = table["corpus"].iloc[0]
    if corpus not in (CREMA_CORPUS, EMODB_CORPUS):
        return ""
    official = crema_registry() if corpus == CREMA_CORPUS else emodb_registry()
    names = table["clip"].map(lambda clip: f"{PurePosixPath(clip).stem}.wav")  # a copy may be in another container
    present = pd.DataFrame({"name": names, "found_sha256": table["sha256"]}).merge(official, on="name")
    verified = present.loc[present["found_sha256"] == present["sha256"], "name"].nunique()
    text = (
        f"official: {present['name'].nunique()} of {len(official)} files are present, "
        f"{verified} of them with the official bytes"
    )
    return text if verified == len(official) else f"{text}; `sernb fetch {corpus}` downloads what is missing"


# a corpus


def fetch_corpus(corpus: str, to: Path | None = None) -> str:
    """Download the missing files of a public corpus, verify them and put them where `corpora.load` finds them.

    Args:
        corpus: `ravdess`, `crema` or `emodb`.
        to: The folder of corpora, `$SERNB_DATA` or else `corpora` by default; the corpus gets a subfolder.

    Returns:
        A summary of what was downloaded, and how to set `SERNB_DATA`.

    Raises:
        FetchError: The corpus is not one of these, or the server, the disk or the bytes are not as expected; the same
            call continues the download.
    """
    fetchers = {RAVDESS_CORPUS: _fetch_ravdess, CREMA_CORPUS: _fetch_crema, EMODB_CORPUS: _fetch_emodb}
    if corpus not in fetchers:
        raise FetchError(
            f"{corpus!r} cannot be downloaded, only {', '.join(fetchers)}. "
            "`sernb corpora` lists the sources of the others."
        )
    home = Path(to or os.environ.get("SERNB_DATA") or "corpora").expanduser().absolute()
    folder = home / corpus
    try:
        with _download_dir(folder) as work:
            summary = fetchers[corpus](folder, work)
    except OSError as error:
        reason = error.strerror or str(error)
        raise FetchError(
            f"{folder}: {reason}. Downloaded data are kept; solve the problem, or choose another folder with --to."
        ) from error
    return _format_summary(corpus, home, summary)


def _format_summary(corpus: str, home: Path, summary: FetchSummary) -> str:
    lines = [f"{home / corpus}: {summary.new} new files, {summary.present} already present"]
    if summary.unofficial:
        count, names = len(summary.unofficial), ", ".join(map(audio.escape_control_characters, summary.unofficial[:3]))
        lines += [f"{count} present files are not the official ones and were left unchanged, for example {names}"]
    lines += [f"licence: {get_corpus(corpus).licence}; {get_corpus(corpus).source}"]
    is_set = os.environ.get("SERNB_DATA") and Path(os.environ["SERNB_DATA"]).expanduser().absolute() == home
    return "\n".join([*lines, f"sernb check {corpus}" if is_set else f"export SERNB_DATA={home}; sernb check {corpus}"])


@contextlib.contextmanager
def _download_dir(folder: Path) -> Iterator[Path]:
    """Create a folder for unverified files, for one download at a time, and remove it when all are verified."""
    from filelock import FileLock
    from filelock import Timeout

    work = folder / ".fetch"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Beside the folder that is removed: Windows does not remove open files.
        with FileLock(folder / ".fetch.lock", timeout=0):
            work.mkdir(exist_ok=True)
            yield work
            shutil.rmtree(work)
    except Timeout as error:
        raise FetchError(f"another download into {folder} is in progress.") from error


def _check_free_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FetchError(
            f"{folder}: {needed / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB are free. "
            "Free some space, or choose another folder with --to."
        )


# RAVDESS: two archives


def _fetch_ravdess(folder: Path, work: Path) -> FetchSummary:
    counts = {archive: _count_members(folder, archive) for archive in ARCHIVES}
    summary = FetchSummary(present=sum(counts.values()))
    missing = [archive for archive, count in counts.items() if not count]
    _check_free_space(folder, sum(a.size - _file_size(work / f"{a.name}.part") + a.unpacked for a in missing))
    for archive in missing:
        with utils.progress_bar(total=archive.size, desc=archive.name, unit="B", unit_scale=True) as bar:
            try:
                packed = download_file(archive, work, bar.update)
            except FetchError as error:
                raise FetchError(f"{error} {MIRRORS[RAVDESS_CORPUS]}.") from error
        summary += _unpack_with_receipt(packed, archive, folder)
        packed.unlink()
    return summary


def _receipt_path(folder: Path, archive: Archive) -> Path:
    return folder / f"{Path(archive.name).stem}.json"


def _count_members(folder: Path, archive: Archive) -> int:
    """Return how many files an archive contained if all of them are present and unchanged, or else 0."""
    try:
        receipt = json.loads(_receipt_path(folder, archive).read_text(encoding="utf-8"))
        members = receipt["members"] if receipt["hash"] == archive.digest else {}
        root = folder / Path(archive.name).stem
        return len(members) if all(_matches(root / name, *facts) for name, facts in members.items()) else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _matches(path: Path, size: int, crc: int) -> bool:
    return path.is_file() and path.stat().st_size == size and zlib.crc32(path.read_bytes()) == crc


def _unpack_with_receipt(packed: Path, archive: Archive, folder: Path) -> FetchSummary:
    """Unpack an archive into a folder of its name, and write its list of files beside it."""
    summary = unpack_archive(packed, folder / Path(archive.name).stem)
    with zipfile.ZipFile(packed) as opened:
        members = {member.filename: (member.file_size, member.CRC) for member in _list_members(opened)}
    receipt = {"hash": archive.digest, "members": members}
    _receipt_path(folder, archive).write_text(json.dumps(receipt, indent=1), encoding="utf-8")
    return summary


def unpack_archive(packed: Path, root: Path) -> FetchSummary:
    """Unpack a zip archive into a folder; existing files are left unchanged.

    Returns:
        How many files are `new`, how many were `present`, and which existing ones are `unofficial` (have other bytes).

    Raises:
        FetchError: A member would be outside the folder (then nothing is unpacked), or the disk is too small.
    """
    root.mkdir(exist_ok=True)
    new, present, unofficial = 0, 0, []
    with zipfile.ZipFile(packed) as opened:
        members = _list_members(opened)
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
                present += 1
            else:
                unofficial.append(member.filename)
    return FetchSummary(new, present, tuple(unofficial))


def _list_members(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [member for member in opened.infolist() if not member.is_dir()]


def _check_member_path(member: zipfile.ZipInfo, root: Path) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    climbs = path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
    link = stat.S_ISLNK(member.external_attr >> 16)
    if climbs or link or not (root / path).resolve().is_relative_to(root.resolve()):
        name = audio.escape_control_characters(member.filename)
        raise FetchError(f"the archive is not unpacked: {name} would be outside {root}.")


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
    files = [RemoteFile(CREMA_CLIPS + clip.name, f"AudioWAV/{clip.name}", clip.sha256, clip.bytes) for clip in clips]
    return _fetch_files([*files, DEMOGRAPHICS], folder, work)


def _compare_with_disk(files: list[RemoteFile], folder: Path) -> tuple[list[RemoteFile], FetchSummary]:
    """Return the files that are missing in a folder, and how many of the present ones are official."""
    present = [file for file in files if _is_present(folder / file.name)]
    digests = sha256_of_files([folder / file.name for file in present], force=True)
    unofficial = tuple(file.name for file, digest in zip(present, digests, strict=True) if digest != file.digest)
    summary = FetchSummary(present=len(present) - len(unofficial), unofficial=unofficial)
    return [file for file in files if file not in set(present)], summary


def _fetch_files(files: list[RemoteFile], folder: Path, work: Path) -> FetchSummary:
    """Download the missing files; find out which of the present ones are not official."""
    missing, summary = _compare_with_disk(files, folder)
    total = sum(file.size for file in missing)
    _check_free_space(folder, total)
    (folder / "AudioWAV").mkdir(exist_ok=True)
    with utils.progress_bar(total=total, desc=folder.name, unit="B", unit_scale=True) as bar:
        errors = _run_concurrently([partial(_download_one, file, folder, work, bar.update) for file in missing])
    if errors:
        count = sum(_is_present(folder / file.name) for file in files)
        raise FetchError(
            f"{errors[0]} {count} of the {len(files)} files of the corpus are in {folder}; "
            f"run the same command again for the others. {MIRRORS[CREMA_CORPUS]}."
        )
    return summary + FetchSummary(new=len(missing))


def _is_present(path: Path) -> bool:
    """Return whether a file is there; a Git LFS pointer stands for a file that is missing."""
    if not os.path.lexists(path):
        return False
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(len(audio.LFS_PREFIX)) != audio.LFS_PREFIX
    return True


def _download_one(file: RemoteFile, folder: Path, work: Path, count: Callable[[int], Any]) -> None:
    os.replace(download_file(file, work, count), folder / file.name)


def _run_concurrently(jobs: list[Callable[[], None]]) -> list[FetchError]:
    """Run jobs on several connections and return their errors; after `MAX_FAILURES` no further job is started."""
    errors: list[FetchError] = []

    def attempt(job: Callable[[], None]) -> None:
        """Run one download and collect its error, unless too many have failed."""
        try:
            len(errors) < MAX_FAILURES and job()
        except FetchError as error:
            errors.append(error)

    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        for future in [pool.submit(attempt, job) for job in jobs]:
            future.result()
    finally:  # after Ctrl-C, running jobs finish and no others start
        pool.shutdown(cancel_futures=True)
    return errors


# EmoDB: an archive whose hash is not published, of files whose hashes are known


def _fetch_emodb(folder: Path, work: Path) -> FetchSummary:
    clips = [RemoteFile("", f"wav/{clip.name}", clip.sha256, clip.bytes) for clip in emodb_registry().itertuples()]
    missing, summary = _compare_with_disk(clips, folder)
    if not missing:
        return summary
    try:
        archive = RemoteFile(EMODB_ARCHIVE, "download.zip", None, _announced_size(EMODB_ARCHIVE))
        _check_free_space(folder, archive.size + sum(clip.size for clip in missing))
        with utils.progress_bar(total=archive.size, desc=archive.name, unit="B", unit_scale=True) as bar:
            packed = download_file(archive, work, bar.update)
        _unpack_verified(packed, missing, folder, work)
    except FetchError as error:
        raise FetchError(f"{error} {MIRRORS[EMODB_CORPUS]}.") from error
    return summary + FetchSummary(new=len(missing))


def _unpack_verified(packed: Path, missing: list[RemoteFile], folder: Path, work: Path) -> None:
    """Unpack the missing clips whose hashes are right, and the table of listeners; wherever they are in the archive."""
    try:
        opened = zipfile.ZipFile(packed)
    except zipfile.BadZipFile as error:
        packed.unlink()
        raise FetchError(f"{EMODB_ARCHIVE} is not a zip archive and was deleted.") from error
    (folder / "wav").mkdir(exist_ok=True)
    with opened:
        members = {PurePosixPath(member.filename).name: member for member in _list_members(opened)}
        for file in [clip for clip in missing if PurePosixPath(clip.name).name in members]:
            part = work / PurePosixPath(file.name).name
            _extract_member(opened, members[part.name], part)
            if hashlib.sha256(part.read_bytes()).hexdigest() == file.digest:
                os.replace(part, folder / file.name)
        if EMODB_VOTES in members and not (folder / EMODB_VOTES).exists():
            _extract_member(opened, members[EMODB_VOTES], work / EMODB_VOTES)
            os.replace(work / EMODB_VOTES, folder / EMODB_VOTES)
    packed.unlink()
    if wrong := [clip.name for clip in missing if not (folder / clip.name).exists()]:
        raise FetchError(f"{EMODB_ARCHIVE}: {len(wrong)} clips, such as {wrong[0]}, are missing or not official.")


def _announced_size(url: str) -> int:
    import requests

    try:
        with requests.get(url, headers={"Accept-Encoding": "identity"}, stream=True, timeout=30) as response:
            response.raise_for_status()
            return int(response.headers["Content-Length"])
    except (requests.RequestException, KeyError) as error:
        raise FetchError(f"{url}: {_error_reason(error)}.") from error


# a file


def download_file(file: RemoteFile, work: Path, count: Callable[[int], Any]) -> Path:
    """Download a file into a folder, continuing an interrupted transfer, and verify it.

    Raises:
        FetchError: The file cannot be downloaded, or its bytes are not the official ones.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    name = PurePosixPath(file.name).name
    download = partial(_download, part=work / f"{name}.part", size=file.size, count=count)
    try:
        return Path(pooch.retrieve(file.url, file.digest, name, work, downloader=download))
    except ValueError as error:  # pooch raises it for a wrong hash
        raise FetchError(f"{file.url}: the downloaded bytes are not the official ones and were deleted.") from error


def _download(url: str, output_file: str, _: Any, *, part: Path, size: int, count: Callable[[int], Any]) -> None:
    """Download into `part`, with retries, then rename it; the signature is that of pooch's downloaders."""
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
                raise FetchError(f"{url}: {_error_reason(error)}.{_resume_hint(part)}") from error
            time.sleep(RETRY_SECONDS * 2 ** (failures - 1))
    os.replace(part, output_file)


def _error_reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    cause = getattr(error.args[0] if error.args else error, "reason", error)  # requests wraps urllib3's errors
    return f"the connection failed ({str(cause).rpartition('): ')[2]})"


def _resume_hint(part: Path) -> str:
    size = _file_size(part)
    return f" The {size} bytes received are kept; the same command continues there." if size else ""


def _transfer(url: str, part: Path, size: int, count: Callable[[int], Any]) -> None:
    import requests

    offset = _file_size(part)
    headers = {"User-Agent": f"sernb/{__version__}", "Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={offset}-"} if offset else {}
    with requests.get(url, headers=headers, stream=True, timeout=30) as response:
        if response.status_code == 416:
            part.unlink()  # or the same range would be requested again and again
        response.raise_for_status()
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        with open(part, "ab" if resumed else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                count(len(chunk))
                if file.tell() > size:
                    break
        announced = int(response.headers.get("Content-Length", size)) + (offset if resumed else 0)
    _refuse_substitute(url, part, size, announced)
    if _file_size(part) < size:
        raise requests.ConnectionError("the transfer ended early")


def _refuse_substitute(url: str, part: Path, size: int, announced: int) -> None:
    """Refuse what servers send in place of a file: a web page, a Git LFS pointer, or a file of another size."""
    with open(part, "rb") as file:
        start = file.read(512).lstrip()
    if start.startswith(b"<"):  # neither a zip, nor a WAV file, nor a table starts like this
        reason = "the server sent a web page in place of the file. Does your network ask for a login in the browser?"
    elif start.startswith(audio.LFS_PREFIX):
        reason = "the server sent a Git LFS pointer in place of the file, as it does when its quota is used up."
    elif announced != size or _file_size(part) > size:
        reason = f"the server's file has {max(announced, _file_size(part))} bytes, and the official one {size}."
    else:
        return
    part.unlink()
    raise FetchError(f"{url}: {reason} Nothing of it was kept.")


def _file_size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
