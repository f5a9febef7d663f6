"""Measure time and memory beside what they are compared with, in one run: `make bench` or `make bench-full`.

    python benchmarks/bench.py                  # all parts, small, into runs/bench/bench.csv
    python benchmarks/bench.py --full --peers   # at full size: most of an hour, 9 GB of memory; into book/results
    python benchmarks/bench.py preparation --clips 1000 --to ''   # one part, nothing written

Parts: `preparation` (both features of study A, against the published way), `growth` (two sizes of a corpus; --large
for 100,000 clips), `training` (our loop against bare Keras, data on disk against data in memory), `features` (from
nothing and from the store), `stages` (of one clip's way to a feature), `functionals` (beside openSMILE), `sweep` (demo
runs, beside papermill in a loop) and `report` (the whole book, cold and again). What is measured has a process of its
own, whose memory is that of all its children too; loops that take turns have one each. The clips are made of real ones
of CREMA-D where `SERNB_DATA` names a folder with it, otherwise of the demo corpus.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import clips
import numpy as np
import pandas as pd
import peers
import stages
import sweep_runs
from measuring import measure
from measuring import measure_in_turns
from measuring import print_rows
from measuring import row
from measuring import write_rows

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import studies
from sernb import utils

ROOT = Path(__file__).parents[1]
RATE = 22_050


@dataclass(frozen=True)
class Size:
    """How much each part measures, and the table that it is written to."""

    preparation: int  # clips, as many as CREMA-D has in the full bench
    growth: tuple[int, ...]
    training: int
    rounds: int
    features: int  # clips per corpus; 0 for all
    stages: int
    functionals: int
    sweep: int  # runs
    table: Path


FULL = Size(7442, (1000, 10_000), 360, 9, 0, 500, 500, 12, ROOT / "book" / "results" / "engine" / "bench.csv")
SMALL = Size(600, (300, 3000), 120, 3, 300, 150, 100, 3, ROOT / "runs" / "bench" / "bench.csv")
ASPECTS = [
    ("demo-crema", "zcr_rms", 22_050, {}),
    ("demo-crema", "mel", 22_050, {}),
    ("demo-ravdess", "mfcc", 16_000, {"n_mfcc": 100}),
    ("ravdess", "mfcc", 16_000, {"n_mfcc": 100}),
    ("ravdess", "mel", 22_050, {}),
]


# preparation


def prepare_as_published(folder: Path, output: Path) -> float:
    """Return the seconds of study A's way: every file loaded twice, all audio padded, features clip by clip."""
    import librosa

    audio.compile_librosa()
    start = time.perf_counter()
    files = sorted(folder.glob("AudioWAV/*.wav"))
    signals = [librosa.load(file)[0] for file in files]
    longest = max(map(len, signals))
    padded = np.array([librosa.util.fix_length(librosa.load(file)[0], size=longest) for file in files])
    rate = np.array([librosa.feature.zero_crossing_rate(signal).mean() for signal in padded])
    energy = np.array([librosa.feature.rms(y=signal).mean() for signal in padded])
    mel = np.array([librosa.feature.melspectrogram(y=signal, sr=RATE) for signal in padded])
    seconds = time.perf_counter() - start
    np.savez(output, numbers=np.stack([rate, energy], axis=1), mel=mel)
    return seconds


def prepare_with_store(folder: Path, output: Path, cache: Path) -> float:
    """Return the seconds from the same files to the same values by the clip table and the store."""
    os.environ["SERNB_CACHE"] = str(cache)
    audio.compile_librosa()
    start = time.perf_counter()
    table = corpora.load("crema", folder)
    longest = int(audio.n_samples(table["path"], RATE).max())
    features.fill_store(table, {"mel": {}, "zcr_rms": {"length": longest}}, sample_rate=RATE)
    numbers = features.extract(table, "zcr_rms", sample_rate=RATE, length=longest)
    mel = features.extract(table, "mel", sample_rate=RATE)
    seconds = time.perf_counter() - start
    np.savez(output, numbers=numbers, mel=mel)
    return seconds


def preparation(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Measure both features of study A, from file names to arrays: as published, and ours cold and warm."""
    count = options.clips or options.size.preparation
    corpus = clips.make_clips(folder / "crema", count)
    theirs, ours = folder / "theirs.npz", folder / "ours.npz"
    published, published_peak = measure(prepare_as_published, corpus, theirs)
    cold, cold_peak = measure(prepare_with_store, corpus, ours, folder / "cache")
    warm, warm_peak = measure(prepare_with_store, corpus, ours, folder / "cache")
    return [
        row("preparation", "cold", count, cold, published, "s"),
        row("preparation", "warm", count, warm, published, "s"),
        row("preparation", "peak memory, cold", count, cold_peak, published_peak, "MB"),
        row("preparation", "peak memory, warm", count, warm_peak, published_peak, "MB"),
        *(
            row("preparation", f"largest difference of {name}, of the largest value", count, difference, None, "")
            for name, difference in _differences(theirs, ours).items()
        ),
    ]


def _differences(theirs: Path, ours: Path) -> dict[str, float]:
    a, b = np.load(theirs), np.load(ours)
    own = {"numbers": (0,), "mel": (1, 2)}  # the maximum of each number over the clips, of each clip over its cells
    return {
        name: float((np.abs(a[name] - b[name]) / np.abs(a[name]).max(axis=axis, keepdims=True)).max())
        for name, axis in own.items()
    }


# growth


def fill(folder: Path, cache: Path) -> tuple[float, int]:
    """Load a corpus and store its mel spectrograms; return the seconds and the number of rows written."""
    os.environ["SERNB_CACHE"] = str(cache)
    audio.compile_librosa()
    before = _last_row()
    start = time.perf_counter()
    features.split_usable(corpora.load("crema", folder), "mel", sample_rate=RATE)
    # A row that is written again gets a new number, so this counts all written rows.
    return time.perf_counter() - start, _last_row() - before


def _last_row() -> int:
    for path in utils.cache_dir().glob("mel-*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT max(rowid) FROM features").fetchone()[0] or 0
    return 0


def growth(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Measure whether time per clip or memory grows with the number of one-second clips; then add 100 clips."""
    sizes = [options.clips, 10 * options.clips] if options.clips else list(options.size.growth)
    sizes += [100_000] if options.large else []
    rows, smallest = [], 0.0
    for size in sizes:
        corpus, cache = folder / f"clips-{size}", folder / f"cache-{size}"
        clips.make_clips(corpus, size, seconds=1.0)
        (seconds, written), peak = measure(fill, corpus, cache)
        per_clip = 1000 * seconds / size
        smallest = smallest or per_clip
        rows.append(row("growth", f"a clip, {written} extracted", size, per_clip, smallest, "ms"))
        rows.append(row("growth", "peak memory", size, peak, None, "MB"))
        if size == sizes[1]:
            clips.make_clips(corpus, 100, seconds=1.0, first=size)
            (again, written), _ = measure(fill, corpus, cache)
            rows.append(row("growth", f"100 clips more, {written} extracted", size + 100, again, seconds, "s"))
        shutil.rmtree(corpus)
        shutil.rmtree(cache)
    return rows


# training

NETWORKS = {
    "paper-cnn": ("demo-ravdess", "mfcc", 16_000, {"n_mfcc": 100}, 16),
    "conv2d-a": ("demo-crema", "mel", 22_050, {}, 32),
}


def arrays(name: str, count: int, folder: Path) -> None:
    """Write the inputs of a network to files, as its notebook computes them."""
    corpus, feature, rate, options, _ = NETWORKS[name]
    rows = evaluation.make_split(
        corpora.drop_unknown(corpora.load(corpus, max_clips=count)), "random", ratio="60:20:20"
    )
    x = features.extract(rows, feature, sample_rate=rate, **options)
    x = features.to_db(x) if feature == "mel" else x
    x = features.apply_scaler(x, *features.fit_scaler(x, (rows["split"] == "train").to_numpy()))
    np.save(folder / f"{name}.npy", x)
    rows.to_pickle(folder / f"{name}.pickle")


def _load_arrays(name: str, folder: Path, mode: str | None = None) -> tuple[np.ndarray, pd.DataFrame, list[str]]:
    rows = pd.read_pickle(folder / f"{name}.pickle")
    return np.load(folder / f"{name}.npy", mmap_mode=mode), rows, corpora.emotion_labels(rows)


def _model(name: str, x: np.ndarray, labels: list[str]):  # noqa: ANN202 (Keras is not imported here)
    shape = (*x.shape[1:], 1)
    return (
        studies.paper_cnn(shape, len(labels))
        if name == "paper-cnn"
        else studies.study_a_network(name, shape, len(labels))
    )


def our_loop(name: str, folder: Path, epochs: int, mode: str | None = None) -> Iterator[float]:
    """Fit repeatedly by `models.fit`, seeded as every run is; yield the seconds of some epochs each time.

    With mode "r" one batch at a time is read from disk.
    """
    models.seed_everything(1)
    x, rows, labels = _load_arrays(name, folder, mode)
    model = _model(name, x, labels)
    recipe = "quick" if NETWORKS[name][-1] == 16 else "plain"
    while True:
        yield models.fit(model, x, rows, labels, epochs=epochs, recipe=recipe).seconds


def disk_loop(name: str, folder: Path, epochs: int) -> Iterator[float]:
    """Yield the seconds of the same fit with the data on disk."""
    return our_loop(name, folder, epochs, "r")


def bare_loop(name: str, folder: Path, epochs: int) -> Iterator[float]:
    """Yield the seconds of Keras's own fit of the same network on the same arrays, with the same batch size."""
    models.init_backend()
    x, rows, labels = _load_arrays(name, folder)
    model = _model(name, x, labels)
    x, y = x[..., None], models.one_hot(rows["emotion"], labels)
    sides = {side: (rows["split"] == side).to_numpy() for side in ("train", "val")}
    (train, train_y), val = ((x[side], y[side]) for side in sides.values())
    while True:
        start = time.perf_counter()
        model.fit(train, train_y, validation_data=val, epochs=epochs, batch_size=NETWORKS[name][-1], verbose=0)
        yield time.perf_counter() - start


def train(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Compare our loop with the bare one, some epochs each in turns: the median ratio and its quartiles.

    Whole trainings one after the other would be minutes apart, and a shared machine changes more in that time than
    the loops differ.
    """
    rows, count = [], options.clips or options.size.training
    rounds = options.rounds or options.size.rounds
    for name in NETWORKS:
        measure(arrays, name, count, folder)
        for suffix, loops in {"": (our_loop, bare_loop), ", data on disk": (disk_loop, our_loop)}.items():
            seconds = measure_in_turns(loops, rounds, name, folder, options.epochs)
            ratios = seconds[:, 1] / seconds[:, 0]
            low, high = np.quantile(ratios, [0.25, 0.75])
            middle = seconds[np.argsort(ratios)[len(ratios) // 2]]
            half = f"{2 * options.epochs} epochs; half of {rounds} rounds: {low:.2f} to {high:.2f}"
            rows.append(row("training", f"{name}{suffix}, {half}", count, *middle, "s"))
    return rows


# features


def extract(
    corpus: str, max_clips: int, feature: str, sample_rate: int, settings: dict, cache: Path
) -> tuple[int, float]:
    """Return the number of clips and the seconds that their feature takes."""
    table = corpora.load(corpus, max_clips=max_clips)
    os.environ["SERNB_CACHE"] = str(cache)
    start = time.perf_counter()
    features.extract(table, feature, sample_rate=sample_rate, **settings)
    return len(table), time.perf_counter() - start


def aspects(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Measure each feature of whole corpora, computed and read from the store."""
    rows = []
    for corpus, feature, sample_rate, settings in ASPECTS:
        try:
            corpora.locate(corpus)
        except corpora.CorpusError as error:
            print(f"skipped: {error}")
            continue
        arguments = (corpus, options.size.features, feature, sample_rate, settings, folder / f"{corpus}-{feature}")
        ((count, cold), peak), ((_, warm), _) = (measure(extract, *arguments) for _ in range(2))
        rows.append(row("features", f"{feature} of {corpus}, warm against cold", count, warm, cold, "s"))
        rows.append(row("features", f"{feature} of {corpus}, peak memory", count, peak, None, "MB"))
    return rows


PARTS = {
    "preparation": preparation,
    "growth": growth,
    "training": train,
    "features": aspects,
    "stages": stages.measure_stages,
    "functionals": peers.measure_functionals,
    "sweep": sweep_runs.measure_sweep,
    "report": stages.measure_report,
}


def main() -> None:
    """Measure the parts that the command line names, or all, and write their rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} [default: all]")
    parser.add_argument("--clips", type=int, default=0, help="how many, instead of the full number")
    parser.add_argument("--large", action="store_true", help="growth up to 100,000 clips (10 GB of disk)")
    parser.add_argument("--epochs", type=int, default=2, help="of a fit; a round has two fits of each loop")
    parser.add_argument("--rounds", type=int, default=0, help="of fits, instead of 3 or 9; odd, for the median")
    parser.add_argument("--full", action="store_true", help="at full size, into the book's table: most of an hour")
    parser.add_argument("--peers", action="store_true", help="install openSMILE in runs/bench/venv to compare with it")
    parser.add_argument("--to", help="where to; '' for nowhere")
    options = parser.parse_args()
    options.size = FULL if options.full else SMALL
    options.to = str(options.size.table) if options.to is None else options.to
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    rows = []
    for name in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            rows += PARTS[name](Path(folder), options)
        if options.to:
            write_rows([line for line in rows if line["part"] == name], Path(options.to))
    print_rows(rows)


if __name__ == "__main__":
    main()
