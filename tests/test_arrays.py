"""Arrays that do not fit in memory: the same numbers from disk, and training within a memory limit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora
from sernb import features
from sernb import utils

RATE = 16_000
# The data take 800 MB, the process may take 500 MB besides what it has by then (anonymous memory, as malloc takes it).
LIMITED = """
import resource
import sys

import numpy as np
import pandas as pd
import psutil

import keras
from sernb import features
from sernb import models

models.seed_everything(1)
labels = ["happy", "sad"]
sides = np.array(["train", "val", "test"])[np.arange(4000) % 5 % 3]
rows = pd.DataFrame({"emotion": [labels[i % 2] for i in range(4000)], "split": sides, "copy": 0})
rows = rows.assign(clip=rows.index.map(str), speaker="a")
used = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 500_000_000, -1))
x = features.allocate_features((4000, 100, 500))
for i in range(0, 4000, 500):
    x[i : i + 500] = rows["emotion"].eq("sad").to_numpy()[i : i + 500, None, None]
x = features.apply_scaler(x, *features.fit_scaler(x, (sides == "train")))
layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, activation="softmax")]
network = models.compile_model(keras.Sequential([keras.Input((100, 500, 1)), *layers], name="small"))
trained = models.fit(network, x, rows, labels, epochs=1)
print(trained.predictions["prediction"].isin(labels).sum(), trained.history["train_accuracy"].iloc[-1])
"""


@pytest.fixture
def rows(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", tone(s, RATE, 200 + i), RATE) for i, s in enumerate((0.5, 0.3, 1.2, 0.9))]
    return pd.DataFrame({"path": map(str, paths), "sha256": corpora.sha256_of_files(paths)})


def test_arrays_on_disk_equal_those_in_memory(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sernb.utils.arrays.BLOCK_BYTES", 50_000)
    train, results = np.array([True, False, True, True]), {}
    for megabytes in ("1000", "0.001"):
        monkeypatch.setenv("SERNB_MEMORY", megabytes)
        mel = features.to_db(features.extract(rows, "mel", sample_rate=RATE))
        mfcc = features.max_minus(
            features.extract(rows, "mfcc", sample_rate=RATE), np.array([8000, 4800, 19_200, 14_400])
        )
        results[megabytes] = [mel, mfcc, features.apply_scaler(mel, *features.fit_scaler(mel, train))]
    for in_memory, on_disk in zip(*results.values(), strict=True):
        assert utils.is_memmap(on_disk) and utils.is_memmap(on_disk[..., None]) and not utils.is_memmap(in_memory)
        np.testing.assert_array_equal(on_disk, in_memory)
    names = {path.name for path in (tmp_path / "cache" / "features").iterdir() if path.is_file()}
    assert len(names) == 2, "the stores, and no file of an array"


def test_scaler_is_fitted_block_by_block(monkeypatch):
    x = np.random.default_rng(0).normal(5, 3, (40, 6, 11)).astype(np.float32)
    monkeypatch.setattr("sernb.utils.arrays.BLOCK_BYTES", 3 * x[0].nbytes)
    train = np.arange(40) % 3 > 0
    mean, deviation = features.fit_scaler(x, train)
    np.testing.assert_allclose(mean, x[train].mean(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(deviation, x[train].std(axis=(0, 2)), rtol=1e-6)


def test_array_larger_than_the_disk_is_an_error_before_writing(monkeypatch, tmp_path):
    monkeypatch.setenv("SERNB_CACHE", str(tmp_path))
    with pytest.raises(utils.StoreError, match=r"GB for an array.*SERNB_CACHE to another folder"):
        features.allocate_features((10**5, 10**5, 10**4))
    assert not [path for path in (tmp_path / "features").iterdir() if path.stat().st_size]


def test_memory_limit_that_is_not_a_number_is_an_error(monkeypatch):
    for text in ("much", "inf", "nan", "-5"):
        monkeypatch.setenv("SERNB_MEMORY", text)
        with pytest.raises(utils.MemoryLimitError, match=f"SERNB_MEMORY must be a number of megabytes.*got '{text}'"):
            utils.memory_limit()


@pytest.mark.parametrize("fallocate", [True, False])
def test_reserved_space_is_allocated_and_earlier_bytes_stay(tmp_path, monkeypatch, fallocate):
    """Also without `posix_fallocate` (macOS), where a file that is only made longer takes no space."""
    if not fallocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    elif not hasattr(os, "posix_fallocate"):
        pytest.skip("this system has no posix_fallocate")
    monkeypatch.setattr("sernb.utils.arrays.BLOCK_BYTES", 1000)
    with open(tmp_path / "file", "w+b") as file:
        file.write(b"head")
        file.flush()
        utils.reserve_disk(file, 123_456, start=4)
        assert os.stat(file.name).st_blocks * 512 >= 123_460
    assert (tmp_path / "file").read_bytes() == b"head" + bytes(123_456)


def test_full_disk_is_an_error_without_posix_fallocate(tmp_path, monkeypatch, small_disk):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setenv("SERNB_CACHE", str(small_disk))
    monkeypatch.setenv("SERNB_MEMORY", "0.1")
    assert features.allocate_features((200, 1000)).sum() == 0
    with pytest.raises(utils.StoreError, match="0.0 GB for an array: No space left on device"):
        features.allocate_features((400, 1000))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep this limit")
def test_training_on_more_data_than_fit_in_memory(tmp_path):
    environment = {"SERNB_CACHE": str(tmp_path), "SERNB_MEMORY": "100", "PATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # Each thread's stack counts, and many cores have many.
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "2")
    options = {"capture_output": True, "text": True, "cwd": tmp_path}
    process = subprocess.run([sys.executable, "-c", LIMITED], env=environment, **options)
    assert process.returncode == 0, process.stderr[-2000:]
    predicted, accuracy = process.stdout.split()
    assert int(predicted) == 4000 and float(accuracy) > 0.9
    in_memory = subprocess.run([sys.executable, "-c", LIMITED], env=environment | {"SERNB_MEMORY": "9000"}, **options)
    assert in_memory.returncode and ("MemoryError" in in_memory.stderr or "bad_alloc" in in_memory.stderr), (
        "the limit is one"
    )
