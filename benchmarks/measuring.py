"""Measure time and memory, each in its own process, and write the table of results."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd

from sernb import results
from sernb import utils

COLUMNS = ["part", "measure", "clips", "ours", "baseline", "unit", "ratio"]


def measure(work: Callable, *arguments: object) -> tuple[object, float]:
    """Run a function in its own process; return its result and the peak memory in MB, including child processes.

    Shared memory is counted once on Linux; elsewhere it is counted for each process.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work, arguments))
    process.start()
    sender.close()
    peak = 0.0
    while not receiver.poll(0.1):  # which is also true once the other end is closed
        peak = max(peak, _memory(process.pid))
    try:
        result = receiver.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} failed; see its error above") from None
    process.join()
    return result, peak


def _send(pipe: Connection, work: Callable, arguments: tuple) -> None:
    pipe.send(work(*arguments))


def measure_in_turns(works: Sequence[Callable[..., Iterator[float]]], rounds: int, *arguments: object) -> np.ndarray:
    """Let generators, each in its own process, take turns; return what they yield, shape (rounds, works).

    A round goes through them forwards and then backwards and adds both steps, so that the order favours none. The
    first step of each includes one-time costs and is not counted.
    """
    context = get_context("spawn")
    ends = [context.Pipe() for _ in works]
    processes = [
        context.Process(target=_step, args=(end, work, arguments), daemon=True)
        for (_, end), work in zip(ends, works, strict=True)
    ]
    for process, (_, end) in zip(processes, ends, strict=True):
        process.start()
        end.close()
    values = np.zeros((rounds + 1, len(works)))
    forwards = range(len(works))
    for i, order in enumerate([forwards, *([*forwards, *reversed(forwards)] for _ in range(rounds))]):
        for j in order:
            try:
                ends[j][0].send(True)
                values[i, j] += ends[j][0].recv()
            except (EOFError, BrokenPipeError):
                raise RuntimeError(f"{works[j].__name__} failed; see its error above") from None
    for process, (end, _) in zip(processes, ends, strict=True):
        end.send(False)
        process.join()
    return values[1:]


def _step(pipe: Connection, work: Callable[..., Iterator[float]], arguments: tuple) -> None:
    steps = work(*arguments)
    while pipe.recv():
        pipe.send(next(steps))


def _memory(pid: int) -> float:
    import psutil

    total = 0
    try:
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            memory = process.memory_full_info() if platform.system() == "Linux" else process.memory_info()
            total += getattr(memory, "pss", memory.rss)
    except (psutil.Error, OSError):  # a process has just ended
        pass
    return total / 1e6


def row(part: str, measure: str, clips: int, ours: float, baseline: float | None, unit: str) -> dict:
    """Return a line of the table; the ratio is the baseline divided by ours."""
    ratio = baseline / ours if baseline and ours else np.nan
    return dict(zip(COLUMNS, (part, measure, clips, ours, baseline, unit, ratio), strict=True))


def machine() -> dict[str, str]:
    """Return what a measurement depends on besides the code."""
    import psutil

    return {
        "cpu": _cpu(),
        "cores": str(utils.cpu_count()),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "librosa", "keras", "tensorflow")},
        "revision": results.git_revision(),
        "date": datetime.date.today().isoformat(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_rows(rows: list[dict], to: Path) -> None:
    """Replace the earlier rows of the same parts in the table."""
    table = pd.DataFrame(rows).assign(**machine())
    if to.is_file():
        before = pd.read_csv(to, dtype=str)
        table = pd.concat([before[~before["part"].isin(table["part"])], table])
    to.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(to, index=False)


def print_rows(rows: list[dict]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("part", "measure", "unit") else "right")
    for line in rows:
        table.add_row(*(_format(line[column]) for column in COLUMNS))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()), table, sep="\n")


def _format(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
