"""Time feature extraction, cold (nothing in the store) and warm: `make bench`.

Each step runs in a process of its own, so that its peak memory is its own too. RAVDESS is measured where `SERNB_DATA`
names a folder that holds it.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pandas as pd

from sernb import corpora
from sernb import features

STEPS = [
    ("demo-crema", "zcr_rms", 22_050, {}),
    ("demo-crema", "mel", 22_050, {}),
    ("demo-ravdess", "mfcc", 16_000, {"n_mfcc": 100}),
    ("ravdess", "mfcc", 16_000, {"n_mfcc": 100}),
    ("ravdess", "mel", 22_050, {}),
]


def measure(corpus: str, feature: str, sample_rate: int, options: dict) -> dict:
    """Extract a feature of a whole corpus twice, from nothing and from the store."""
    table = corpora.load(corpus)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SERNB_CACHE"] = folder
        cold, warm = (_seconds(table, feature, sample_rate, options) for _ in range(2))
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "corpus": corpus,
        "clips": len(table),
        "feature": feature,
        "cold s": cold,
        "warm s": warm,
        "cold / warm": round(cold / warm, 1),
        # ru_maxrss counts kB and, of the children, the largest: of two workers one is counted.
        "peak MB": round(peak / 1000),
    }


def _seconds(table: pd.DataFrame, feature: str, sample_rate: int, options: dict) -> float:
    start = time.perf_counter()
    features.extract(table, feature, sample_rate=sample_rate, **options)
    return round(time.perf_counter() - start, 2)


def main() -> None:
    """Print a row for each step whose corpus is there."""
    rows = []
    for step in STEPS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            try:
                rows.append(process.submit(measure, *step).result())
            except corpora.CorpusError as error:
                print(f"left out: {error}")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
