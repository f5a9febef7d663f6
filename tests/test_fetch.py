"""Downloads, from a server of the tests' own with small stand-ins of the official files."""

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
import pytest
from typer.testing import CliRunner

from sernb import audio
from sernb import cli
from sernb import corpora
from sernb.corpora import download


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` by path; `breaks` says after how many bytes a path's next transfers break."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, list[int]] = {}
        self.asked: list[tuple[str, str]] = []
        self.ranges = True
        self.slow = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        path, wanted = self.path.lstrip("/"), self.headers.get("Range", "")
        self.server.asked.append((path, wanted))
        if path not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[path]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(data) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        left = self.server.breaks.get(path, [])
        end = start + left.pop(0) if left else len(data)
        for at in range(start, min(end, len(data)), 2000):
            time.sleep(self.server.slow)
            self.wfile.write(data[at : min(at + 2000, end)])

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
    """Two stand-in archives, as the server has them and as the package knows them."""
    known = []
    for name, members in (("Speech.zip", SPEECH), ("Song.zip", SONG)):
        data = server.files[name] = packed(members)
        known.append(
            corpora.Archive(server.url + name, name, f"md5:{hashlib.md5(data).hexdigest()}", len(data), 50_000)
        )
    monkeypatch.setattr("sernb.corpora.download.ARCHIVES", tuple(known))
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
    known = corpora.RemoteFile(
        server.url + "VideoDemographics.csv", "VideoDemographics.csv", hashlib.sha256(sheet).hexdigest(), len(sheet)
    )
    monkeypatch.setattr("sernb.corpora.download.DEMOGRAPHICS", known)
    return server


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.wav")}


WHOLE = {f"Speech/{name}": data for name, data in SPEECH.items()} | {
    f"Song/{name}": data for name, data in SONG.items()
}


def test_ravdess_comes_whole_and_is_not_fetched_twice(ravdess, tmp_path, monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    told = corpora.fetch_corpus("ravdess", tmp_path)
    assert contents(tmp_path / "ravdess") == WHOLE
    assert "8 files are new" in told and f"export SERNB_DATA={tmp_path}" in told and "CC BY-NC-SA" in told
    assert not (tmp_path / "ravdess" / ".fetch").exists() and not list(tmp_path.rglob("*.zip"))
    ravdess.asked.clear()
    assert "0 files are new, 8 were there" in corpora.fetch_corpus("ravdess", tmp_path)
    assert ravdess.asked == []
    assert len(list(corpora.find_audio_files(tmp_path))) == 8


def test_a_clip_that_was_lost_comes_again_and_the_others_stay(ravdess, tmp_path):
    corpora.fetch_corpus("ravdess", tmp_path)
    lost, *_, kept = sorted((tmp_path / "ravdess" / "Song").rglob("*.wav"))
    lost.unlink()
    before = kept.stat()
    ravdess.asked.clear()
    told = corpora.fetch_corpus("ravdess", tmp_path)
    assert "1 files are new, 7 were there" in told and ravdess.paths() == ["Song.zip"]
    assert contents(tmp_path / "ravdess") == WHOLE and kept.stat().st_ino == before.st_ino


def test_files_of_the_users_are_kept_and_said_to_be_others(ravdess, tmp_path):
    name = next(iter(SPEECH))
    mine = tmp_path / "ravdess" / "Speech" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"my own version")
    told = corpora.fetch_corpus("ravdess", tmp_path)
    assert mine.read_bytes() == b"my own version"
    assert "1 files there are not the official ones" in told and name in told


def test_a_broken_transfer_goes_on_where_it_broke(ravdess, tmp_path):
    ravdess.breaks["Speech.zip"] = [corpora.CHUNK_BYTES, 2 * corpora.CHUNK_BYTES]
    corpora.fetch_corpus("ravdess", tmp_path)
    assert [wanted for path, wanted in ravdess.asked if path == "Speech.zip"] == ["", "bytes=8192-", "bytes=24576-"]
    assert contents(tmp_path / "ravdess") == WHOLE


def test_what_has_come_is_used_by_the_next_command(ravdess, tmp_path):
    ravdess.breaks["Speech.zip"] = [corpora.CHUNK_BYTES] + [0] * corpora.MAX_TRIES
    with pytest.raises(corpora.FetchError, match=r"Speech.zip: no answer .*What has come is kept; try again"):
        corpora.fetch_corpus("ravdess", tmp_path)
    assert list(corpora.find_audio_files(tmp_path)) == []
    ravdess.asked.clear()
    corpora.fetch_corpus("ravdess", tmp_path)
    assert ravdess.asked[0] == ("Speech.zip", "bytes=8192-") and contents(tmp_path / "ravdess") == WHOLE


def test_a_server_that_cannot_resume_begins_anew(ravdess, tmp_path):
    ravdess.ranges = False
    ravdess.breaks["Speech.zip"] = [corpora.CHUNK_BYTES]
    corpora.fetch_corpus("ravdess", tmp_path)
    assert contents(tmp_path / "ravdess") == WHOLE


@pytest.mark.parametrize("wrong", ["flipped", "longer", "shorter", "a page instead"])
def test_wrong_bytes_are_refused_and_not_kept(ravdess, tmp_path, wrong):
    right = ravdess.files["Song.zip"]
    flipped = right[:100] + bytes([right[100] ^ 1]) + right[101:]
    page = b"<html>please log in</html>"
    ravdess.files["Song.zip"] = {"flipped": flipped, "longer": right + b"0", "shorter": right[:-1]}.get(wrong, page)
    with pytest.raises(corpora.FetchError, match="Song.zip"):
        corpora.fetch_corpus("ravdess", tmp_path)
    assert not (tmp_path / "ravdess" / "Song").exists()
    ravdess.files["Song.zip"] = right
    corpora.fetch_corpus("ravdess", tmp_path)
    assert contents(tmp_path / "ravdess") == WHOLE


def test_a_part_of_something_else_does_not_stay_in_the_way(ravdess, tmp_path):
    part = tmp_path / "ravdess" / ".fetch" / "Song.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 500)
    with pytest.raises(corpora.FetchError, match="not the official ones"):
        corpora.fetch_corpus("ravdess", tmp_path)
    corpora.fetch_corpus("ravdess", tmp_path)
    assert contents(tmp_path / "ravdess") == WHOLE


@pytest.mark.parametrize(
    "name", ["../out.wav", "a/../../out.wav", "/tmp/out.wav", "..\\out.wav", "C:\\out.wav", "link/out.wav"]
)
def test_an_archive_that_climbs_out_is_refused_whole(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    file = tmp_path / "bad.zip"
    file.write_bytes(packed({"good.wav": b"1", name: b"2"}))
    with pytest.raises(corpora.FetchError, match=re.escape(name) + " would lie outside"):
        corpora.unpack_archive(file, tmp_path / "in")
    assert not list(tmp_path.rglob("*.wav")) and not Path("/tmp/out.wav").exists()


def test_an_archive_with_a_link_in_it_is_refused(tmp_path):
    link = zipfile.ZipInfo("link.wav")
    link.external_attr = 0o120777 << 16
    file = tmp_path / "bad.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(corpora.FetchError, match="link.wav would lie outside"):
        corpora.unpack_archive(file, tmp_path / "in")


def test_the_disk_is_looked_at_before_anything_is_fetched(ravdess, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(120_000))
    with pytest.raises(corpora.FetchError, match=r"0 MB are needed and 0 MB are free.*--to"):
        corpora.fetch_corpus("ravdess", tmp_path)
    assert ravdess.asked == []


def test_a_disk_that_fills_up_is_an_error_in_a_line(ravdess, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(corpora.FetchError, match="No space left on device. What has come is kept"):
        corpora.fetch_corpus("ravdess", tmp_path)
    assert list(corpora.find_audio_files(tmp_path)) == []


def test_crema_comes_file_by_file_and_only_what_is_missing(crema, tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_DATA", str(tmp_path))
    there, mine, pointer = CLIPS[:3]
    folder = tmp_path / "crema" / "AudioWAV"
    folder.mkdir(parents=True)
    (folder / there).write_bytes(crema.files[there])
    (folder / mine).write_bytes(b"my own version")
    (folder / pointer).write_bytes(audio.LFS_PREFIX + b".github.com/spec/v1\n")
    told = corpora.fetch_corpus("crema")
    assert "11 files are new, 1 were there" in told and f"AudioWAV/{mine}" in told and "export" not in told
    assert (folder / mine).read_bytes() == b"my own version"
    assert {name: (folder / name).read_bytes() for name in CLIPS if name != mine} == {
        name: crema.files[name] for name in CLIPS if name != mine
    }
    assert sorted(crema.paths()) == sorted({*CLIPS, SHEET} - {there, mine})
    table = corpora.load("crema")
    assert table.set_index("speaker").loc["1000", "sex"] == "male"
    assert corpora.describe_official(table).startswith(
        "official: 12 of 12 names are here, 11 of them with the official bytes;"
    )


def test_one_wrong_file_costs_no_other(crema, tmp_path):
    right = crema.files[CLIPS[4]]
    crema.files[CLIPS[4]] = bytes(len(right))
    del crema.files[CLIPS[5]]
    with pytest.raises(corpora.FetchError, match="And 1 more failed. The others are here"):
        corpora.fetch_corpus("crema", tmp_path)
    assert set(contents(tmp_path / "crema" / "AudioWAV")) == {*CLIPS} - {CLIPS[4], CLIPS[5]}


def test_a_server_that_is_gone_is_not_asked_for_every_file(crema, tmp_path):
    crema.files.clear()
    with pytest.raises(corpora.FetchError, match="the server says 404"):
        corpora.fetch_corpus("crema", tmp_path)
    assert len(crema.asked) <= corpora.MAX_FAILURES + corpora.CONNECTIONS


def test_two_downloads_at_once_do_not_mix(ravdess, tmp_path):
    with download._download_dir(tmp_path / "ravdess"), pytest.raises(corpora.FetchError, match="another download"):
        corpora.fetch_corpus("ravdess", tmp_path)


STOPPED = """
import sys
from sernb import cli, fetch
fetch.ARCHIVES = tuple(fetch.Archive(*facts) for facts in {facts})
sys.argv = ["sernb", "fetch", "ravdess", "--to", {to!r}]
cli.app()
"""


def test_ctrl_c_keeps_what_has_come(ravdess, tmp_path):
    ravdess.slow = 0.2
    facts = [tuple(vars(archive).values()) for archive in corpora.ARCHIVES]
    code = STOPPED.format(facts=facts, to=str(tmp_path))
    running = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    part = tmp_path / "ravdess" / ".fetch" / "Speech.zip.part"
    while running.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130 and said == "stopped; what has come stays, and the same command goes on\n"
    came = part.stat().st_size
    ravdess.slow = 0.0
    ravdess.asked.clear()
    corpora.fetch_corpus("ravdess", tmp_path)
    assert ravdess.asked[0] == ("Speech.zip", f"bytes={came}-") and contents(tmp_path / "ravdess") == WHOLE


def test_after_ctrl_c_no_further_file_is_begun():
    begun = []

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download._run_concurrently([interrupted, *[lambda: begun.append(time.sleep(0.05))] * 400])
    assert len(begun) < 100


def test_the_command_says_what_it_did_and_refuses_what_it_cannot(ravdess, tmp_path):
    said = CliRunner().invoke(cli.app, ["fetch", "ravdess", "--to", str(tmp_path)])
    assert said.exit_code == 0 and "8 files are new" in said.stdout
    said = CliRunner().invoke(cli.app, ["fetch", "local", "--to", str(tmp_path)])
    assert said.exit_code == 1 and said.stderr.startswith("sernb: 'local' cannot be fetched; ravdess and crema can.")
    (tmp_path / "file").touch()
    said = CliRunner().invoke(cli.app, ["fetch", "ravdess", "--to", str(tmp_path / "file")])
    assert said.exit_code == 1 and "Not a directory" in said.stderr and "Traceback" not in said.output


def test_what_the_package_knows_of_the_official_files():
    known = corpora.crema_registry()
    assert len(known) == known["name"].nunique() == 7442 and known["bytes"].sum() == 605_899_936
    assert known["sha256"].str.fullmatch(r"[0-9a-f]{64}").all()
    fields = pd.DataFrame(known["name"].map(corpora.parse_crema_name).tolist())
    assert fields["speaker"].nunique() == 91 and "unknown" not in set(fields["emotion"])
    assert [archive.bytes for archive in corpora.ARCHIVES] == [208_468_073, 225_505_317]


@pytest.mark.real
def test_check_says_how_much_of_crema_is_official(real):
    said = CliRunner().invoke(cli.app, ["check", "crema", "--data-dir", str(real("crema"))])
    assert "official: 314 of 7442 names are here, 314 of them with the official bytes; `sernb fetch" in said.stdout


@pytest.mark.real
def test_the_actors_table_is_the_official_one(real):
    sheet = (real("crema") / "VideoDemographics.csv").read_bytes()
    assert (hashlib.sha256(sheet).hexdigest(), len(sheet)) == (corpora.DEMOGRAPHICS.hash, corpora.DEMOGRAPHICS.bytes)
