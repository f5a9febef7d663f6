"""Measure our functionals beside openSMILE's sets, in an environment of the bench's own. A part of `bench.py`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import clips
from measuring import measure
from measuring import row

from sernb import audio
from sernb import features

RATE = 16_000
ENVIRONMENT = Path(__file__).parents[1] / "runs" / "bench" / "venv"
OPENSMILE = "opensmile>=2.6,<3"
SETS = {"eGeMAPSv02": "eGeMAPS", "ComParE_2016": "ComParE"}
# Run by the other environment's Python, which has no sernb.
SCRIPT = """\
import json, sys, time
import opensmile, soundfile

signals = [soundfile.read(file, dtype="float32") for file in sys.argv[1:]]
spent = {}
for name in ("eGeMAPSv02", "ComParE_2016"):
    smile = opensmile.Smile(opensmile.FeatureSet[name], opensmile.FeatureLevel.Functionals, num_workers=1)
    smile.process_signal(*signals[0])
    start = time.process_time()
    for signal in signals:
        smile.process_signal(*signal)
    spent[name] = 1000 * (time.process_time() - start) / len(signals)
print(json.dumps(spent))
"""


def measure_functionals(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Measure the processor time per clip of our functionals, and of openSMILE's if it is installed."""
    count = options.clips or options.size.functionals
    files = sorted((clips.make_clips(folder, count) / "AudioWAV").glob("*.wav"))
    ours, _ = measure(time_functionals, files)
    rows = [row("functionals", "824 functionals at one speed", count, ours, None, "ms")]
    if not (python := find_opensmile(install=options.peers)):
        return rows
    command = [str(python), "-c", SCRIPT, *map(str, files)]
    theirs = json.loads(subprocess.run(command, env=one_thread(), check=True, stdout=subprocess.PIPE).stdout)
    return rows + [
        row("functionals", f"beside openSMILE's {SETS[name]}", count, ours, spent, "ms")
        for name, spent in theirs.items()
    ]


def time_functionals(files: list[Path]) -> float:
    """Return our milliseconds of processor time per clip, at one speed."""
    from threadpoolctl import threadpool_limits

    signals = [audio.load(file, RATE) for file in files]
    with threadpool_limits(1):
        features.compute_functionals(signals[0], RATE, speeds=1)
        start = time.process_time()
        for signal in signals:
            features.compute_functionals(signal, RATE, speeds=1)
        return 1000 * (time.process_time() - start) / len(signals)


def one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def find_opensmile(*, install: bool) -> Path | None:
    """Return the Python of the bench's own environment with openSMILE; None, with a message, if there is none."""
    python = ENVIRONMENT / "bin" / "python"
    check = [str(python), "-c", "import opensmile"]
    if python.exists() and not subprocess.run(check, stderr=subprocess.DEVNULL).returncode:
        return python
    if not install:
        print("functionals: not compared with openSMILE; with --peers it is installed in runs/bench/venv")
        return None
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", OPENSMILE]
    if subprocess.run(pip, stdout=sys.stderr).returncode or subprocess.run(check).returncode:
        print("functionals: not compared with openSMILE, which could not be installed")
        return None
    return python
