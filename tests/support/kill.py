"""Kill commands at random moments with SIGKILL, and check that the same command then ends as if undisturbed.

    PYTHONPATH=tests python -m support.kill --times 50            # each of the four kinds in turn
    PYTHONPATH=tests python -m support.kill training --times 5

Every second kill takes the command's whole process group at once, as a machine that runs out of memory or power does;
the others take the command alone, whose kernels and workers must then notice that nobody waits for them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from support import small_notebooks

ROOT = Path(__file__).parents[2]
SERNB = [sys.executable, "-c", "from sernb.cli import app; app()"]
# What may differ between two equal runs: durations, folders, and the code's revision.
DIFFERS = ("seconds", "OUTPUT_DIR", "revision")
TINY = {"CORPUS": "demo-ravdess", "MAX_CLIPS": 48, "EPOCHS": 2, "SPLIT": "60:20:20", "AUGMENT": "none"}
EXTRACT = """\
import sys
from pathlib import Path

import numpy as np

from sernb import corpora
from sernb import features
from sernb.features import store

store.MIN_ARRAYS_KEPT = 1  # a stacked set is kept however small it is

if __name__ == "__main__":
    table = corpora.load("demo-ravdess", max_clips=120)
    for name in ("mfcc", "functionals"):  # by threads, and by processes
        array = features.extract(table, name, sample_rate=16_000)
        with open(Path(sys.argv[1], f"{name}.npy"), "wb") as file:
            np.save(file, array)
"""


@dataclass(frozen=True)
class Kind:
    """Something that can be killed: its command for a folder, and the results that must be as if undisturbed."""

    command: Callable[[Path], list[str]]
    results: Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Kill:
    """One kill: of what, how, when, and whether the command then ended, with the results of an undisturbed one."""

    kind: str
    target: str
    after: float
    of: float
    ended: bool
    equal: bool


# what is killed


def extraction(folder: Path) -> list[str]:
    """Two features of a corpus, the one by threads and the other by processes."""
    script = folder / "extract.py"
    script.write_text(EXTRACT)
    return [sys.executable, str(script), str(folder)]


def training(folder: Path) -> list[str]:
    """Chapter 3, unpacking of the demo corpus and extraction included."""
    options = [word for name, value in TINY.items() for word in ("-p", name, str(value))]
    return [*SERNB, "run", str(ROOT / "notebooks" / "03_paper_replication.ipynb"), *options, "-o", str(folder / "run")]


def sweep(folder: Path) -> list[str]:
    """Three runs of chapter 3."""
    notebook = str(ROOT / "notebooks" / "03_paper_replication.ipynb")
    grid = {"notebook": notebook, "parameters": {**TINY, "EPOCHS": 1}, "grid": {"SEED": [1, 2, 3]}}
    return _sweep_command(folder, grid)


def small_sweep(folder: Path) -> list[str]:
    """Four runs of a notebook that waits and writes."""
    code = (
        "import time\nfrom pathlib import Path\n\ntime.sleep(1)\nPath(OUTPUT_DIR, 'result.csv').write_text(f'{SEED}')"
    )
    notebook = small_notebooks.write(folder / "small.ipynb", code)
    return _sweep_command(folder, {"notebook": str(notebook.name), "grid": {"SEED": [1, 2, 3, 4]}})


def _sweep_command(folder: Path, content: dict) -> list[str]:
    (folder / "grid.yml").write_text(yaml.safe_dump(content))
    return [*SERNB, "sweep", str(folder / "grid.yml"), "-o", str(folder / "sweep"), "--workers", "2"]


def book(folder: Path) -> list[str]:
    """Two small notebooks and a page of prose, run and rendered."""
    plot = "import matplotlib.pyplot as plt\n\nplt.plot([SEED, 2, 3]);"
    small_notebooks.write(folder / "notebooks" / "small.ipynb", small_notebooks.WRITE, plot)
    (folder / "book").mkdir(exist_ok=True)
    (folder / "book" / "about.md").write_text("# About\n\nNothing.\n")
    shutil.copy(ROOT / "_config.yml", folder)
    chapters = [
        {"name": f"seed-{seed}", "notebook": "notebooks/small.ipynb", "title": "A seed", "parameters": {"SEED": seed}}
        for seed in (1, 2)
    ]
    listed = {"parts": [{"caption": "All", "chapters": [{"page": "about.md"}, *chapters]}]}
    (folder / "book" / "runs.yml").write_text(yaml.safe_dump(listed))
    return [*SERNB, "report", "--runs", str(folder / "book" / "runs.yml"), "-o", str(folder / "_build")]


# what must be equal


def _files(folder: Path, *patterns: str) -> dict[str, str]:
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if key not in DIFFERS}
    return [_without(item) for item in value] if isinstance(value, list) else value


def run_results(folder: Path) -> dict[str, Any]:
    """Metrics, and predictions and curves to the byte, of all runs below a folder."""
    metrics = {
        str(path.relative_to(folder)): _without(json.loads(path.read_text()))
        for path in sorted(folder.glob("**/metrics.json"))
    }
    return metrics | _files(folder, "**/predictions.csv", "**/history.csv", "**/result.csv", "**/inputs.json")


def sweep_results(folder: Path) -> dict[str, Any]:
    """The runs, and the table of them."""
    table = pd.read_csv(folder / "sweep" / "results.csv").drop(columns=["seconds", "revision"])
    return run_results(folder) | {"table": table.to_csv()}


def book_results(folder: Path) -> dict[str, Any]:
    """Every page and picture to the byte; each is built from runs of its own."""
    return _files(folder / "_build" / "html", "*.html", "_images/*")


KINDS = {
    "extraction": Kind(extraction, lambda folder: _files(folder, "*.npy")),
    "training": Kind(training, run_results),
    "sweep": Kind(sweep, sweep_results),
    "book": Kind(book, book_results),
    "small-sweep": Kind(small_sweep, sweep_results),
}
REAL = [name for name in KINDS if not name.startswith("small")]


# the kills


def start(kind: Kind, folder: Path) -> subprocess.Popen:
    """Start a command in a process group of its own, with a feature store of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"SERNB_CACHE": str(folder / "cache")}
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(
            kind.command(folder), stdout=log, stderr=log, env=environment, start_new_session=True, cwd=folder
        )


def finished(kind: Kind, folder: Path) -> bool:
    """Run a command to its end; return whether it says that all went well."""
    return start(kind, folder).wait(timeout=900) == 0


def undisturbed(kind: Kind, folder: Path) -> tuple[float, dict[str, Any]]:
    """Return how long a command takes, and its results."""
    begin = time.monotonic()
    assert finished(kind, folder), (folder / "log.txt").read_text()[-2000:]
    return time.monotonic() - begin, kind.results(folder)


def killed(kind: Kind, folder: Path, after: float, *, group: bool) -> bool:
    """Kill a command so many seconds after its start; False if it had ended by then."""
    process = start(kind, folder)
    try:
        process.wait(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        return True


def kills(name: str, times: int, folder: Path, seed: int) -> Iterator[Kill]:
    """Kill a command at so many random moments, each time in a new folder, and complete it."""
    kind, chance = KINDS[name], np.random.default_rng(seed)
    # One folder at a time, under one name: what a run leaves may name its folder.
    at = folder / name
    seconds, expected = undisturbed(kind, at)
    assert expected, "an undisturbed command leaves something to compare"
    done = 0
    while done < times:
        shutil.rmtree(at, ignore_errors=True)
        group, after = (done + seed) % 2 == 0, float(chance.uniform(0.05, seconds))
        if not killed(kind, at, after, group=group):
            continue
        ended = finished(kind, at)
        yield Kill(name, "group" if group else "command", after, seconds, ended, ended and kind.results(at) == expected)
        done += 1


def main() -> None:
    """Kill each kind in turn, print a line per kill, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help=f"what to kill [default: {', '.join(REAL)}]")
    parser.add_argument("--times", type=int, default=50, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", default="", help="a CSV file for the counts, such as book/results/engine/kills.csv")
    asked = parser.parse_args()
    names = asked.kinds or REAL
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(names):
            times = asked.times // len(names) + (i < asked.times % len(names))
            for kill in kills(name, times, Path(folder), asked.seed + i):
                records.append(kill)
                how = "equal" if kill.equal else "DIFFERS" if kill.ended else "FAILED"
                print(f"{name:>12}: {kill.target} killed after {kill.after:.1f} of {kill.of:.1f} s: {how}", flush=True)
    table = pd.DataFrame(records).groupby("kind", sort=False)[["ended", "equal"]].agg(["size", "sum"])
    counts = pd.DataFrame({"kills": table["ended", "size"], "completed": table["ended", "sum"]})
    counts["equal"] = table["equal", "sum"]
    print(counts.to_string())
    if asked.to:
        counts.to_csv(asked.to)
    sys.exit(0 if all(kill.equal for kill in records) else 1)


if __name__ == "__main__":
    main()
