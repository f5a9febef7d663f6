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


def test_mel_equals_librosa_on_the_padded_clip(rows):
    expected = [librosa.feature.melspectrogram(y=y, sr=RATE) for y in padded(rows)[0]]
    arrays = features.extract(rows, "mel", sample_rate=RATE)
    assert arrays.shape == (5, 128, expected[0].shape[1])
    np.testing.assert_allclose(arrays, expected, rtol=1e-5, atol=1e-9)


def test_mfcc_equals_librosa_on_the_padded_clip(rows):
    expected = [librosa.feature.mfcc(y=y, sr=16000, n_mfcc=100) for y in padded(rows, 16000)[0]]
    arrays = features.extract(rows, "mfcc", sample_rate=16000, n_mfcc=100)
    np.testing.assert_allclose(arrays, expected, atol=1e-3)


def test_zcr_rms_equals_librosa_with_and_without_padding(rows):
    def expected(signals):
        return [[librosa.feature.zero_crossing_rate(y).mean(), librosa.feature.rms(y=y).mean()] for y in signals]

    signals, longest = padded(rows)
    arrays = features.extract(rows, "zcr_rms", sample_rate=RATE, length=longest)
    np.testing.assert_allclose(arrays, expected(signals), rtol=1e-5)
    arrays = features.extract(rows, "zcr_rms", sample_rate=RATE)
    np.testing.assert_allclose(arrays, expected([audio.load(p, RATE) for p in rows["path"]]), rtol=1e-5)


def test_several_features_share_one_decoding(rows, monkeypatch):
    expected = [features.extract(rows, name, sample_rate=RATE, n_jobs=1) for name in ("mel", "zcr_rms")]
    monkeypatch.setenv("SERNB_CACHE", os.environ["SERNB_CACHE"] + "-2")
    decoded, load = [], audio.load
    monkeypatch.setattr(
        "sernb.audio.load", lambda path, *args, **options: decoded.append(path) or load(path, *args, **options)
    )
    table = rows.assign(clip=rows["path"])
    features.split_usable(table, "mel", also=["zcr_rms"], sample_rate=RATE)
    arrays = [features.extract(rows, name, sample_rate=RATE) for name in ("mel", "zcr_rms")]
    assert sorted(decoded) == sorted(rows["path"])
    for ours, before in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(ours, before)


def test_feature_with_other_frames_is_an_error(rows, monkeypatch):
    for shape in ((1, 7), (3,)):
        monkeypatch.setitem(features.FEATURES, "odd", lambda signal, sample_rate: np.zeros(shape, np.float32))  # noqa: B023
        with pytest.raises(ValueError, match=r"must return the shape .* with clip_level=True"):
            features.extract(rows, "odd", sample_rate=RATE)


def crest(signal, sample_rate, *, offset: float = 0.0):
    """A feature of a clip as a whole: peak over RMS."""
    return np.array([np.abs(signal).max() / np.sqrt(np.mean(signal**2)) + offset], np.float32)


def test_a_registered_feature_is_stored_like_any_other(rows, own_features, monkeypatch):
    features.register_feature("crest", crest, clip_level=True)
    first = features.extract(rows, "crest", sample_rate=8000)
    assert first.shape == (len(rows), 1) and (first > 1).all()
    np.testing.assert_allclose(features.extract(rows, "crest", sample_rate=8000, offset=2.0), first + 2, rtol=1e-6)
    monkeypatch.setattr("sernb.audio.load", lambda *_, **__: pytest.fail("a stored clip was decoded again"))
    features.register_feature("crest", crest, clip_level=True)  # the cell is run again
    np.testing.assert_array_equal(features.extract(rows, "crest", sample_rate=8000), first)
    for name, message in (("mfcc", "sernb has a feature 'mfcc' already"), ("my feature", "letters, digits")):
        with pytest.raises(ValueError, match=message):
            features.register_feature(name, crest)


@pytest.mark.slow
def test_a_feature_of_a_notebook_is_extracted_in_processes_and_kept(tmp_path):
    code = """
import numpy as np
from sernb import corpora, features, utils

def spread(signal, sample_rate):
    return np.array([signal.std(), middle(signal)], np.float32)

def middle(signal):
    return np.median(signal)

if __name__ == "__main__":
    features.register_feature("spread", spread, clip_level=True)
    clips = corpora.load("demo-local", max_clips=30)
    print(features.extract(clips, "spread", sample_rate=8000, n_jobs=2).shape)
    print(features.extract(clips, "spread", sample_rate=8000, n_jobs=2).shape)
    print(len(list(utils.cache_dir().glob("spread-*.sqlite"))))
"""
    (tmp_path / "mine.py").write_text(code)
    environment = {**os.environ, "SERNB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, str(tmp_path / "mine.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["(30, 2)", "(30, 2)", "1"], "one store, used twice"


def test_stored_features_are_not_extracted_again(rows, monkeypatch):
    first = features.extract(rows, "mfcc", sample_rate=8000)
    monkeypatch.setattr("sernb.audio.load", lambda *_, **__: pytest.fail("a stored clip was decoded again"))
    np.testing.assert_array_equal(features.extract(rows, "mfcc", sample_rate=8000), first)


def test_new_clip_is_the_only_one_extracted(rows, monkeypatch, tmp_path):
    features.extract(rows.head(2), "mel", sample_rate=RATE)
    decoded = []
    load = audio.load
    monkeypatch.setattr(
        "sernb.audio.load", lambda path, *args, **options: decoded.append(path) or load(path, *args, **options)
    )
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
def test_features_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch, feature):
    """More of them than are begun at once, by threads or processes; one that cannot be used costs no other."""
    monkeypatch.setattr("sernb.features.extraction.JOBS_PER_BLOCK", 16)
    monkeypatch.setattr("sernb.features.extraction.MIN_BATCH_CLIPS", 5)
    paths = [write(tmp_path / f"{i}.wav", tone(0.2 + 0.01 * i, RATE, 200 + i), RATE) for i in range(40)]
    rows = pd.DataFrame({"path": map(str, paths), "sha256": corpora.sha256_of_files(paths), "clip": map(str, paths)})
    paths[7].write_bytes(b"")
    arrays = []
    for n_jobs in (1, 2):
        monkeypatch.setenv("SERNB_CACHE", str(tmp_path / f"cache-{n_jobs}"))
        usable, unusable = features.split_usable(rows, feature, sample_rate=RATE, n_jobs=n_jobs)
        assert list(unusable["clip"]) == [str(paths[7])]
        arrays.append(features.extract(usable, feature, sample_rate=RATE, n_jobs=n_jobs))
    np.testing.assert_array_equal(*arrays)


def test_noise_does_not_depend_on_the_number_of_workers(rows, monkeypatch, tmp_path):
    many = pd.concat([rows.assign(copy=copy) for copy in range(24)], ignore_index=True)
    arrays = []
    for jobs in (1, 2):
        monkeypatch.setenv("SERNB_CACHE", str(tmp_path / f"cache-{jobs}"))
        arrays.append(features.extract(many, "mfcc", sample_rate=16000, seed=3, n_jobs=jobs, n_mfcc=20))
    np.testing.assert_array_equal(*arrays)
    assert not np.allclose(arrays[0][5:10], arrays[0][10:15])


def test_damaged_rows_are_extracted_again(rows):
    before = features.extract(rows, "mel", sample_rate=RATE)
    (file,) = utils.cache_dir().glob("mel-*.sqlite")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE features SET data = zeroblob(length(data)) WHERE rowid < 4")
    np.testing.assert_array_equal(features.extract(rows, "mel", sample_rate=RATE), before)


@pytest.mark.parametrize("damage", ["garbage", "truncated"])
def test_damaged_store_is_replaced(rows, damage):
    before = features.extract(rows, "mel", sample_rate=RATE)
    (file,) = utils.cache_dir().glob("mel-*.sqlite")
    data = file.read_bytes()
    file.write_bytes(b"garbage" * 1000 if damage == "garbage" else data[: len(data) // 2])
    np.testing.assert_array_equal(features.extract(rows, "mel", sample_rate=RATE), before)


@pytest.mark.slow
def test_several_processes_on_one_store_get_the_same_features(rows):
    many = pd.concat([rows.assign(copy=copy) for copy in range(4)], ignore_index=True)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(features.extract, many, "mfcc", sample_rate=16000, n_jobs=1) for _ in range(4)]
        arrays = [job.result() for job in jobs]
    for array in arrays[1:]:
        np.testing.assert_array_equal(array, arrays[0])


def test_long_extraction_does_not_block_others(rows, monkeypatch):
    """While one extraction computes, another writes."""
    load = audio.load

    def slow(path, *args, **options):
        if path == rows["path"][4]:
            features.extract(rows.head(1), "mel", sample_rate=RATE)
        return load(path, *args, **options)

    monkeypatch.setattr("sernb.audio.load", slow)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.2))
    features.extract(rows.iloc[[1, 4]], "mel", sample_rate=RATE)


def test_store_that_cannot_be_created_names_the_remedy(rows, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="SERNB_CACHE"):
        features.extract(rows, "mel", sample_rate=RATE)


@pytest.mark.parametrize("copies", [1, 5])  # by itself, and by several processes
def test_undecodable_clip_is_named_and_the_others_are_stored(rows, tmp_path, monkeypatch, copies):
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


def test_max_minus_is_computed_before_padding():
    x = np.array([[[1.0, 4.0, 9.0], [2.0, 0.5, 9.0]]], dtype=np.float32)  # two frames of clip, one of padding
    arrays = features.max_minus(x, np.array([features.HOP_LENGTH]))
    np.testing.assert_array_equal(arrays, [[[3, 0, 0], [2, 3.5, 0]]])


def test_db_is_relative_to_each_clips_maximum():
    power = np.array([[[1.0, 0.1]], [[100.0, 1e-12]]], dtype=np.float32)
    np.testing.assert_allclose(features.to_db(power), [[[0, -10]], [[0, -80]]], atol=1e-4)


@pytest.mark.real
def test_mel_of_real_clips_equals_librosa(real):
    rows = corpora.load("crema", real("crema"), max_clips=30)
    signals = padded(rows)[0]
    expected = np.stack([librosa.feature.melspectrogram(y=y, sr=RATE) for y in signals])
    arrays = features.extract(rows, "mel", sample_rate=RATE)
    np.testing.assert_allclose(arrays, expected, rtol=1e-4, atol=1e-10)  # ours is in single precision throughout
    np.testing.assert_allclose(features.to_db(arrays), features.to_db(expected), atol=2e-3)


@pytest.mark.real
def test_mfcc_of_real_clips_equals_librosa(real):
    rows = corpora.load("ravdess", real("ravdess_48k"))
    expected = np.stack([librosa.feature.mfcc(y=y, sr=16000, n_mfcc=100) for y in padded(rows, 16000)[0]])
    np.testing.assert_allclose(features.extract(rows, "mfcc", sample_rate=16000, n_mfcc=100), expected, atol=1e-3)


@pytest.mark.parametrize(("rate", "hertz"), [(16000, 110.0), (22050, 220.0), (44100, 440.0)])
def test_pitch_of_a_tone_and_of_noise(rate, hertz):
    voiced = features.pitch(tone(0.8, rate, hertz), rate)
    assert np.nanmedian(voiced) == pytest.approx(hertz, rel=0.02) and np.isfinite(voiced).mean() > 0.9
    noise = np.random.default_rng(0).normal(0, 0.1, rate)
    assert np.isfinite(features.pitch(noise, rate)).mean() < 0.1
    for short in (np.zeros(rate // 2), np.zeros(10)):
        assert np.isnan(features.pitch(short, rate)).all()


def test_pitch_follows_a_glide_and_does_not_jump_by_octaves():
    octaves = np.linspace(np.log2(150), np.log2(450), 16000)
    glide = np.sin(2 * np.pi * np.cumsum(2**octaves) / 16000)
    assert np.nanmax(features.pitch(glide, 16000)) > 420 and np.isfinite(features.pitch(glide, 16000)).mean() > 0.9
    clips = corpora.load("demo-local", max_clips=16)
    pitches = [np.log2(features.pitch(audio.load(path, 22050), 22050)) for path in clips["path"]]
    jumps = [int((np.abs(np.diff(pitch)) > 0.5).sum()) for pitch in pitches]
    assert sum(jumps) < 16 and max(jumps) < 4


def extracted(folder, rows, start):
    """In a process of its own: wait for the others, extract, and return how many clips were decoded here."""
    import time

    decoded = []
    load = audio.load
    audio.load = lambda path, *args, **options: time.sleep(0.05) or decoded.append(path) or load(path, *args, **options)
    (folder / f"ready-{start}").touch()
    while len(list(folder.glob("ready-*"))) < 4:
        time.sleep(0.01)
    return features.extract(rows, "mfcc", sample_rate=16000, n_jobs=1), len(decoded)


@pytest.mark.slow
def test_one_of_four_processes_extracts_and_all_get_the_result(rows, tmp_path):
    many = pd.concat([rows.assign(copy=copy) for copy in range(4)], ignore_index=True)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        arrays = [job.result() for job in [pool.submit(extracted, tmp_path, many, i) for i in range(4)]]
    assert sorted(decoded for _, decoded in arrays) == [0, 0, 0, len(many)]
    for array, _ in arrays[1:]:
        np.testing.assert_array_equal(array, arrays[0][0])


def test_killed_process_releases_its_lock(rows, tmp_path):
    (tmp_path / "rows.csv").write_text(rows.to_csv(index=False))
    code = (
        "import os, signal, sys, pandas as pd\n"
        "from sernb import audio, features\n"
        "audio.load = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "features.extract(pd.read_csv(sys.argv[1]), 'mel', sample_rate=22050, n_jobs=1)"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path / "rows.csv")])
    assert process.returncode == -signal.SIGKILL
    assert len(features.extract(rows, "mel", sample_rate=RATE)) == len(rows)


@pytest.mark.slow
@pytest.mark.parametrize("feature", ["mfcc", "zcr_rms"])
def test_flipped_and_missing_bytes_in_the_store_are_repaired(rows, feature):
    before = features.extract(rows, feature, sample_rate=8000)
    (file,) = utils.cache_dir().glob("*.sqlite")
    whole, rng = file.read_bytes(), random.Random(feature)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 5))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        cut = rng.choice((0, 0, 1, 100, 5000))
        gap = rng.randrange(len(data) - cut)
        file.write_bytes(data[:gap] + data[gap + cut :])
        np.testing.assert_array_equal(features.extract(rows, feature, sample_rate=8000), before)


def test_checksum_covers_every_column(rows):
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


def test_full_disk_is_an_error_with_its_remedy(rows, small_disk, monkeypatch):
    many = pd.concat([rows.assign(copy=copy) for copy in range(8)], ignore_index=True)
    expected = features.extract(many, "mel", sample_rate=RATE, n_jobs=1)
    monkeypatch.setenv("SERNB_CACHE", str(small_disk))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    with pytest.raises(utils.StoreError, match="full.*SERNB_CACHE to another folder"):
        features.extract(many, "mel", sample_rate=RATE, n_jobs=1)
    assert not list(small_disk.rglob("*.damaged")), "the store is not discarded"
    few = features.extract(rows.head(1), "zcr_rms", sample_rate=RATE)
    assert np.isfinite(few).all(), "what fits is stored"
    ballast.unlink()
    for path in small_disk.rglob("zcr_rms*"):
        path.unlink()
    monkeypatch.setattr(
        "sernb.features.extraction.insert", functools.partial(_bigger_disk, small_disk, features.insert)
    )
    np.testing.assert_array_equal(features.extract(many, "mel", sample_rate=RATE, n_jobs=1), expected)


def _bigger_disk(folder, put, *args, **options):
    subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)
    put(*args, **options)


def test_read_only_store_can_be_read_but_not_extended(monkeypatch):
    with somebody() as root:
        clip = write(root / "a.wav", tone(0.3, RATE), RATE)
        one = pd.DataFrame({"path": [str(clip)], "sha256": corpora.sha256_of_files([clip])})
        monkeypatch.setenv("SERNB_CACHE", str(root / "cache"))
        expected = features.extract(one, "mel", sample_rate=RATE)
        store = root / "cache" / "features"
        for path in [*store.rglob("*"), store]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        np.testing.assert_array_equal(features.extract(one, "mel", sample_rate=RATE), expected)
        with pytest.raises(utils.StoreError, match="SERNB_CACHE"):
            features.extract(one, "mfcc", sample_rate=RATE)
        monkeypatch.setenv("SERNB_CACHE", str(store))
        with pytest.raises(utils.StoreError, match="Permission denied. Free some space, or set SERNB_CACHE"):
            features.extract(one, "mfcc", sample_rate=RATE)
