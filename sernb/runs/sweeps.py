"""Many runs: a sweep file becomes jobs, one Dask cluster executes them, and their results become one table.

`sernb sweep` and `sernb report` both use `run_jobs`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from sernb import audio
from sernb import results
from sernb import utils
from sernb.runs.execution import Outcome
from sernb.runs.execution import check_job
from sernb.runs.execution import record_job
from sernb.runs.execution import run_notebook
from sernb.runs.freshness import Job
from sernb.runs.freshness import is_up_to_date
from sernb.runs.freshness import notebook_digest
from sernb.runs.freshness import package_versions
from sernb.runs.notebooks import ParameterError
from sernb.runs.notebooks import RunError
from sernb.runs.notebooks import uses_tensorflow
from sernb.runs.parameters import slug
from sernb.runs.parameters import validate_parameters

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future

SWEEP_KEYS = {"notebook", "parameters", "grid"}
LABEL = "label"
RESULTS_TABLE = "results.csv"
MAX_RUNS = 10_000  # in one sweep: a typing mistake can multiply lists to more runs than fit in memory
CONNECT_SECONDS, WORKER_SECONDS = 20, 30  # how long to wait for a scheduler, and for its first worker
MAX_WORKERS = 4  # of a local cluster by default: a run takes a gigabyte or two of memory
WORKER_FOLDERS = ("SERNB_DATA", "SERNB_CACHE")
DASK_SETTINGS = {
    # By default, Dask assigns each worker one run in advance, which might wait behind a long one.
    "distributed.scheduler.worker-saturation": 1.0,
    # By default, Dask looks every 10 ms at what a worker does, and every 20 ms at whether it responds: 4% of a core.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
}


class SweepError(RuntimeError):
    """A sweep file that cannot be read, or a cluster that cannot execute its runs."""


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep: its varied parameters and the label that the sweep file gives it, if any."""

    varied: dict[str, Any]
    label: str = ""


@dataclass(frozen=True)
class Sweep:
    """The contents of a sweep file: a notebook, its fixed parameters, and the points to run it at."""

    notebook: Path
    fixed: dict[str, Any]
    points: list[SweepPoint]

    def jobs(self, output_dir: Path) -> list[Job]:
        """Return a job for each point; its folder is named by what varies."""
        folder = Path(output_dir).absolute()
        return [
            Job(self.notebook, folder / slug(point.varied), self.fixed | point.varied, Path.cwd(), point.label)
            for point in self.points
        ]


# the sweep file


def read_sweep_file(sweep_file: Path) -> Sweep:
    """Read and check a sweep file: keys, notebook, parameters, and that no run occurs twice.

    `grid` maps names to lists of values and means every combination; it may also be a list of such grids, each with a
    `label` for its runs. The notebook is looked up beside the file, in the folders above it, in the working folder, and
    among those that come with sernb.

    Raises:
        SweepError: The file is wrong; the message says where.
        ParameterError: The parameters of a run are wrong.
    """
    sweep_file = Path(sweep_file).absolute()
    try:
        content = utils.read_yaml(sweep_file)
        _check_keys(content)
        grids = content["grid"] if isinstance(content["grid"], list) and content["grid"] else [content["grid"]]
        fixed = content.get("parameters") or {}
        points = [point for grid in grids for point in _sweep_points(grid, fixed)]
        sweep = Sweep(_find_notebook(sweep_file, content["notebook"]), fixed, points)
        for point in points:
            validate_parameters(sweep.notebook, sweep.fixed | point.varied)
    except ParameterError:
        raise
    except (ValueError, OSError, RunError) as error:
        raise SweepError(f"{sweep_file}: {error}") from error
    if twice := [name for name, count in Counter(slug(point.varied) for point in points).items() if count > 1]:
        raise SweepError(f"{sweep_file}: the run {twice[0]} occurs twice in the grid")
    return sweep


def _check_keys(content: Any) -> None:
    if not isinstance(content, dict) or not {"notebook", "grid"} <= set(content) <= SWEEP_KEYS:
        has = ", ".join(map(str, content)) if isinstance(content, dict) else repr(content)[:60]
        raise ValueError(f"a sweep file has `notebook`, `grid` and, optionally, `parameters`; this one has {has}")
    if not isinstance(content.get("parameters") or {}, dict):
        raise ValueError("`parameters` maps each name to one value, as in `parameters: {CORPUS: ravdess}`")


def _sweep_points(grid: Any, fixed: dict[str, Any]) -> Iterator[SweepPoint]:
    if not isinstance(grid, dict) or not set(grid) - {LABEL}:
        raise ValueError("`grid` maps each name to a list of values, as in `grid: {SEED: [42, 43]}`")
    values = {name: value for name, value in grid.items() if name != LABEL}
    for name, several in values.items():
        if not isinstance(several, list) or not several:
            raise ValueError(f"grid: {name} takes a list of values, as in `{name}: [{str(several or '...')[:60]}]`")
        if name in fixed:
            raise ValueError(f"{name} occurs in `parameters` and in `grid`; remove it from one of them")
    if (count := math.prod(map(len, values.values()))) > MAX_RUNS:
        raise ValueError(f"the grid has {count} runs, but a sweep may have at most {MAX_RUNS}: remove some values")
    for combination in itertools.product(*values.values()):
        yield SweepPoint(dict(zip(values, combination, strict=True)), str(grid.get(LABEL, "")))


def _find_notebook(sweep_file: Path, name: Any) -> Path:
    folders = [*sweep_file.parents, Path.cwd(), utils.project_root()]
    paths = (folder / str(name) for folder in folders)
    if notebook := next((path for path in paths if path.is_file()), None):
        return notebook
    raise ValueError(
        f"there is no notebook {name} beside it, in a folder above it, in the working folder or among those of sernb"
    )


# a sweep


def run_sweep(sweep_file: Path, output_dir: Path, *, workers: int = 0, scheduler: str = "") -> list[Outcome]:
    """Execute the runs of a sweep file that are not up to date, and update `results.csv` whenever one ends.

    Args:
        sweep_file: The sweep file.
        output_dir: Gets a folder for each run, and `results.csv`: a row per run and model, see `results.results_table`.
        workers: How many runs at a time on a local cluster; 0 for one per core, at most four.
        scheduler: Address of a running Dask scheduler to use instead.

    Returns:
        One outcome for each run, in the file's order.

    Raises:
        ParameterError, OutputError, FolderInUseError: Nothing has been run.
        SweepError: The file is wrong, or the cluster cannot execute these runs or was lost; finished runs are kept.
    """
    folder, jobs = Path(output_dir), read_sweep_file(sweep_file).jobs(output_dir)
    _check_sweep_dir(folder)
    check_jobs(jobs)
    ended: set[Path] = set()

    def update_table(outcome: Outcome) -> None:
        """Write the table of results again after a run has ended."""
        ended.add(outcome.job.output_dir)
        if outcome.status != "kept" or len(ended) == len(jobs):
            write_results_table([job for job in jobs if job.output_dir in ended], folder / RESULTS_TABLE)

    with utils.output_lock(folder):
        results.claim_files(folder, [RESULTS_TABLE], sweep=Path(sweep_file).name)
        return _run_checked_jobs(jobs, workers, scheduler, update_table)


def _check_sweep_dir(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise results.OutputError(f"{folder} is a file. Name a folder for the sweep.")
    if "notebook" in results.read_record(folder):
        raise results.OutputError(f"{folder} holds a single run. Choose another output folder for a sweep.")
    results.check_unclaimed(folder, [RESULTS_TABLE])


def write_results_table(jobs: list[Job], path: Path) -> None:
    """Write the table of the runs of some jobs; it is replaced as a whole, so that it is never half a table."""
    table = results.results_table([job.output_dir for job in jobs])
    if any(job.label for job in jobs):
        labels = {job.output_dir.name: job.label for job in jobs}
        table.insert(1, LABEL, table["run"].map(labels))
    part = path.with_name(f".{path.name}.part")
    table.to_csv(part, index=False)
    os.replace(part, path)


# the engine


def run_jobs(
    jobs: list[Job],
    *,
    workers: int = 0,
    scheduler: str = "",
    on_finished: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Execute many runs on a Dask cluster, one kernel each; a run that fails does not stop the others.

    With `scheduler`, a run whose worker dies is repeated by another. An interrupt stops the kernels; finished runs are
    kept.

    Args:
        jobs: The runs, each with a folder of its own.
        workers: How many at a time on a local cluster; 0 for one per core, at most four.
        scheduler: Address of a running scheduler; its workers must see the same files and have the same packages.
        on_finished: Called with each outcome as it comes, first with those of runs that are up to date.

    Returns:
        One outcome for each job, in their order.

    Raises:
        ParameterError, OutputError: See `check_job`; nothing has been run.
        SweepError: The cluster cannot be reached, cannot execute these runs, or was lost; finished runs are kept.
        ValueError: Two jobs share a folder.
    """
    check_jobs(jobs)
    return _run_checked_jobs(jobs, workers, scheduler, on_finished)


def check_jobs(jobs: list[Job]) -> None:
    """Refuse jobs if one of them is wrong, see `check_job`, or if two share a folder."""
    for job in jobs:
        check_job(job)
    if shared := [str(name) for name, count in Counter(job.output_dir for job in jobs).items() if count > 1]:
        raise ValueError(f"two runs would share the folder {shared[0]}")


def _run_checked_jobs(
    jobs: list[Job], workers: int, scheduler: str, on_finished: Callable[[Outcome], None]
) -> list[Outcome]:
    outcomes = {job.output_dir: Outcome(job, "kept") for job in jobs if is_up_to_date(job)}
    for outcome in list(outcomes.values()):
        on_finished(outcome)
    todo = [job for job in jobs if job.output_dir not in outcomes]
    if todo:
        audio.compile_librosa()
    for outcome in _execute_all(todo, workers, scheduler, up_to_date=len(outcomes)) if todo else ():
        outcomes[outcome.job.output_dir] = outcome
        on_finished(outcome)
    return [outcomes[job.output_dir] for job in jobs]


def _execute_all(jobs: list[Job], workers: int, scheduler: str, up_to_date: int) -> Iterator[Outcome]:
    with (
        _cluster(len(jobs), workers, scheduler) as client,
        _progress_board(len(jobs), up_to_date) as (progress, update),
    ):
        _check_workers(client, jobs)
        # Workers that were started elsewhere may have other folders of data and features.
        folders = {name: os.environ.get(name) for name in WORKER_FOLDERS if scheduler}
        folders = {name: str(Path(folder).absolute()) for name, folder in folders.items() if folder}
        sweep = uuid.uuid4().hex
        # If one run needs a process that has imported TensorFlow, the others start faster from it too.
        fork = any(uses_tensorflow(job.notebook) for job in jobs)
        runs_per_host = _runs_per_host(client, 0 if scheduler else _worker_count(workers))
        # In one call: of runs that are submitted one by one, Dask lets the first few wait for a worker that is busy.
        options = {"runs_per_host": runs_per_host, "folders": folders, "sweep": sweep, "fork": fork}
        keys = [(f"run-{sweep}", number) for number in range(len(jobs))]
        futures = dict(zip(client.map(_run_one, jobs, key=keys, **options), jobs, strict=True))
        try:
            for done in _completed(futures):
                # A worker may have got several runs, but each of its threads executes one.
                threads = client.nthreads()
                progress.running = sum(min(len(keys), threads.get(at, 0)) for at, keys in client.processing().items())
                update()
                for future in done:
                    outcome = _job_outcome(futures[future], future)
                    update(outcome)
                    yield outcome
        except BaseException as error:  # an interrupt, or the caller's own error: nobody waits for these runs any more
            with contextlib.suppress(Exception):  # the cluster may be what failed
                client.cancel(list(futures), force=True)
                client.run(_stop_sweep, sweep)
            # An error of the file system, which names a file, does not mean that the scheduler was lost.
            if isinstance(error, CancelledError) or (isinstance(error, OSError) and not error.filename):
                lost = f"the connection to the scheduler was lost ({error or type(error).__name__})"
                raise SweepError(f"{lost}; finished runs are kept, and the same command continues") from error
            raise


def _completed(futures: Iterable[Future]) -> Iterator[set[Future]]:
    """Yield those that ended since the last time; at least every second, so that the progress board is updated."""
    from distributed import wait

    left = set(futures)
    while left:
        with contextlib.suppress(TimeoutError):
            wait(left, timeout=1, return_when="FIRST_COMPLETED")
        done = {future for future in left if future.done()}
        left -= done
        yield done


def _job_outcome(job: Job, future: Future) -> Outcome:
    try:
        return future.result(timeout=30)
    except CancelledError:
        raise  # not this run's failure: the scheduler forgot it
    except Exception as error:  # what `_run_one` does not turn into an outcome, such as the death of several workers
        text = f"{type(error).__name__}: {error}"
        files = results.read_record(job.output_dir).get("files", [])
        record_job(job, status="failed", error=text, error_type=type(error).__name__, files=files)
        return Outcome(job, "failed", error=text)


@contextlib.contextmanager
def _cluster(count: int, workers: int, scheduler: str) -> Iterator[Client]:
    import dask
    from distributed import Client
    from distributed import LocalCluster

    if scheduler:
        with _connect(scheduler) as client:
            yield client
        return
    workers = min(_worker_count(workers), count)
    # Threads of this process: the work is done by the kernels, which are processes. They use the memory, and Dask does
    # not see them: a limit on the workers would have no effect. Any free port: Dask warns if a second sweep uses its
    # usual one.
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "memory_limit": 0}
    options["silence_logs"] = logging.CRITICAL  # after an interrupt, Dask reports cancelled runs and lost connections
    with dask.config.set(DASK_SETTINGS):
        with LocalCluster(n_workers=workers, **options) as cluster, Client(cluster) as client:
            yield client


def _worker_count(workers: int) -> int:
    """Return how many runs a local cluster executes at a time; a run uses one core most of the time."""
    return workers or min(utils.cpu_count(), MAX_WORKERS)


def _connect(scheduler: str) -> Client:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        start = "start one with `dask scheduler` and give the address that it prints"
        raise SweepError(f"no Dask scheduler responds at {scheduler} ({error}); {start}") from error
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError as error:
        client.close()
        raise SweepError(f"{scheduler} has no workers; start some with `dask worker {scheduler}`") from error
    return client


def _check_workers(client: Client, jobs: list[Job]) -> None:
    """Refuse workers whose runs would differ from this machine's: other packages, or other files at these paths."""
    folders = {job.output_dir.parent for job in jobs}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    notebooks = {job.notebook for job in jobs}
    expected = _environment_fingerprint(folders, notebooks)
    try:
        fingerprints = client.run(_environment_fingerprint, folders, notebooks)
    except ImportError as error:
        raise SweepError(
            f"a worker lacks a package that the runs need ({error}); install the same packages as on this machine"
        ) from error
    if several := [address for address, threads in client.nthreads().items() if threads > 1]:
        start = "`dask worker ADDRESS --nthreads 1`, once for each run that the machine should execute at a time"
        raise SweepError(f"the worker {several[0]} has several threads, but a run needs a process: start it by {start}")
    for address, facts in fingerprints.items():
        if other := [
            f"{fact} ({facts[fact]}, here {expected[fact]})" for fact in expected if facts[fact] != expected[fact]
        ]:
            raise SweepError(f"the runs of the worker {address} would differ; it has another {', '.join(other)}")


def _environment_fingerprint(folders: set[Path], notebooks: set[Path]) -> dict[str, str]:
    """Return what decides whether two machines' runs are equal: versions, code, notebooks, the folder of results."""
    digests = {f"notebook {path}": utils.file_digest(path) for path in sorted(notebooks)}
    states = {f"folder {path}": "exists" if path.is_dir() else "missing" for path in sorted(folders)}
    code = notebook_digest(*(path for path in notebooks if path.is_file()))[:10]
    return {**package_versions(), "sernb": code, **digests, **states}


def _runs_per_host(client: Client, workers: int) -> Counter:
    """Return how many runs each host executes at a time: they share its cores.

    On a local cluster these are the `workers` that were asked for, even if fewer runs are left: the last run of an
    interrupted sweep would otherwise have more threads than in the whole sweep, and with them other last digits.
    """
    counts: Counter = Counter()
    for address, threads in client.nthreads().items():
        counts[_host_of(address)] += threads
    return Counter(dict.fromkeys(counts, workers)) if workers else counts


def _host_of(address: str) -> str:
    """Return the host of a worker's address; each worker of a local cluster, a thread, counts as one."""
    return address.split("://")[-1].rsplit(":", 1)[0]


def _run_one(job: Job, runs_per_host: Counter, folders: dict[str, str], sweep: str, fork: bool) -> Outcome:
    """Execute one run in a worker; an error that it raises is its outcome."""
    from distributed import get_worker

    from sernb.runs import kernels

    start = time.monotonic()
    threads = max(1, utils.cpu_count() // (runs_per_host[_host_of(get_worker().address)] or 1))
    try:
        kernels.refuse_if_stopped(sweep)
        with _environment(folders):
            run_notebook(
                job.notebook,
                job.parameters,
                job.output_dir,
                cwd=job.cwd,
                threads=threads,
                again=True,
                fork=fork,
                sweep=sweep,
            )
    except Exception as error:
        return Outcome(job, "failed", time.monotonic() - start, str(error))
    return Outcome(job, "finished", time.monotonic() - start)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Change a worker's environment for one run; its next run may belong to a sweep with other folders."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _stop_sweep(sweep: str) -> None:
    """Stop the kernels that this worker started for a sweep: a thread that waits for one cannot be interrupted."""
    from sernb.runs import kernels

    kernels.stop_sweep(sweep)


# progress


@dataclass
class _SweepProgress:
    """How far a sweep has come, as a line of text."""

    total: int
    ended: int = 0
    failed: int = 0
    running: int = 0
    seconds: float = 0.0

    def count(self, outcome: Outcome) -> None:
        """Add a run that ended."""
        self.ended += 1
        self.failed += outcome.status == "failed"
        self.seconds += outcome.seconds

    def __str__(self) -> str:
        parts = [f"{self.ended} of {self.total} done", f"{self.running} running", f"{self.failed} failed"]
        if self.ended and self.ended < self.total:
            left = self.seconds / self.ended * (self.total - self.ended) / max(1, self.running)
            parts.append(f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left")
        return ", ".join(parts)


@contextlib.contextmanager
def _progress_board(total: int, up_to_date: int) -> Iterator[tuple[_SweepProgress, Callable[..., None]]]:
    """Show a bar if there is a terminal, and a line for each run that ends: its outcome and the estimated time left."""
    from rich.console import Console
    from rich.progress import BarColumn
    from rich.progress import Progress
    from rich.progress import TextColumn
    from rich.progress import TimeElapsedColumn

    console, progress = Console(stderr=True, highlight=False), _SweepProgress(total)
    if up_to_date:
        console.print(f"{up_to_date} run{'s' * (up_to_date != 1)} already finished and up to date")
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=total)

        def update(outcome: Outcome | None = None) -> None:
            """Print the run that has ended and move the progress bar."""
            if outcome:
                progress.count(outcome)
                line = f"{outcome.status:>8} {outcome.seconds:7.1f} s  {outcome.job.output_dir.name}"
                console.print(f"{line}  ({progress})", markup=False, soft_wrap=True)
            bar.update(task, completed=progress.ended, description=str(progress))

        yield progress, update
