"""Time a sweep of demo runs beside the same runs by plain papermill, one after the other."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import yaml
from measuring import row

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "03_paper_replication.ipynb"
PARAMETERS = {"CORPUS": "demo-ravdess", "MAX_CLIPS": 48, "EPOCHS": 2, "SPLIT": "60:20:20", "AUGMENT": "none"}


def measure_sweep(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Measure both, each with an empty store, and the mean time of a run in the sweep outside training."""
    seeds = list(range(1, options.size.sweep + 1))
    by_papermill = run_by_papermill(folder / "papermill", seeds)
    by_sweep = run_by_sweep(folder / "sweep", seeds)
    table = pd.read_csv(folder / "sweep" / "out" / "results.csv")
    records = [pd.read_json(path, typ="series") for path in (folder / "sweep" / "out").glob("*/run.json")]
    outside = sum(float(record["seconds"]) for record in records) / len(records) - table["seconds"].mean()
    return [
        row("sweep", f"{len(seeds)} demo runs, beside papermill in a loop", 48, by_sweep, by_papermill, "s"),
        row("sweep", "time per run outside training", 48, outside, None, "s"),
    ]


def run_by_papermill(folder: Path, seeds: list[int]) -> float:
    """Return the seconds of a loop over the `papermill` command."""
    start = time.perf_counter()
    for seed in seeds:
        output = folder / str(seed)
        output.mkdir(parents=True)
        values = {**PARAMETERS, "SEED": seed, "OUTPUT_DIR": str(output)}
        options = [word for name, value in values.items() for word in ("-p", name, str(value))]
        command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(output / "run.ipynb"), *options]
        run(command, folder)
    return time.perf_counter() - start


def run_by_sweep(folder: Path, seeds: list[int]) -> float:
    """Return the seconds of `sernb sweep` for the same runs."""
    folder.mkdir()
    content = {"notebook": str(NOTEBOOK), "parameters": PARAMETERS, "grid": {"SEED": seeds}}
    (folder / "grid.yml").write_text(yaml.safe_dump(content))
    start = time.perf_counter()
    run([sys.executable, "-m", "sernb", "sweep", str(folder / "grid.yml"), "-o", str(folder / "out")], folder)
    return time.perf_counter() - start


def run(command: list[str], folder: Path) -> None:
    environment = os.environ | {"SERNB_CACHE": str(folder / "cache")}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[2:5]} failed:\n{done.stdout[-3000:]}")
