"""Downloads, from a local server with small stand-ins for the official files."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple
from pathlib import Path

import pandas as pd
import psutil
import pytest
from typer.testing import CliRunner

from sernb import audio
from sernb import cli
from sernb import corpora
from sernb.corpora import download


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path; `breaks` has the numbers of bytes after which a path's next transfers break off."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, list[int]] = {}
        self.requests: list[tuple[str, str]] = []
        self.ranges = True
        self.slow = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        path, byte_range = self.path.lstrip("/"), self.headers.get("Range", "")
        self.server.requests.append((path, byte_range))
        if path not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[path]
        start = int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range and self.server.ranges else 0
        if start >= len(data) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        breaks = self.server.breaks.get(path, [])
        end = start + breaks.pop(0) if breaks else len(data)
        for offset in range(start, min(end, len(data)), 2000):
            time.sleep(self.server.slow)
            self.wfile.write(data[offset : min(offset + 2000, end)])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("sernb.corpora.download.RETRY_SECONDS", 0.0)
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def noise(name: str, size: int = 9000) -> bytes:
    return (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]


SPEECH = {f"Actor_01/03-01-0{i}-01-01-01-01.wav": noise(f"speech{i}") for i in range(1, 6)}
SONG = {f"Actor_01/03-02-0{i}-01-01-01-01.wav": noise(f"song{i}") for i in range(1, 4)}


@pytest.fixture
def ravdess(server, monkeypatch):
    """Two stand-in archives, on the server and in the package's list of official files."""
    archives = []
    for name, members in (("Speech.zip", SPEECH), ("Song.zip", SONG)):
        data = server.files[name] = packed(members)
        digest = f"md5:{hashlib.md5(data).hexdigest()}"
        archives.append(corpora.Archive(server.url + name, name, digest, len(data), 50_000))
    monkeypatch.setattr("sernb.corpora.download.ARCHIVES", tuple(archives))
    return server


SHEET = "VideoDemographics.csv"
CLIPS = [f"10{i:02}_IEO_ANG_HI.wav" for i in range(12)]


@pytest.fixture
def crema(server, monkeypatch):
    server.files |= {name: noise(name) for name in CLIPS} | {
        "VideoDemographics.csv": b"ActorID,Age,Sex\n1000,51,Male\n"
    }
    sheet = server.files["VideoDemographics.csv"]
    rows = [(name, hashlib.sha256(server.files[name]).hexdigest(), len(server.files[name])) for name in CLIPS]
    monkeypatch.setattr(
        "sernb.corpora.download.crema_registry", lambda: pd.DataFrame(rows, columns=["name", "sha256", "bytes"])
    )
    monkeypatch.setattr("sernb.corpora.download.CREMA_CLIPS", server.url)
    official = corpora.RemoteFile(server.url + SHEET, SHEET, hashlib.sha256(sheet).hexdigest(), len(sheet))
    monkeypatch.setattr("sernb.corpora.download.DEMOGRAPHICS", official)
    return server


@pytest.fixture
def emodb(server, monkeypatch):
    """A stand-in archive with three clips, and the package's list of their hashes."""
    clips = {f"03a0{i}Fa.wav": noise(f"emodb{i}") for i in range(1, 4)}
    rows = [(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in clips.items()]
    registry = pd.DataFrame(rows, columns=["name", "sha256", "bytes"])
    monkeypatch.setattr("sernb.corpora.download.emodb_registry", lambda: registry)
    monkeypatch.setattr("sernb.corpora.download.EMODB_ARCHIVE", f"{server.url}download.zip")
    server.clips = clips
    members = {f"wav/{name}": data for name, data in clips.items()} | {"erkennung.txt": b"Nr.\tSatz\n", "silb/a": b""}
    server.files["download.zip"] = packed(members)
    return server


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.wav")}


COMPLETE = {f"Speech/{name}": data for name, data in SPEECH.items()} | {
    f"Song/{name}": data for name, data in SONG.items()
}


def test_ravdess_is_complete_and_not_downloaded_twice(ravdess, tmp_path, monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    summary = corpora.fetch_corpus("ravdess", tmp_path)
    assert contents(tmp_path / "ravdess") == COMPLETE
    assert "8 new files" in summary and f"export SERNB_DATA={tmp_path}" in summary and "CC BY-NC-SA" in summary
    assert not (tmp_path / "ravdess" / ".fetch").exists() and not list(tmp_path.rglob("*.zip"))
    ravdess.requests.clear()
    assert "0 new files, 8 already present" in corpora.fetch_corpus("ravdess", tmp_path)
    assert ravdess.requests == []
    assert len(list(corpora.find_audio_files(tmp_path))) == 8


def test_a_missing_clip_is_downloaded_again_and_the_others_are_left_alone(ravdess, tmp_path):
    corpora.fetch_corpus("ravdess", tmp_path)
    lost, *_, other = sorted((tmp_path / "ravdess" / "Song").rglob("*.wav"))
    lost.unlink()
    before = other.stat()
    ravdess.requests.clear()
    summary = corpora.fetch_corpus("ravdess", tmp_path)
    assert "1 new files, 7 already present" in summary and ravdess.paths() == ["Song.zip"]
    assert contents(tmp_path / "ravdess") == COMPLETE and other.stat().st_ino == before.st_ino


def test_existing_files_are_kept_and_reported_as_unofficial(ravdess, tmp_path):
    name = next(iter(SPEECH))
    mine = tmp_path / "ravdess" / "Speech" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"my own version")
    summary = corpora.fetch_corpus("ravdess", tmp_path)
    assert mine.read_bytes() == b"my own version"
    assert "1 present files are not the official ones" in summary and name in summary


def test_an_interrupted_transfer_is_resumed(ravdess, tmp_path):
    ravdess.breaks["Speech.zip"] = [corpora.CHUNK_BYTES, 2 * corpora.CHUNK_BYTES]
    corpora.fetch_corpus("ravdess", tmp_path)
    ranges = [byte_range for path, byte_range in ravdess.requests if path == "Speech.zip"]
    assert ranges == ["", "bytes=8192-", "bytes=24576-"]
    assert contents(tmp_path / "ravdess") == COMPLETE


def test_the_next_command_resumes_a_failed_download(ravdess, tmp_path):
    ravdess.breaks["Speech.zip"] = [corpora.CHUNK_BYTES] + [0] * corpora.MAX_TRIES
    with pytest.raises(
        corpora.FetchError, match=r"Speech.zip: the connection failed .*The 8192 bytes received are kept"
    ):
        corpora.fetch_corpus("ravdess", tmp_path)
    assert list(corpora.find_audio_files(tmp_path)) == []
    ravdess.requests.clear()
    corpora.fetch_corpus("ravdess", tmp_path)
    assert ravdess.requests[0] == ("Speech.zip", "bytes=8192-") and contents(tmp_path / "ravdess") == COMPLETE


def test_a_server_without_ranges_starts_again(ravdess, tmp_path):
    ravdess.ranges = False
    ravdess.breaks["Speech.zip"] = [corpora.CHUNK_BYTES]
    corpora.fetch_corpus("ravdess", tmp_path)
    assert contents(tmp_path / "ravdess") == COMPLETE


@pytest.mark.parametrize("wrong", ["flipped", "longer", "shorter", "a page instead"])
def test_wrong_bytes_are_refused_and_deleted(ravdess, tmp_path, wrong):
    right = ravdess.files["Song.zip"]
    flipped = right[:100] + bytes([right[100] ^ 1]) + right[101:]
    page = b"<html>please log in</html>"
    ravdess.files["Song.zip"] = {"flipped": flipped, "longer": right + b"0", "shorter": right[:-1]}.get(wrong, page)
    with pytest.raises(corpora.FetchError, match="Song.zip"):
        corpora.fetch_corpus("ravdess", tmp_path)
    assert not (tmp_path / "ravdess" / "Song").exists()
    ravdess.files["Song.zip"] = right
    corpora.fetch_corpus("ravdess", tmp_path)
    assert contents(tmp_path / "ravdess") == COMPLETE


def test_a_partial_file_with_wrong_content_is_deleted(ravdess, tmp_path):
    part = tmp_path / "ravdess" / ".fetch" / "Song.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 500)
    with pytest.raises(corpora.FetchError, match="not the official ones"):
        corpora.fetch_corpus("ravdess", tmp_path)
    corpora.fetch_corpus("ravdess", tmp_path)
    assert contents(tmp_path / "ravdess") == COMPLETE


@pytest.mark.parametrize(
    "name", ["../out.wav", "a/../../out.wav", "/tmp/out.wav", "..\\out.wav", "C:\\out.wav", "link/out.wav"]
)
def test_an_archive_with_a_path_outside_the_folder_is_not_unpacked(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    file = tmp_path / "bad.zip"
    file.write_bytes(packed({"good.wav": b"1", name: b"2"}))
    with pytest.raises(corpora.FetchError, match=re.escape(name) + " would be outside"):
        corpora.unpack_archive(file, tmp_path / "in")
    assert not list(tmp_path.rglob("*.wav")) and not Path("/tmp/out.wav").exists()


def test_an_archive_with_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("link.wav")
    link.external_attr = 0o120777 << 16
    file = tmp_path / "bad.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(corpora.FetchError, match="link.wav would be outside"):
        corpora.unpack_archive(file, tmp_path / "in")


def test_free_space_is_checked_before_the_download(ravdess, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(120_000))
    with pytest.raises(corpora.FetchError, match=r"0.2 MB are needed and 0.1 MB are free.*--to"):
        corpora.fetch_corpus("ravdess", tmp_path)
    assert ravdess.requests == []


def test_a_full_disk_is_reported_in_one_line(ravdess, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(corpora.FetchError, match="No space left on device. Downloaded data are kept"):
        corpora.fetch_corpus("ravdess", tmp_path)
    assert list(corpora.find_audio_files(tmp_path)) == []


def test_only_missing_files_of_crema_are_downloaded(crema, tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_DATA", str(tmp_path))
    present, mine, pointer = CLIPS[:3]
    folder = tmp_path / "crema" / "AudioWAV"
    folder.mkdir(parents=True)
    (folder / present).write_bytes(crema.files[present])
    (folder / mine).write_bytes(b"my own version")
    (folder / pointer).write_bytes(audio.LFS_PREFIX + b".github.com/spec/v1\n")
    summary = corpora.fetch_corpus("crema")
    assert "11 new files, 1 already present" in summary and f"AudioWAV/{mine}" in summary and "export" not in summary
    assert (folder / mine).read_bytes() == b"my own version"
    assert {name: (folder / name).read_bytes() for name in CLIPS if name != mine} == {
        name: crema.files[name] for name in CLIPS if name != mine
    }
    assert sorted(crema.paths()) == sorted({*CLIPS, SHEET} - {present, mine})
    table = corpora.load("crema")
    assert table.set_index("speaker").loc["1000", "sex"] == "male"
    assert corpora.describe_official(table).startswith(
        "official: 12 of 12 files are present, 11 of them with the official bytes;"
    )


def test_a_wrong_file_does_not_stop_the_others(crema, tmp_path):
    right = crema.files[CLIPS[4]]
    crema.files[CLIPS[4]] = bytes(len(right))
    del crema.files[CLIPS[5]]
    with pytest.raises(corpora.FetchError, match="11 of the 13 files of the corpus are in"):
        corpora.fetch_corpus("crema", tmp_path)
    assert set(contents(tmp_path / "crema" / "AudioWAV")) == {*CLIPS} - {CLIPS[4], CLIPS[5]}


def test_a_missing_server_is_not_asked_for_every_file(crema, tmp_path):
    crema.files.clear()
    with pytest.raises(corpora.FetchError, match=r"404.* 0 of the 13 files .*gitlab.com/cs-cooper-lab"):
        corpora.fetch_corpus("crema", tmp_path)
    assert len(crema.requests) <= corpora.MAX_FAILURES + corpora.CONNECTIONS


def test_emodb_is_complete_and_only_missing_clips_are_unpacked(emodb, tmp_path):
    lost, mine, other = sorted(emodb.clips)
    summary = corpora.fetch_corpus("emodb", tmp_path)
    folder = tmp_path / "emodb"
    assert contents(folder / "wav") == emodb.clips and "3 new files, 0 already present" in summary
    assert "CC0 1.0" in summary and (folder / "erkennung.txt").is_file() and not (folder / "silb").exists()
    assert not list(tmp_path.rglob("*.zip")) and not (folder / ".fetch").exists()
    (folder / "wav" / lost).unlink()
    (folder / "wav" / mine).write_bytes(b"my own version")
    before = (folder / "wav" / other).stat().st_ino
    summary = corpora.fetch_corpus("emodb", tmp_path)
    assert "1 new files, 1 already present" in summary and f"wav/{mine}" in summary
    assert (folder / "wav" / mine).read_bytes() == b"my own version"
    assert (folder / "wav" / other).stat().st_ino == before
    emodb.requests.clear()
    corpora.fetch_corpus("emodb", tmp_path)
    assert emodb.requests == []


def test_an_interrupted_download_of_emodb_is_resumed(emodb, tmp_path):
    emodb.breaks["download.zip"] = [0, corpora.CHUNK_BYTES]  # the first request asks for the size alone
    corpora.fetch_corpus("emodb", tmp_path)
    assert "bytes=8192-" in [byte_range for _, byte_range in emodb.requests]
    assert contents(tmp_path / "emodb" / "wav") == emodb.clips


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"<html>Please log in</html>", "a web page in place of the file"),
        (b"no archive", "is not a zip archive and was deleted"),
        (
            packed({"wav/03a01Fa.wav": b"other bytes", "../03a02Fa.wav": noise("emodb2")}),
            "2 clips, such as wav/03a01Fa",
        ),
        (None, "the server answers 404"),
    ],
    ids=["page", "text", "archive", "missing"],
)
def test_a_wrong_archive_of_emodb_leaves_no_wrong_clip(emodb, tmp_path, sent, reason):
    if sent is None:
        emodb.files.clear()
    else:
        emodb.files["download.zip"] = sent
    with pytest.raises(corpora.FetchError, match=f"{reason}.*Other ways to get it: download.zip by hand"):
        corpora.fetch_corpus("emodb", tmp_path)
    present = contents(tmp_path / "emodb" / "wav") if (tmp_path / "emodb" / "wav").exists() else {}
    assert present.items() <= emodb.clips.items() and not list(tmp_path.rglob("*.zip"))


def test_the_removed_folder_does_not_contain_the_open_lock(ravdess, tmp_path, monkeypatch):
    """Windows refuses to remove a folder with an open file in it."""
    remove = shutil.rmtree

    def remove_as_windows_does(folder):
        opened = [Path(file.path) for file in psutil.Process().open_files()]
        if busy := [path for path in opened if path.is_relative_to(folder)]:
            raise PermissionError(errno.EACCES, "the file is being used by another process", str(busy[0]))
        remove(folder)

    monkeypatch.setattr("sernb.corpora.download.shutil.rmtree", remove_as_windows_does)
    corpora.fetch_corpus("ravdess", tmp_path)
    assert not (tmp_path / "ravdess" / ".fetch").exists()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\n<!DOCTYPE html><html>Please log in</html>", "a web page in place of the file. Does your network ask"),
        (b"<html>" + bytes(20_000), "a web page in place of the file"),
        (audio.LFS_PREFIX + b".github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer in place of the file"),
        (b"This repository is over its data quota.", "the server's file has 39 bytes, and the official one 9000"),
        (bytes(9001), "the server's file has 9001 bytes, and the official one 9000"),
    ],
    ids=["page", "long page", "pointer", "short", "long"],
)
def test_what_a_server_sends_in_place_of_a_file_is_named_and_deleted(crema, tmp_path, sent, reason):
    crema.files[CLIPS[3]] = sent
    with pytest.raises(corpora.FetchError, match=rf"{CLIPS[3]}: .*{reason}.*12 of the 13 files"):
        corpora.fetch_corpus("crema", tmp_path)
    assert crema.paths().count(CLIPS[3]) == 1
    assert not list(tmp_path.rglob(f"{CLIPS[3]}*"))


def test_the_error_of_an_empty_ravdess_download_names_the_record(ravdess, tmp_path):
    ravdess.files.clear()
    with pytest.raises(corpora.FetchError, match=r"404 Not Found\. Other ways .*zenodo.org/records/1188976") as error:
        corpora.fetch_corpus("ravdess", tmp_path)
    assert "kept" not in str(error.value)


def test_a_second_download_at_the_same_time_is_refused(ravdess, tmp_path):
    with download._download_dir(tmp_path / "ravdess"), pytest.raises(corpora.FetchError, match="another download"):
        corpora.fetch_corpus("ravdess", tmp_path)


STOPPED = """
import sys
from sernb import cli
from sernb.corpora import download
download.ARCHIVES = tuple(download.Archive(*facts) for facts in {facts})
sys.argv = ["sernb", "fetch", "ravdess", "--to", {to!r}]
cli.app()
"""


@pytest.mark.slow
def test_ctrl_c_keeps_the_partial_download(ravdess, tmp_path):
    ravdess.slow = 0.2
    facts = [tuple(vars(archive).values()) for archive in download.ARCHIVES]
    code = STOPPED.format(facts=facts, to=str(tmp_path))
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    part = tmp_path / "ravdess" / ".fetch" / "Speech.zip.part"
    while running.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert error == "interrupted; downloaded files are kept, and the same command continues\n"
    assert running.returncode == 130
    received = part.stat().st_size
    ravdess.slow = 0.0
    ravdess.requests.clear()
    corpora.fetch_corpus("ravdess", tmp_path)
    assert ravdess.requests[0] == ("Speech.zip", f"bytes={received}-") and contents(tmp_path / "ravdess") == COMPLETE


def test_after_ctrl_c_no_further_file_is_started():
    started = []

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download._run_concurrently([interrupted, *[lambda: started.append(time.sleep(0.05))] * 400])
    assert len(started) < 100


def test_the_command_prints_a_summary_or_an_error(ravdess, tmp_path):
    result = CliRunner().invoke(cli.app, ["fetch", "ravdess", "--to", str(tmp_path)])
    assert result.exit_code == 0 and "8 new files" in result.stdout
    result = CliRunner().invoke(cli.app, ["fetch", "local", "--to", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith("sernb: 'local' cannot be downloaded, only ravdess, crema, emodb.")
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli.app, ["fetch", "ravdess", "--to", str(tmp_path / "file")])
    assert result.exit_code == 1 and "Not a directory" in result.stderr and "Traceback" not in result.output


def test_the_registry_of_official_files():
    registry = corpora.crema_registry()
    assert len(registry) == registry["name"].nunique() == 7442 and registry["bytes"].sum() == 605_899_936
    assert registry["sha256"].str.fullmatch(r"[0-9a-f]{64}").all()
    fields = pd.DataFrame(registry["name"].map(corpora.parse_crema_name).tolist())
    assert fields["speaker"].nunique() == 91 and "unknown" not in set(fields["emotion"])
    registry = corpora.emodb_registry()
    assert len(registry) == registry["name"].nunique() == 535 and registry["bytes"].sum() == 47_626_698
    fields = pd.DataFrame(registry["name"].map(corpora.parse_emodb_name).tolist())
    assert fields["speaker"].nunique() == 10 and "unknown" not in set(fields["emotion"])
    assert [archive.size for archive in corpora.ARCHIVES] == [208_468_073, 225_505_317]


@pytest.mark.real
def test_check_reports_how_much_of_crema_is_official(real):
    result = CliRunner().invoke(cli.app, ["check", "crema", "--data-dir", str(real("crema"))])
    assert "official: 314 of 7442 files are present, 314 of them with the official bytes; `sernb fetch" in result.stdout


@pytest.mark.real
def test_the_table_of_actors_is_the_official_one(real):
    sheet = (real("crema") / "VideoDemographics.csv").read_bytes()
    assert (hashlib.sha256(sheet).hexdigest(), len(sheet)) == (corpora.DEMOGRAPHICS.digest, corpora.DEMOGRAPHICS.size)
