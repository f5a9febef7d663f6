"""Where the time goes: the stages of a clip's way to a feature, and of a whole report. Parts of `bench.py`."""

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

import clips as made
import numpy as np
from measuring import measured
from measuring import row
from support import small_notebooks

from sernb import audio
from sernb import corpora
from sernb import features
from sernb import runs
from sernb import utils

ROOT = Path(__file__).parents[1]
RATE = 22_050
# What a cell of a chapter spends its time on, by what it calls; the first that fits. Others listen, look and score.
KINDS = {
    "training": r"training\.pool\(|or trained\(\)|or train\(",
    "starting": r"^(import|from) |training\.parameters|limits\.check_here|models\.summary",
    "robustness and maps": r"robustness\.|attribution\.",
    "features": r"features\.(usable|extract)|prepared\(|discriminant\.prepare|two_numbers\(|quality\.measure",
}
OTHER = "listening, looking, scoring"


# a clip


def stages(folder: Path, asked: argparse.Namespace) -> list[dict]:
    """Milliseconds a clip of each stage on one core, beside what the disk and the bare FFTs would take."""
    count = asked.clips or 500
    corpus = made.make(folder / "crema", count)
    found, _ = measured(staged, corpus, folder / "cache")
    bound, librosas = (found.pop("its FFTs alone"), found.pop("its bytes alone")), found.pop("librosa's spectrogram")
    bounds = {"mel spectrogram": bound[0], "decoding": bound[1]}
    rows = [row("stages", stage, count, seconds, bounds.get(stage), "ms") for stage, seconds in found.items()]
    whole = row("stages", "all, against bytes and FFTs alone", count, sum(found.values()), sum(bound), "ms")
    return [
        *rows,
        whole,
        row("stages", "mel spectrogram, against librosa's", count, found["mel spectrogram"], librosas, "ms"),
    ]


def staged(corpus: Path, cache: Path) -> dict[str, float]:
    """Milliseconds a clip, stage by stage, in one thread; each stage is done for all clips before the next."""
    from threadpoolctl import threadpool_limits

    os.environ["SERNB_CACHE"] = str(cache)
    audio.compile_librosa()
    with threadpool_limits(1):
        return _staged(corpora.load("crema", corpus)["path"])


def _staged(paths: Sequence[str]) -> dict[str, float]:
    import librosa

    spent: dict[str, float] = {}

    def timed(stage: str, work: Callable, *columns: Sequence) -> list:
        several = list(zip(*columns, strict=True))
        for given in several[:20]:  # what is compiled or read once is no clip's affair
            work(*given)
        start = time.perf_counter()
        done = [work(*given) for given in several]
        spent[stage] = 1000 * (time.perf_counter() - start) / len(paths)
        return done

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
    place = features.store_path({"feature": "mel"}, code="benchmark")
    passes = itertools.count()

    def write(there: sqlite3.Connection, some: list) -> None:
        number = next(passes)  # no row is written over
        features.insert(there, [(f"{key} {number}", frames, picture) for key, frames, picture in some])

    utils.run_transaction(place, lambda there: timed("writing to the store", functools.partial(write, there), chunks))
    return spent


def _ffts(signal: np.ndarray) -> None:
    """What no mel spectrogram can do without: the transform of each frame; it is not kept, which would cost more."""
    from scipy.fft import rfft

    frames = np.lib.stride_tricks.sliding_window_view(np.pad(signal, features.N_FFT // 2), features.N_FFT)
    rfft(np.ascontiguousarray(frames[:: features.HOP_LENGTH]), axis=1)


# a report


def report(folder: Path, asked: argparse.Namespace) -> list[dict]:
    """The whole book on the demo corpora: from nothing, again, with one chapter changed; and what the first spent."""
    project, chapters = copied(folder / "project"), 0
    cold, rendering = built(project, folder / "cache")
    runs_made = sorted((project / "_build" / "runs").glob("*/run.json"))
    chapters, spent = len(runs_made), Counter()
    for record in runs_made:
        spent.update(spent_on(record))
    again, _ = built(project, folder / "cache")
    small_notebooks.touch(project / "notebooks" / "04_claims.ipynb")
    before = {path: path.stat().st_mtime_ns for path in runs_made}
    touched, _ = built(project, folder / "cache")
    anew = sum(path.stat().st_mtime_ns != before[path] for path in runs_made)
    return [
        row("report", f"from nothing, {chapters} runs", 0, cold, None, "s"),
        row("report", "nothing changed", 0, again, cold, "s"),
        row("report", f"one chapter changed, {anew} run again", 0, touched, cold, "s"),
        row("report", "building the pages", 0, rendering, None, "s"),
        *(row("report", f"of the runs: {kind}", 0, seconds, None, "s") for kind, seconds in spent.items()),
    ]


def copied(project: Path) -> Path:
    """The project's notebooks and pages, to be changed; its package is the installed one."""
    for name in ("notebooks", "book"):
        shutil.copytree(ROOT / name, project / name)
    for name in ("_config.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, project)
    return project


def built(project: Path, cache: Path) -> tuple[float, float]:
    """Seconds of `sernb report`, and of them those after its last run.

    Not in `measured`: to ask for the memory of so many processes ten times a second makes the report a tenth slower.
    """
    begin = time.time()
    command = [sys.executable, "-c", "from sernb.cli import app; app()", "report"]
    start = time.perf_counter()
    subprocess.run(command, cwd=project, env=os.environ | {"SERNB_CACHE": str(cache)}, check=True, stdout=sys.stderr)
    last = max(path.stat().st_mtime for path in (project / "_build" / "runs").glob("*/run.json"))
    return time.perf_counter() - start, time.time() - max(last, begin)


def spent_on(record: Path) -> dict[str, float]:
    """Seconds of a run by kind of work; what is not within a cell is its kernel's start and end."""
    told = json.loads(record.read_text())
    notebook = runs.read_notebook(record.with_name(told["notebook"]))
    spent: Counter = Counter()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            spent[_kind(cell.source)] += cell.metadata.get("papermill", {}).get("duration") or 0
    spent["kernels"] = told["seconds"] - sum(spent.values())
    return spent


def _kind(source: str) -> str:
    return next((kind for kind, calls in KINDS.items() if re.search(calls, source, flags=re.MULTILINE)), OTHER)
