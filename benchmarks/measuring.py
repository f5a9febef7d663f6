"""How the benches measure: each in a process of its own, beside what it is compared with; and their table."""

from __future__ import annotations

import os
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


def measured(work: Callable, *given: object) -> tuple[object, float]:
    """What some work returns in a process of its own, and that process's peak of memory in MB, its children's included.

    Memory that processes share counts once (Linux; elsewhere it counts for each of them).
    """
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, work, given))
    process.start()
    there.close()
    peak = 0.0
    while not here.poll(0.1):  # which is also true once the other end is closed
        peak = max(peak, _memory(process.pid))
    try:
        answer = here.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} failed; its error stands above") from None
    process.join()
    return answer, peak


def _send(pipe: Connection, work: Callable, given: tuple) -> None:
    pipe.send(work(*given))


def in_turn(works: Sequence[Callable[..., Iterator[float]]], rounds: int, *given: object) -> np.ndarray:
    """What some works yield, each in a process of its own, a step of one and a step of the next; shape (rounds, works).

    A round goes through them forwards and then backwards and has the sum of both steps, so that none gains by its
    place. The first step of each pays for what is done once, and is not counted.
    """
    context = get_context("spawn")
    ends = [context.Pipe() for _ in works]
    processes = [
        context.Process(target=_step, args=(there, work, given), daemon=True)
        for (_, there), work in zip(ends, works, strict=True)
    ]
    for process, (_, there) in zip(processes, ends, strict=True):
        process.start()
        there.close()
    found = np.zeros((rounds + 1, len(works)))
    once = range(len(works))
    for i, order in enumerate([once, *([*once, *reversed(once)] for _ in range(rounds))]):
        for j in order:
            try:
                ends[j][0].send(True)
                found[i, j] += ends[j][0].recv()
            except (EOFError, BrokenPipeError):
                raise RuntimeError(f"{works[j].__name__} failed; its error stands above") from None
    for process, (here, _) in zip(processes, ends, strict=True):
        here.send(False)
        process.join()
    return found[1:]


def _step(pipe: Connection, work: Callable[..., Iterator[float]], given: tuple) -> None:
    steps = work(*given)
    while pipe.recv():
        pipe.send(next(steps))


def _memory(pid: int) -> float:
    import psutil

    total = 0
    try:
        for process in (root := psutil.Process(pid), *root.children(recursive=True)):
            told = process.memory_full_info() if platform.system() == "Linux" else process.memory_info()
            total += getattr(told, "pss", told.rss)
    except (psutil.Error, OSError):  # one of them has just ended
        pass
    return total / 1e6


def row(part: str, measure: str, clips: int, ours: float, baseline: float | None, unit: str) -> dict:
    """A line of the table; the ratio says how many times the baseline is as much as ours."""
    ratio = baseline / ours if baseline and ours else np.nan
    return dict(zip(COLUMNS, (part, measure, clips, ours, baseline, unit, ratio), strict=True))


# the table


def machine() -> dict[str, str]:
    """What a figure depends on, besides the code."""
    import psutil

    return {
        "cpu": _cpu(),
        "cores": str(utils.cpu_count()),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "librosa", "keras", "tensorflow")},
        "revision": results.git_revision(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(rows: list[dict], to: Path) -> None:
    """Put the measured rows in place of the earlier ones of the same parts."""
    table = pd.DataFrame(rows).assign(**machine())
    if to.is_file():
        before = pd.read_csv(to, dtype=str)
        table = pd.concat([before[~before["part"].isin(table["part"])], table])
    to.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(to, index=False)


def show(rows: list[dict]) -> None:
    """The table, for people."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in ("part", "measure", "unit") else "right")
    for one in rows:
        shown.add_row(*(_said(one[column]) for column in COLUMNS))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(", ".join(f"{name} {value}" for name, value in machine().items()), shown, sep="\n")


def _said(value: object) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:.0f}"
        if isinstance(value, float)
        else str(value)
    )
