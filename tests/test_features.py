import functools
import os
import random
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write
from support.nobody import somebody

from sernb import audio
from sernb import corpora
from sernb import features
from sernb import utils

RATE = 22050


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def rows(tmp_path):
    """Five clips of different lengths, the longest not first."""
    paths = [
        write(tmp_path / f"{i}.wav", tone(s, RATE, 200 + i), RATE) for i, s in enumerate((0.5, 0.31, 1.2, 0.9, 0.05))
    ]
    return pd.DataFrame({"path": map(str, paths), "sha256": corpora.sha256_of_files(paths)})


def padded(rows, rate=RATE):
    signals = [audio.load(path, rate) for path in rows["path"]]
    longest = max(map(len, signals))
    return [np.pad(s, (0, longest - len(s))) for s in signals], longest


def test_mel_is_librosas_on_the_padded_clip(rows):
    expected = [librosa.feature.melspectrogram(y=y, sr=RATE) for y in padded(rows)[0]]
    found = features.extract(rows, "mel", sample_rate=RATE)
    assert found.shape == (5, 128, expected[0].shape[1])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_mfcc_is_librosas_on_the_padded_clip(rows):
    expected = [librosa.feature.mfcc(y=y, sr=16000, n_mfcc=100) for y in padded(rows, 16000)[0]]
    found = features.extract(rows, "mfcc", sample_rate=16000, n_mfcc=100)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_zcr_rms_is_librosas_on_the_padded_clip_and_on_the_clip_itself(rows):
    def expected(signals):
        return [[librosa.feature.zero_crossing_rate(y).mean(), librosa.feature.rms(y=y).mean()] for y in signals]

    signals, longest = padded(rows)
    found = features.extract(rows, "zcr_rms", sample_rate=RATE, length=longest)
    np.testing.assert_allclose(found, expected(signals), rtol=1e-5)
    found = features.extract(rows, "zcr_rms", sample_rate=RATE)
    np.testing.assert_allclose(found, expected([audio.load(p, RATE) for p in rows["path"]]), rtol=1e-5)


def test_several_features_are_made_of_one_decoding(rows, monkeypatch):
    expected = [features.extract(rows, name, sample_rate=RATE, n_jobs=1) for name in ("mel", "zcr_rms")]
    monkeypatch.setenv("SERNB_CACHE", os.environ["SERNB_CACHE"] + "-2")
    decoded, load = [], audio.load
    monkeypatch.setattr("sernb.audio.load", lambda path, *args, **how: decoded.append(path) or load(path, *args, **how))
    table = rows.assign(clip=rows["path"])
    features.split_usable(table, "mel", also=["zcr_rms"], sample_rate=RATE)
    found = [features.extract(rows, name, sample_rate=RATE) for name in ("mel", "zcr_rms")]
    assert sorted(decoded) == sorted(rows["path"])
    for ours, before in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, before)


def test_frames_that_are_others_than_the_stores_are_not_cut_without_a_word(rows, monkeypatch):
    for shape in ((1, 7), (3,)):
        monkeypatch.setitem(features.FEATURES, "odd", lambda signal, sample_rate: np.zeros(shape, np.float32))  # noqa: B023
        with pytest.raises(ValueError, match=r"must return the shape .* listed in CLIP_LEVEL"):
            features.extract(rows, "odd", sample_rate=RATE)


def test_the_second_time_nothing_is_extracted(rows, monkeypatch):
    first = features.extract(rows, "mfcc", sample_rate=8000)
    monkeypatch.setattr("sernb.audio.load", lambda *_, **__: pytest.fail("a stored clip was decoded again"))
    np.testing.assert_array_equal(features.extract(rows, "mfcc", sample_rate=8000), first)


def test_a_new_clip_extracts_only_itself_and_widens_the_others(rows, monkeypatch, tmp_path):
    features.extract(rows.head(2), "mel", sample_rate=RATE)
    decoded = []
    load = audio.load
    monkeypatch.setattr("sernb.audio.load", lambda path, *args, **how: decoded.append(path) or load(path, *args, **how))
    features.extract(rows.head(3), "mel", sample_rate=RATE)
    assert decoded == [rows["path"][2]]


def test_changed_content_parameters_or_rate_extract_again(rows):
    one = rows.head(1)
    base = features.extract(one, "mfcc", sample_rate=16000, n_mfcc=20)
    assert features.extract(one, "mfcc", sample_rate=16000, n_mfcc=13).shape[1] == 13
    assert features.extract(one, "mfcc", sample_rate=8000, n_mfcc=20).shape != base.shape
    path = one["path"].iloc[0]
    write(Path(path), tone(0.5, RATE, 999), RATE)
    changed = one.assign(sha256=corpora.sha256_of_files([path]))
    assert not np.allclose(features.extract(changed, "mfcc", sample_rate=16000, n_mfcc=20), base)


@pytest.mark.parametrize("feature", ["mel", "mfcc", "zcr_rms", "fingerprint"])
def test_recordings_have_the_same_features_whatever_the_number_of_workers(tmp_path, monkeypatch, feature):
    """More of them than are begun at once, by threads or processes; one that cannot be used costs no other."""
    monkeypatch.setattr("sernb.features.extraction.JOBS_PER_BLOCK", 16)
    monkeypatch.setattr("sernb.features.extraction.MIN_BATCH_CLIPS", 5)
    paths = [write(tmp_path / f"{i}.wav", tone(0.2 + 0.01 * i, RATE, 200 + i), RATE) for i in range(40)]
    rows = pd.DataFrame({"path": map(str, paths), "sha256": corpora.sha256_of_files(paths), "clip": map(str, paths)})
    paths[7].write_bytes(b"")
    found = []
    for n_jobs in (1, 2):
        monkeypatch.setenv("SERNB_CACHE", str(tmp_path / f"cache-{n_jobs}"))
        kept, out = features.split_usable(rows, feature, sample_rate=RATE, n_jobs=n_jobs)
        assert list(out["clip"]) == [str(paths[7])]
        found.append(features.extract(kept, feature, sample_rate=RATE, n_jobs=n_jobs))
    np.testing.assert_array_equal(*found)


def test_the_same_noise_whatever_the_number_of_workers(rows, monkeypatch, tmp_path):
    many = pd.concat([rows.assign(copy=copy) for copy in range(24)], ignore_index=True)
    found = []
    for jobs in (1, 2):
        monkeypatch.setenv("SERNB_CACHE", str(tmp_path / f"cache-{jobs}"))
        found.append(features.extract(many, "mfcc", sample_rate=16000, seed=3, n_jobs=jobs, n_mfcc=20))
    np.testing.assert_array_equal(*found)
    assert not np.allclose(found[0][5:10], found[0][10:15])


def test_what_is_damaged_in_the_store_is_made_again(rows):
    before = features.extract(rows, "mel", sample_rate=RATE)
    (file,) = utils.cache_dir().glob("mel-*.sqlite")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE features SET data = zeroblob(length(data)) WHERE rowid < 4")
    np.testing.assert_array_equal(features.extract(rows, "mel", sample_rate=RATE), before)


@pytest.mark.parametrize("damage", ["garbage", "truncated"])
def test_a_store_that_is_no_database_any_more_is_made_again(rows, damage):
    before = features.extract(rows, "mel", sample_rate=RATE)
    (file,) = utils.cache_dir().glob("mel-*.sqlite")
    data = file.read_bytes()
    file.write_bytes(b"garbage" * 1000 if damage == "garbage" else data[: len(data) // 2])
    np.testing.assert_array_equal(features.extract(rows, "mel", sample_rate=RATE), before)


def test_several_processes_on_one_store_get_the_same(rows):
    many = pd.concat([rows.assign(copy=copy) for copy in range(4)], ignore_index=True)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(features.extract, many, "mfcc", sample_rate=16000, n_jobs=1) for _ in range(4)]
        found = [job.result() for job in jobs]
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


def test_a_long_extraction_does_not_lock_others_out(rows, monkeypatch):
    """While one extraction computes, another writes."""
    load = audio.load

    def slow(path, *args, **how):
        if path == rows["path"][4]:
            features.extract(rows.head(1), "mel", sample_rate=RATE)
        return load(path, *args, **how)

    monkeypatch.setattr("sernb.audio.load", slow)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.2))
    features.extract(rows.iloc[[1, 4]], "mel", sample_rate=RATE)


def test_a_store_that_cannot_be_made_names_the_remedy(rows, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="SERNB_CACHE"):
        features.extract(rows, "mel", sample_rate=RATE)


@pytest.mark.parametrize("copies", [1, 5])  # by itself, and by several processes
def test_an_undecodable_clip_is_named_and_the_rest_is_kept(rows, tmp_path, monkeypatch, copies):
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    all_rows = pd.concat([rows.assign(copy=copy) for copy in range(copies)], ignore_index=True)
    bad_row = pd.DataFrame({"path": [str(bad)], "sha256": ["x"], "copy": [0]})
    with_bad = pd.concat([bad_row, all_rows, bad_row.assign(sha256="y")], ignore_index=True)
    with pytest.raises(audio.AudioError, match="bad.wav.* 1 more clips cannot be used"):
        features.extract(with_bad, "mel", sample_rate=RATE)
    monkeypatch.setattr("sernb.audio.load", lambda *_, **__: pytest.fail("finished clips were lost"))
    features.extract(all_rows, "mel", sample_rate=RATE)


def test_scaler_is_fitted_on_training_rows_alone():
    x = np.random.default_rng(0).normal(5, 3, (10, 4, 7)).astype(np.float32)
    x[:, 3] = 1
    train = np.arange(10) < 6
    scaler = features.fit_scaler(x, train)
    scaled = features.apply_scaler(x, *scaler)
    np.testing.assert_allclose(scaled[train].mean(axis=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[train].std(axis=(0, 2)), [1, 1, 1, 0], atol=1e-5)
    x[~train] += 100
    np.testing.assert_array_equal(features.fit_scaler(x, train), scaler)


def test_max_minus_is_taken_on_the_clip_and_then_padded():
    x = np.array([[[1.0, 4.0, 9.0], [2.0, 0.5, 9.0]]], dtype=np.float32)  # two frames of clip, one of padding
    found = features.max_minus(x, np.array([features.HOP_LENGTH]))
    np.testing.assert_array_equal(found, [[[3, 0, 0], [2, 3.5, 0]]])


def test_db_are_below_each_clips_own_maximum():
    power = np.array([[[1.0, 0.1]], [[100.0, 1e-12]]], dtype=np.float32)
    np.testing.assert_allclose(features.to_db(power), [[[0, -10]], [[0, -80]]], atol=1e-4)


@pytest.mark.real
def test_real_clips_give_librosas_values(real):
    rows = corpora.load("crema", real("crema"), max_clips=30)
    signals = padded(rows)[0]
    expected = np.stack([librosa.feature.melspectrogram(y=y, sr=RATE) for y in signals])
    found = features.extract(rows, "mel", sample_rate=RATE)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-10)  # ours is in single precision throughout
    np.testing.assert_allclose(features.to_db(found), features.to_db(expected), atol=2e-3)


@pytest.mark.real
def test_real_mfcc_are_librosas(real):
    rows = corpora.load("ravdess", real("ravdess_48k"))
    expected = np.stack([librosa.feature.mfcc(y=y, sr=16000, n_mfcc=100) for y in padded(rows, 16000)[0]])
    np.testing.assert_allclose(features.extract(rows, "mfcc", sample_rate=16000, n_mfcc=100), expected, atol=1e-3)


@pytest.mark.parametrize(("rate", "hertz"), [(16000, 110.0), (22050, 220.0), (44100, 440.0)])
def test_pitch_is_that_of_a_tone_and_none_of_noise(rate, hertz):
    voiced = features.pitch(tone(0.8, rate, hertz), rate)
    assert np.nanmedian(voiced) == pytest.approx(hertz, rel=0.02) and np.isfinite(voiced).mean() > 0.9
    noise = np.random.default_rng(0).normal(0, 0.1, rate)
    assert np.isfinite(features.pitch(noise, rate)).mean() < 0.1
    for short in (np.zeros(rate // 2), np.zeros(10)):
        assert np.isnan(features.pitch(short, rate)).all()


def extracted(folder, rows, start):
    """In a process of its own: wait for the others, extract, and say how many clips were decoded here."""
    import time

    decoded = []
    load = audio.load
    audio.load = lambda path, *args, **how: time.sleep(0.05) or decoded.append(path) or load(path, *args, **how)
    (folder / f"ready-{start}").touch()
    while len(list(folder.glob("ready-*"))) < 4:
        time.sleep(0.01)
    return features.extract(rows, "mfcc", sample_rate=16000, n_jobs=1), len(decoded)


def test_of_four_processes_that_want_the_same_one_extracts_and_all_get_it(rows, tmp_path):
    many = pd.concat([rows.assign(copy=copy) for copy in range(4)], ignore_index=True)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = [job.result() for job in [pool.submit(extracted, tmp_path, many, i) for i in range(4)]]
    assert sorted(decoded for _, decoded in found) == [0, 0, 0, len(many)]
    for array, _ in found[1:]:
        np.testing.assert_array_equal(array, found[0][0])


def test_a_process_that_is_killed_in_its_turn_holds_nobody_up(rows, tmp_path):
    (tmp_path / "rows.csv").write_text(rows.to_csv(index=False))
    code = (
        "import os, signal, sys, pandas as pd\n"
        "from sernb import audio, features\n"
        "audio.load = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "features.extract(pd.read_csv(sys.argv[1]), 'mel', sample_rate=22050, n_jobs=1)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "rows.csv")])
    assert done.returncode == -signal.SIGKILL
    assert len(features.extract(rows, "mel", sample_rate=RATE)) == len(rows)


@pytest.mark.parametrize("feature", ["mfcc", "zcr_rms"])
def test_flipped_and_missing_bytes_anywhere_in_the_store_are_noticed(rows, feature):
    before = features.extract(rows, feature, sample_rate=8000)
    (file,) = utils.cache_dir().glob("*.sqlite")
    whole, chance = file.read_bytes(), random.Random(feature)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 5))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        cut = chance.choice((0, 0, 1, 100, 5000))
        gap = chance.randrange(len(data) - cut)
        file.write_bytes(data[:gap] + data[gap + cut :])
        np.testing.assert_array_equal(features.extract(rows, feature, sample_rate=8000), before)


def test_every_column_of_a_row_is_under_its_checksum(rows):
    before = features.extract(rows, "mfcc", sample_rate=8000)
    (file,) = utils.cache_dir().glob("*.sqlite")
    for change in (
        "frames = frames - 1",
        "frames = 10000000",
        "shape = '[1, 1]'",
        "shape = '{}'",
        "crc = 0",
        "data = 7",
    ):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(f"UPDATE features SET {change} WHERE rowid IN (1, 3)")
        np.testing.assert_array_equal(features.extract(rows, "mfcc", sample_rate=8000), before, change)


def test_a_full_disk_is_an_error_with_its_remedy_and_nothing_half_written_is_believed(rows, small_disk, monkeypatch):
    many = pd.concat([rows.assign(copy=copy) for copy in range(8)], ignore_index=True)
    expected = features.extract(many, "mel", sample_rate=RATE, n_jobs=1)
    monkeypatch.setenv("SERNB_CACHE", str(small_disk))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    with pytest.raises(utils.StoreError, match="full.*SERNB_CACHE to another folder"):
        features.extract(many, "mel", sample_rate=RATE, n_jobs=1)
    assert not list(small_disk.rglob("*.damaged")), "what is there is not thrown away for it"
    few = features.extract(rows.head(1), "zcr_rms", sample_rate=RATE)
    assert np.isfinite(few).all(), "what fits is kept"
    ballast.unlink()
    for path in small_disk.rglob("zcr_rms*"):
        path.unlink()
    monkeypatch.setattr(
        "sernb.features.extraction.insert", functools.partial(_bigger_disk, small_disk, features.insert)
    )
    np.testing.assert_array_equal(features.extract(many, "mel", sample_rate=RATE, n_jobs=1), expected)


def _bigger_disk(folder, put, *args, **how):
    subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)
    put(*args, **how)


def test_a_folder_that_may_not_be_written_is_an_error_but_can_be_read(monkeypatch):
    with somebody() as root:
        clip = write(root / "a.wav", tone(0.3, RATE), RATE)
        one = pd.DataFrame({"path": [str(clip)], "sha256": corpora.sha256_of_files([clip])})
        monkeypatch.setenv("SERNB_CACHE", str(root / "cache"))
        expected = features.extract(one, "mel", sample_rate=RATE)
        kept = root / "cache" / "features"
        for path in [*kept.rglob("*"), kept]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        np.testing.assert_array_equal(features.extract(one, "mel", sample_rate=RATE), expected)
        with pytest.raises(utils.StoreError, match="SERNB_CACHE"):
            features.extract(one, "mfcc", sample_rate=RATE)
        monkeypatch.setenv("SERNB_CACHE", str(kept))
        with pytest.raises(utils.StoreError, match="Permission denied. Free some space, or set SERNB_CACHE"):
            features.extract(one, "mfcc", sample_rate=RATE)
