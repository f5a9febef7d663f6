"""What is asked of a file is remembered until the file changes."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from support.nobody import somebody

from sernb import corpora
from sernb import utils


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))


def old(path: Path, content: bytes = b"one") -> Path:
    """A file that was not written a moment ago, as far as its own times tell."""
    path.write_bytes(content)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr("sernb.utils.filecache.MIN_AGE_SECONDS", 0.0)
    return [old(tmp_path / name, name.encode()) for name in ("a.wav", "b.wav", "c.wav")]


def asked_of(paths: list, asked: list) -> list[str]:
    return utils.cached_per_file("size", lambda path: asked.append(path) or str(Path(path).stat().st_size), paths)


def test_each_file_is_asked_once_and_again_after_a_change(paths):
    asked: list = []
    for _ in range(2):
        assert asked_of(paths, asked) == ["5", "5", "5"]
    assert sorted(asked) == sorted(paths)
    old(paths[1], b"longer than before")
    assert asked_of(paths, asked) == ["5", "18", "5"] and asked[3:] == [paths[1]]
    time.sleep(0.05)  # older kernels count time in steps of some milliseconds
    old(paths[1], b"as long as just now"[:18])  # of the same size and time: the file system's own time of change tells
    asked_of(paths, asked)
    assert asked[4:] == [paths[1]]
    assert utils.cached_per_file("name", lambda path: Path(path).name, paths) == ["a.wav", "b.wav", "c.wav"]


def test_a_file_that_was_written_a_moment_ago_is_not_trusted(paths, monkeypatch):
    monkeypatch.setattr("sernb.utils.filecache.MIN_AGE_SECONDS", 60.0)
    asked: list = []
    for _ in range(2):
        asked_of(paths, asked)
    assert len(asked) == 6


def test_what_cannot_be_seen_is_asked_each_time_and_not_kept(paths, tmp_path):
    asked: list = []
    for _ in range(2):
        found = utils.cached_per_file("x", lambda path: asked.append(path) or "", [paths[0], tmp_path / "gone.wav"])
        assert found == ["", ""]
    assert len(asked) == 4


def test_no_name_is_kept_and_a_changed_answer_is_not_believed(paths):
    digests = corpora.sha256_of_files(paths)
    place = utils.cache_dir() / "files.sqlite"
    assert not any(word in place.read_bytes() for word in (b"a.wav", str(paths[0].parent).encode()))
    with closing(sqlite3.connect(place)) as there, there:
        there.execute("UPDATE files SET answer = 'f' || substr(answer, 2)")
    assert corpora.sha256_of_files(paths) == digests
    place.write_bytes(b"no database at all, and longer than a header of one would be" * 20)
    assert corpora.sha256_of_files(paths) == digests


def test_a_folder_that_may_not_be_written_stops_nobody(monkeypatch):
    with somebody() as root:
        monkeypatch.setattr("sernb.utils.filecache.MIN_AGE_SECONDS", 0.0)
        path = old(root / "a.wav")
        (root / "cache").mkdir(mode=0o555)
        monkeypatch.setenv("SERNB_CACHE", str(root / "cache"))
        assert asked_of([path], []) == ["3"]


def test_many_are_answered_in_their_order():
    assert utils.map_files(lambda number: time.sleep(0.001 * (number % 3)) or number, range(100)) == list(range(100))
