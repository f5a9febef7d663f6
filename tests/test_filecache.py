"""Results for a file are cached until the file changes."""

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


def write_old(path: Path, content: bytes = b"one") -> Path:
    """A file that was not written a moment ago, as far as its own times tell."""
    path.write_bytes(content)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    return path


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setattr("sernb.utils.filecache.MIN_AGE_SECONDS", 0.0)
    return [write_old(tmp_path / name, name.encode()) for name in ("a.wav", "b.wav", "c.wav")]


def cached_sizes(paths: list, computed: list) -> list[str]:
    return utils.cached_per_file("size", lambda path: computed.append(path) or str(Path(path).stat().st_size), paths)


def test_result_is_computed_once_and_again_after_a_change(paths):
    computed: list = []
    for _ in range(2):
        assert cached_sizes(paths, computed) == ["5", "5", "5"]
    assert sorted(computed) == sorted(paths)
    write_old(paths[1], b"longer than before")
    assert cached_sizes(paths, computed) == ["5", "18", "5"] and computed[3:] == [paths[1]]
    time.sleep(0.05)  # older kernels count time in steps of some milliseconds
    write_old(paths[1], b"as long as just now"[:18])  # of the same size and time, but its inode has changed
    cached_sizes(paths, computed)
    assert computed[4:] == [paths[1]]
    assert utils.cached_per_file("name", lambda path: Path(path).name, paths) == ["a.wav", "b.wav", "c.wav"]


def test_result_for_a_file_just_written_is_not_cached(paths, monkeypatch):
    monkeypatch.setattr("sernb.utils.filecache.MIN_AGE_SECONDS", 60.0)
    computed: list = []
    for _ in range(2):
        cached_sizes(paths, computed)
    assert len(computed) == 6


def test_empty_results_and_missing_files_are_not_cached(paths, tmp_path):
    computed: list = []
    for _ in range(2):
        results = utils.cached_per_file(
            "x", lambda path: computed.append(path) or "", [paths[0], tmp_path / "gone.wav"]
        )
        assert results == ["", ""]
    assert len(computed) == 4


def test_cache_holds_no_paths_and_damaged_results_are_recomputed(paths):
    digests = corpora.sha256_of_files(paths)
    database = utils.cache_dir() / "files.sqlite"
    assert not any(word in database.read_bytes() for word in (b"a.wav", str(paths[0].parent).encode()))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE files SET answer = 'f' || substr(answer, 2)")
    assert corpora.sha256_of_files(paths) == digests
    database.write_bytes(b"no database at all, and longer than a header of one would be" * 20)
    assert corpora.sha256_of_files(paths) == digests


def test_read_only_cache_folder_is_no_error(monkeypatch):
    with somebody() as root:
        monkeypatch.setattr("sernb.utils.filecache.MIN_AGE_SECONDS", 0.0)
        path = write_old(root / "a.wav")
        (root / "cache").mkdir(mode=0o555)
        monkeypatch.setenv("SERNB_CACHE", str(root / "cache"))
        assert cached_sizes([path], []) == ["3"]


def test_results_are_in_the_order_of_the_files():
    assert utils.map_files(lambda number: time.sleep(0.001 * (number % 3)) or number, range(100)) == list(range(100))
