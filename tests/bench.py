"""Time feature extraction on the demo corpora, cold (nothing in the store) and warm: `make bench`."""

from __future__ import annotations

import os
import tempfile
import time

import pandas as pd

from sernb import corpora
from sernb import features

STEPS = [
    ("demo-crema", "zcr_rms", 22_050, {}),
    ("demo-crema", "mel", 22_050, {}),
    ("demo-ravdess", "mfcc", 16_000, {"n_mfcc": 100}),
]


def seconds(table: pd.DataFrame, feature: str, sample_rate: int, options: dict) -> float:
    """How long one extraction takes."""
    start = time.perf_counter()
    features.extract(table, feature, sample_rate=sample_rate, **options)
    return round(time.perf_counter() - start, 2)


def main() -> None:
    """Print a row for each step."""
    tables = {name: corpora.load(name) for name, *_ in STEPS}
    with tempfile.TemporaryDirectory() as store:
        os.environ["SERNB_CACHE"] = store
        # The first call compiles (numba) and starts the worker processes; its cost is nobody's feature.
        first = seconds(tables["demo-crema"].head(4), "mfcc", 16_000, {})
        rows = [
            {"corpus": name, "feature": feature, "clips": len(tables[name])}
            | {state: seconds(tables[name], feature, rate, options) for state in ("cold s", "warm s")}
            for name, feature, rate, options in STEPS
        ]
    print(f"{os.cpu_count()} cores; first call on this process: {first} s\n")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
