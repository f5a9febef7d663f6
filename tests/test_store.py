"""Sets that are kept as they were assembled: the same numbers, never believed when damaged, never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write
from support.nobody import somebody

from sernb import corpora
from sernb import features
from sernb import utils

RATE = 8_000


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Six clips, and a number of them that is many."""
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sernb.features.store.MIN_ARRAYS_KEPT", 5)
    paths = [write(tmp_path / f"{i}.wav", tone(0.2 + i / 10, RATE, 200 + i), RATE) for i in range(6)]
    return pd.DataFrame({"path": map(str, paths), "sha256": corpora.sha256_of_files(paths)})


def extracted(rows):
    return features.extract(rows, "mel", sample_rate=RATE)


def kept():
    return sorted(utils.cache_dir().glob("*.npy"))


@pytest.fixture
def from_rows(rows, monkeypatch):
    """What the store's rows give, without a set that is kept."""
    with monkeypatch.context() as patch:
        patch.setattr("sernb.features.store.MIN_ARRAYS_KEPT", 1000)
        found = extracted(rows)
    assert not kept()
    return found


def unreadable(*_):
    raise AssertionError("the store was asked")


def test_a_set_is_mapped_the_second_time_and_the_store_is_not_asked(rows, from_rows, monkeypatch):
    np.testing.assert_array_equal(extracted(rows), from_rows)
    monkeypatch.setattr("sernb.utils.run_transaction", unreadable)
    again = extracted(rows)
    np.testing.assert_array_equal(again, from_rows)
    assert again.dtype == np.float32 and again.flags.writeable and not utils.is_memmap(again)


def test_what_is_changed_in_an_array_is_not_changed_in_the_set(rows, from_rows):
    for _ in range(2):
        array = extracted(rows)
        np.testing.assert_array_equal(array, from_rows)
        array[:] = 0


def test_another_order_or_another_number_of_clips_is_another_set(rows, from_rows):
    extracted(rows)
    np.testing.assert_array_equal(extracted(rows[::-1]), from_rows[::-1])
    np.testing.assert_array_equal(extracted(rows.head(5)), from_rows[:5, :, : 1 + int(0.6 * RATE) // 512])


def test_flipped_and_missing_bytes_of_a_set_are_noticed(rows, from_rows):
    extracted(rows)
    (file,) = kept()
    whole, chance = file.read_bytes(), np.random.default_rng(0)
    for turn in range(40):
        data = bytearray(whole)
        data[chance.integers(min(len(data), 200 if turn % 2 else len(data)))] ^= 1 << chance.integers(8)
        file.write_bytes(data[: chance.integers(len(data))] if turn % 4 == 3 else data)
        np.testing.assert_array_equal(extracted(rows), from_rows)
        assert kept() == [file] and file.read_bytes() == whole, "and it is made again"


def test_a_set_beyond_the_bound_on_memory_stays_on_disk(rows, from_rows, monkeypatch):
    monkeypatch.setenv("SERNB_MEMORY", "0.001")
    for _ in range(2):
        array = extracted(rows)
        assert utils.is_memmap(array)
        np.testing.assert_array_equal(array, from_rows)


def test_sets_take_no_more_of_the_disk_than_the_store_and_the_newest_stays(rows):
    for first in range(30):
        extracted(pd.concat([rows[first % 6 :], rows[: first % 6], rows[: first // 6]], ignore_index=True))
        (place,) = utils.cache_dir().glob("mel-*.sqlite")
        assert kept() and (len(kept()) == 1 or sum(file.stat().st_size for file in kept()) <= place.stat().st_size)
    before = kept()
    array = extracted(rows)
    assert 0 < len(kept()) <= len(before) + 1 and len(array) == 6
    extracted(rows)
    assert max(kept(), key=lambda file: file.stat().st_mtime_ns).stat().st_size == array.nbytes + 128


def test_a_set_that_cannot_be_kept_is_assembled_in_memory(rows, from_rows, monkeypatch):
    monkeypatch.setattr("sernb.utils.reserve_disk", full)
    np.testing.assert_array_equal(extracted(rows), from_rows)
    assert {file.suffix for file in utils.cache_dir().iterdir() if "mel" in file.name} == {".sqlite"}, "no part is left"


def test_a_set_that_may_not_be_written_is_mapped_and_a_damaged_one_passed_over(rows, from_rows, monkeypatch):
    # By now all is imported that such a user may not be allowed to read.
    with somebody() as root:
        paths = [write(root / f"{i}.wav", tone(0.2 + i / 10, RATE, 200 + i), RATE) for i in range(6)]
        table = pd.DataFrame({"path": map(str, paths), "sha256": corpora.sha256_of_files(paths)})
        monkeypatch.setenv("SERNB_CACHE", str(root / "cache"))
        expected = extracted(table).copy()
        (file,) = kept()
        for path in (*utils.cache_dir().rglob("*"), utils.cache_dir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        with monkeypatch.context() as patch:
            patch.setattr("sernb.utils.run_transaction", unreadable)
            np.testing.assert_array_equal(extracted(table), expected)
            patch.setattr(os, "utime", forbidden)  # as for a user whose file it is not
            np.testing.assert_array_equal(extracted(table), expected)
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:-1])
        np.testing.assert_array_equal(extracted(table), expected)


def forbidden(*_):
    raise PermissionError(1, "Operation not permitted")


def full(*_, **__):
    raise OSError(28, "No space left on device")


def test_what_a_killed_process_leaves_is_removed_and_what_a_living_one_makes_is_not(rows, from_rows):
    (place,) = utils.cache_dir().glob("mel-*.sqlite")
    stale, fresh = (place.with_name(f"{place.stem}-{name}") for name in ("stale", "fresh"))
    for folder in (stale, fresh):
        folder.mkdir()
        (folder / "set.npy").write_bytes(b"half")
    os.utime(stale, (time.time() - 7200,) * 2)
    extracted(rows)
    assert fresh.is_dir() and not stale.exists()


def test_a_process_killed_while_it_assembles_leaves_nothing_that_is_believed(rows, from_rows, tmp_path):
    (tmp_path / "rows.csv").write_text(rows.to_csv(index=False))
    code = (
        "import os, signal, sys, pandas as pd\n"
        "from sernb import features\n"
        "from sernb.features import store\n"
        "store.MIN_ARRAYS_KEPT = 5\n"
        "store._copy_rows = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"features.extract(pd.read_csv(sys.argv[1]), 'mel', sample_rate={RATE})"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "rows.csv")]).returncode == -9
    assert not kept()
    np.testing.assert_array_equal(extracted(rows), from_rows)
    assert len(kept()) == 1
