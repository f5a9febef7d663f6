"""The feature store: its keys follow the source code, and a damaged, stale or locked file never gives wrong numbers."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

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
    """Six clips, which count as a large set."""
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sernb.features.store.MIN_ARRAYS_KEPT", 5)
    paths = [write(tmp_path / f"{i}.wav", tone(0.2 + i / 10, RATE, 200 + i), RATE) for i in range(6)]
    return pd.DataFrame({"path": map(str, paths), "sha256": corpora.sha256_of_files(paths)})


def extract_mel(rows):
    return features.extract(rows, "mel", sample_rate=RATE)


def kept_sets():
    return sorted(utils.cache_dir().glob("*.npy"))


@pytest.fixture
def from_rows(rows, monkeypatch):
    """The array that the store's rows give, without a mapped set."""
    with monkeypatch.context() as patch:
        patch.setattr("sernb.features.store.MIN_ARRAYS_KEPT", 1000)
        array = extract_mel(rows)
    assert not kept_sets()
    return array


def fail_if_called(*_):
    raise AssertionError("the store was asked")


def test_set_is_mapped_the_second_time_without_the_database(rows, from_rows, monkeypatch):
    np.testing.assert_array_equal(extract_mel(rows), from_rows)
    monkeypatch.setattr("sernb.utils.run_transaction", fail_if_called)
    again = extract_mel(rows)
    np.testing.assert_array_equal(again, from_rows)
    assert again.dtype == np.float32 and again.flags.writeable and not utils.is_memmap(again)


def test_changes_to_an_array_do_not_change_the_file(rows, from_rows):
    for _ in range(2):
        array = extract_mel(rows)
        np.testing.assert_array_equal(array, from_rows)
        array[:] = 0


def test_another_order_or_number_of_clips_is_another_set(rows, from_rows):
    extract_mel(rows)
    np.testing.assert_array_equal(extract_mel(rows[::-1]), from_rows[::-1])
    np.testing.assert_array_equal(extract_mel(rows.head(5)), from_rows[:5, :, : 1 + int(0.6 * RATE) // 512])


def test_flipped_and_missing_bytes_of_a_set_are_repaired(rows, from_rows):
    extract_mel(rows)
    (file,) = kept_sets()
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for turn in range(40):
        data = bytearray(whole)
        data[rng.integers(min(len(data), 200 if turn % 2 else len(data)))] ^= 1 << rng.integers(8)
        file.write_bytes(data[: rng.integers(len(data))] if turn % 4 == 3 else data)
        np.testing.assert_array_equal(extract_mel(rows), from_rows)
        assert kept_sets() == [file] and file.read_bytes() == whole, "and it is made again"


def test_set_beyond_the_memory_limit_stays_on_disk(rows, from_rows, monkeypatch):
    monkeypatch.setenv("SERNB_MEMORY", "0.001")
    for _ in range(2):
        array = extract_mel(rows)
        assert utils.is_memmap(array)
        np.testing.assert_array_equal(array, from_rows)


def test_sets_take_at_most_as_much_disk_as_the_store(rows):
    for first in range(30):
        extract_mel(pd.concat([rows[first % 6 :], rows[: first % 6], rows[: first // 6]], ignore_index=True))
        (place,) = utils.cache_dir().glob("mel-*.sqlite")
        assert kept_sets() and (
            len(kept_sets()) == 1 or sum(file.stat().st_size for file in kept_sets()) <= place.stat().st_size
        )
    before = kept_sets()
    array = extract_mel(rows)
    assert 0 < len(kept_sets()) <= len(before) + 1 and len(array) == 6
    extract_mel(rows)
    assert max(kept_sets(), key=lambda file: file.stat().st_mtime_ns).stat().st_size == array.nbytes + 128


def test_set_is_built_in_memory_where_the_disk_is_full(rows, from_rows, monkeypatch):
    monkeypatch.setattr("sernb.utils.reserve_disk", raise_disk_full)
    np.testing.assert_array_equal(extract_mel(rows), from_rows)
    assert {file.suffix for file in utils.cache_dir().iterdir() if "mel" in file.name} == {".sqlite"}, "no part is left"


def test_read_only_set_is_mapped_and_a_damaged_one_ignored(rows, from_rows, monkeypatch):
    # By now all is imported that such a user may not be allowed to read.
    with somebody() as root:
        paths = [write(root / f"{i}.wav", tone(0.2 + i / 10, RATE, 200 + i), RATE) for i in range(6)]
        table = pd.DataFrame({"path": map(str, paths), "sha256": corpora.sha256_of_files(paths)})
        monkeypatch.setenv("SERNB_CACHE", str(root / "cache"))
        expected = extract_mel(table).copy()
        (file,) = kept_sets()
        for path in (*utils.cache_dir().rglob("*"), utils.cache_dir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        with monkeypatch.context() as patch:
            patch.setattr("sernb.utils.run_transaction", fail_if_called)
            np.testing.assert_array_equal(extract_mel(table), expected)
            patch.setattr(os, "utime", raise_permission_error)  # as for a user whose file it is not
            np.testing.assert_array_equal(extract_mel(table), expected)
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:-1])
        np.testing.assert_array_equal(extract_mel(table), expected)


def raise_permission_error(*_):
    raise PermissionError(1, "Operation not permitted")


def raise_disk_full(*_, **__):
    raise OSError(28, "No space left on device")


def test_stale_temporary_folders_are_removed_and_new_ones_stay(rows, from_rows):
    (place,) = utils.cache_dir().glob("mel-*.sqlite")
    stale, fresh = (place.with_name(f"{place.stem}-{name}") for name in ("stale", "fresh"))
    for folder in (stale, fresh):
        folder.mkdir()
        (folder / "set.npy").write_bytes(b"half")
    os.utime(stale, (time.time() - 7200,) * 2)
    extract_mel(rows)
    assert fresh.is_dir() and not stale.exists()


def test_process_killed_while_stacking_leaves_no_set(rows, from_rows, tmp_path):
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
    assert not kept_sets()
    np.testing.assert_array_equal(extract_mel(rows), from_rows)
    assert len(kept_sets()) == 1


# keys


@pytest.fixture
def source_copy(tmp_path, monkeypatch):
    """A copy of the package whose files the digests read, and that a test may change."""
    folder = Path(shutil.copytree(Path(features.__file__).parents[1], tmp_path / "sernb", ignore=lambda *_: {"data"}))
    monkeypatch.setattr("sernb.utils.source._package_path", lambda name: folder / "__init__.py")
    monkeypatch.setattr("sernb.utils.source.STARTED", math.inf)  # or the changed file's digest would be valid once only
    return folder


def feature_key(name: str, copy: int = 0) -> tuple[str, str]:
    """Return the name of the feature's file, and the key of a clip in it."""
    rows = pd.DataFrame({"path": ["a.wav"], "sha256": ["abc"], "copy": [copy]})
    plan = features.extraction._make_plan(rows, {name: {}}, RATE, "noise", 0)
    return plan.paths[name].name, plan.keys[0]


def replace_once(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) >= 1, f"{old!r} is not in {file.name}"
    file.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("features/spectral.py", "librosa.power_to_db(mel(signal, sample_rate))", "mel(signal, sample_rate)"),
        ("features/spectral.py", "power += np.square(spectrum.imag)", "power -= np.square(spectrum.imag)"),
        ("features/spectral.py", "N_FFT = 2048", "N_FFT = 1024"),
        ("features/extraction.py", "N_FFT // 2 + HOP_LENGTH", "N_FFT + HOP_LENGTH"),
        ("audio/loading.py", 'quality="HQ"', 'quality="VHQ"'),
        (
            "audio/containers.py",
            'file.read(dtype="float32", always_2d=True)',
            'file.read(dtype="float64", always_2d=True)',
        ),
    ],
)
def test_key_changes_with_the_feature_function_and_what_it_calls(source_copy, file, old, new):
    before = feature_key("mfcc")
    replace_once(source_copy / file, old, new)
    assert feature_key("mfcc") != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("features/spectral.py", "import librosa", "import librosa  # a comment"),
        ("features/spectral.py", '"""Return', '"""Compute'),
        ("features/spectral.py", "fmin=150", "fmin=160"),  # of the fingerprint
        ("features/functionals.py", "SILENCE = 35.0", "SILENCE = 30.0"),
        ("audio/augmentation.py", "SPEED_RANGE = (0.8, 1.25)", "SPEED_RANGE = (0.7, 1.25)"),
        ("lab/recorder.py", "import", "import os\nimport"),
    ],
)
def test_key_does_not_change_with_comments_docstrings_and_other_functions(source_copy, file, old, new):
    before = feature_key("mfcc")
    text = (source_copy / file).read_text()
    head, sep, rest = text.partition("from __future__ import annotations")
    assert old in rest
    (source_copy / file).write_text(head + sep + rest.replace(old, new, 1))
    assert feature_key("mfcc") == before


def test_key_of_an_augmented_copy_changes_with_the_augmentation(source_copy):
    before = feature_key("mfcc", copy=1)
    replace_once(source_copy / "audio" / "augmentation.py", "coverage=1.0", "coverage=0.5")
    assert feature_key("mfcc", copy=1) != before
    assert "nlpaug-" in before[1]


def test_key_changes_with_the_packages(monkeypatch):
    before = feature_key("mfcc")
    monkeypatch.setattr("sernb.features.store.version", lambda package: "0" if package == "soxr" else "1")
    assert feature_key("mfcc") != before


def test_changed_feature_function_is_extracted_again(rows, monkeypatch):
    """As after an edit and a restart: the number of a stored feature is never that of another function."""
    before = features.extract(rows, "zcr_rms", sample_rate=RATE)
    monkeypatch.setitem(features.FEATURES, "zcr_rms", doubled)
    np.testing.assert_allclose(features.extract(rows, "zcr_rms", sample_rate=RATE), 2 * before)


def doubled(signal, sample_rate, *, length: int = 0):
    return 2 * features.zcr_rms(signal, sample_rate, length=length)


def test_egemaps_without_opensmile_is_one_readable_line(rows, monkeypatch):
    def no_opensmile(package):
        if package == "opensmile":
            raise PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr("sernb.features.store.version", no_opensmile)
    with pytest.raises(ImportError, match=r"eGeMAPS needs the package opensmile.*pip install opensmile") as caught:
        features.extract(rows, "egemaps", sample_rate=16_000)
    assert len(str(caught.value).splitlines()) == 1


# disks and systems


def test_set_that_cannot_be_removed_is_skipped(rows, from_rows, monkeypatch):
    """Windows removes no file that is mapped."""
    extract_mel(rows)
    monkeypatch.setattr("sernb.features.store.allocate_features", fail_if_called)  # sets are mapped all the same
    unlink = Path.unlink
    monkeypatch.setattr(
        Path,
        "unlink",
        lambda file, **options: raise_permission_error() if file.suffix == ".npy" else unlink(file, **options),
    )
    for first in range(1, 20):
        table = pd.concat([rows[first % 6 :], rows[: first % 6], rows[: first // 6]], ignore_index=True)
        assert len(extract_mel(table)) == len(table)
    assert len(kept_sets()) == 20
    np.testing.assert_array_equal(extract_mel(rows), from_rows)


def test_frame_counts_are_those_of_each_clip(rows):
    frames = features.count_frames(rows, "mel", sample_rate=RATE)
    lengths = [round((0.2 + i / 10) * RATE) for i in range(6)]
    np.testing.assert_array_equal(frames, [1 + length // features.HOP_LENGTH for length in lengths])
    assert extract_mel(rows).shape[-1] == frames.max()
