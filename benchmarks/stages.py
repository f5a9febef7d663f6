"""Measure the stages from a clip to a feature, and of a whole report. Parts of `bench.py`."""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import clips
import numpy as np
from measuring import measure
from measuring import row

from sernb import audio
from sernb import corpora
from sernb import features
from sernb import runs
from sernb import utils
from sernb.features import store

ROOT = Path(__file__).parents[1]
RATE = 22_050
# Kinds of work by what a cell calls; the first match counts.
KINDS = {
    "training": r"run_folds\(|run_notebook\(|results\.pool_folds|models\.fit|map\(test_predictions",
    "starting": r"^(import|from) |check_notebook|model_summary",
    "robustness and maps": r"distort|occlusion|robustness",
    "features": r"usable_clips|features\.extract|extract_split_features|measure_clips",
}
OTHER = "listening, looking, scoring"


def measure_stages(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Measure the milliseconds per clip of each stage on one core, beside reading the bytes and the FFTs alone."""
    count = options.clips or options.size.stages
    corpus = clips.make_clips(folder / "crema", count)
    times, _ = measure(time_stages, corpus, folder / "cache")
    bound, librosas = (times.pop("its FFTs alone"), times.pop("its bytes alone")), times.pop("librosa's spectrogram")
    bounds = {"mel spectrogram": bound[0], "decoding": bound[1]}
    rows = [row("stages", stage, count, seconds, bounds.get(stage), "ms") for stage, seconds in times.items()]
    whole = row("stages", "all, against bytes and FFTs alone", count, sum(times.values()), sum(bound), "ms")
    return [
        *rows,
        whole,
        row("stages", "mel spectrogram, against librosa's", count, times["mel spectrogram"], librosas, "ms"),
    ]


def time_stages(corpus: Path, cache: Path) -> dict[str, float]:
    """Return milliseconds per clip of each stage in one thread; each stage handles all clips in turn."""
    from threadpoolctl import threadpool_limits

    os.environ["SERNB_CACHE"] = str(cache)
    audio.compile_librosa()
    with threadpool_limits(1):
        return _time_stages(corpora.load("crema", corpus)["path"])


def _time_stages(paths: Sequence[str]) -> dict[str, float]:
    import librosa

    spent: dict[str, float] = {}

    def timed(stage: str, work: Callable, *columns: Sequence) -> list:
        calls = list(zip(*columns, strict=True))
        for arguments in calls[:20]:  # what is compiled or read once does not count
            work(*arguments)
        start = time.perf_counter()
        outcome = [work(*arguments) for arguments in calls]
        spent[stage] = 1000 * (time.perf_counter() - start) / len(paths)
        return outcome

    for path in paths:  # the disk's own cache is warm for all stages alike
        Path(path).read_bytes()
    data = timed("its bytes alone", lambda path: Path(path).read_bytes(), paths)
    timed("digest", lambda one: hashlib.sha256(one).hexdigest(), data)
    decoded = timed("decoding", lambda path: audio.decode(path), paths)
    signals = timed(
        "resampling to 22,050 Hz", lambda one: audio.resample(one.signal[:, 0], one.sample_rate, RATE), decoded
    )
    timed("its FFTs alone", _ffts, signals)
    timed("librosa's spectrogram", lambda signal: librosa.feature.melspectrogram(y=signal, sr=RATE), signals)
    pictures = timed("mel spectrogram", lambda signal: features.mel(signal, RATE), signals)
    timed("zero-crossing rate and RMS", lambda signal: features.zcr_rms(signal, RATE), signals)
    rows = [(str(i), picture.shape[1], picture) for i, picture in enumerate(pictures)]
    chunks = [rows[start : start + features.MIN_BATCH_CLIPS] for start in range(0, len(rows), features.MIN_BATCH_CLIPS)]
    passes = itertools.count()

    def write(connection: sqlite3.Connection, chunk: list) -> None:
        number = next(passes)  # no row is overwritten
        features.insert(connection, [(f"{key} {number}", frames, array) for key, frames, array in chunk])

    path = features.store_path({"feature": "mel"}, code="benchmark")

    def write_all(connection: sqlite3.Connection) -> None:
        timed("writing to the store", functools.partial(write, connection), chunks)

    utils.run_transaction(path, write_all, store.FEATURE_TABLE)
    return spent


def _ffts(signal: np.ndarray) -> None:
    """Transform each frame, which every mel spectrogram needs; the result is discarded."""
    from scipy.fft import rfft

    frames = np.lib.stride_tricks.sliding_window_view(np.pad(signal, features.N_FFT // 2), features.N_FFT)
    rfft(np.ascontiguousarray(frames[:: features.HOP_LENGTH]), axis=1)


def measure_report(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Measure the whole book on the demo corpora: cold, unchanged, and with one notebook changed."""
    project, chapters = copy_project(folder / "project"), 0
    cold, rendering = build(project, folder / "cache")
    runs_made = sorted((project / "_build" / "runs").glob("*/run.json"))
    chapters, spent = len(runs_made), Counter()
    for record in runs_made:
        spent.update(spent_on(record))
    again, _ = build(project, folder / "cache")
    change_notebook(project / "notebooks" / "04_claims.ipynb")
    before = {path: path.stat().st_mtime_ns for path in runs_made}
    touched, _ = build(project, folder / "cache")
    anew = sum(path.stat().st_mtime_ns != before[path] for path in runs_made)
    return [
        row("report", f"from nothing, {chapters} runs", 0, cold, None, "s"),
        row("report", "nothing changed", 0, again, cold, "s"),
        row("report", f"one chapter changed, {anew} run again", 0, touched, cold, "s"),
        row("report", "building the pages", 0, rendering, None, "s"),
        *(row("report", f"of the runs: {kind}", 0, seconds, None, "s") for kind, seconds in spent.items()),
    ]


def copy_project(project: Path) -> Path:
    """Copy the notebooks and pages, which will be changed; the package is the installed one."""
    for name in ("notebooks", "book"):
        shutil.copytree(ROOT / name, project / name)
    for name in ("_config.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, project)
    return project


def build(project: Path, cache: Path) -> tuple[float, float]:
    """Return the seconds of `sernb report`, and those after its last run.

    Not by `measure`: reading the memory of so many processes ten times per second slows the report by a tenth.
    """
    begin = time.time()
    command = [sys.executable, "-c", "from sernb.cli import app; app()", "report"]
    start = time.perf_counter()
    subprocess.run(command, cwd=project, env=os.environ | {"SERNB_CACHE": str(cache)}, check=True, stdout=sys.stderr)
    last = max(path.stat().st_mtime for path in (project / "_build" / "runs").glob("*/run.json"))
    return time.perf_counter() - start, time.time() - max(last, begin)


def spent_on(record: Path) -> dict[str, float]:
    """Return the seconds of a run by kind of work; time outside cells is the kernel's start and end."""
    facts = json.loads(record.read_text())
    notebook = runs.read_notebook(record.with_name(facts["notebook"]))
    spent: Counter = Counter()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            spent[_kind(cell.source)] += cell.metadata.get("papermill", {}).get("duration") or 0
    spent["kernels"] = facts["seconds"] - sum(spent.values())
    return spent


def _kind(source: str) -> str:
    return next((kind for kind, calls in KINDS.items() if re.search(calls, source, flags=re.MULTILINE)), OTHER)


def change_notebook(path: Path) -> None:
    """Change a notebook's last cell a little."""
    notebook = json.loads(path.read_text())
    notebook["cells"][-1]["source"] += ["\n", "changed"]
    path.write_text(json.dumps(notebook, indent=1))
