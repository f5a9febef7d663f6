"""Many runs: a sweep file becomes jobs, one Dask cluster makes them, and their results become one table.

`sernb sweep` and `sernb report` share `run_all`: whatever runs many notebooks runs them here.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import threading
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
from sernb.runs.execution import run_notebook
from sernb.runs.execution import slug
from sernb.runs.execution import write_record
from sernb.runs.freshness import Job
from sernb.runs.freshness import is_up_to_date
from sernb.runs.freshness import package_digest
from sernb.runs.freshness import package_versions
from sernb.runs.notebooks import ParameterError
from sernb.runs.notebooks import RunError
from sernb.runs.parameters import validate_parameters

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future

SWEEP_KEYS = {"notebook", "parameters", "grid"}
LABEL_RE = "label"
RESULTS_TABLE = "results.csv"
MAX_RUNS = 10_000  # runs: a slip of the pen multiplies lists to more than fits in memory
WORKER_FOLDERS = ("SERNB_DATA", "SERNB_CACHE")
CURRENT_SWEEP = "SERNB_SWEEP"  # in the environment of a sweep's kernels


class SweepError(RuntimeError):
    """A sweep file that cannot be read, or a cluster that cannot make its runs."""


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep: what varies of it, and what the sweep file calls it (which may be nothing)."""

    varied: dict[str, Any]
    label: str = ""


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says: a notebook, its fixed parameters, and the points to run it at."""

    notebook: Path
    fixed: dict[str, Any]
    points: list[SweepPoint]

    def jobs(self, output_dir: Path) -> list[Job]:
        """A job for each point; its folder is named by what varies."""
        folder = Path(output_dir).absolute()
        return [
            Job(self.notebook, folder / slug(point.varied), self.fixed | point.varied, Path.cwd(), point.label)
            for point in self.points
        ]


# the sweep file


def read_sweep_file(sweep_file: Path) -> Sweep:
    """Read a sweep file and check it whole: keys, notebook, parameters, and that no run stands twice.

    `grid` maps names to lists of values and means every combination; several such grids may stand in a list, each
    with a `label` for its runs. The notebook is looked up beside the file and in the folders above it.

    Raises:
        SweepError: The file is wrong; the message says where.
        ParameterError: A run's parameters are.
    """
    sweep_file = Path(sweep_file).absolute()
    try:
        told = utils.read_yaml(sweep_file)
        _check_keys(told)
        grids = told["grid"] if isinstance(told["grid"], list) and told["grid"] else [told["grid"]]
        points = [point for grid in grids for point in _sweep_points(grid, told.get("parameters") or {})]
        sweep = Sweep(_find_notebook(sweep_file, told["notebook"]), told.get("parameters") or {}, points)
        for point in points:
            validate_parameters(sweep.notebook, sweep.fixed | point.varied)
    except ParameterError:
        raise
    except (ValueError, OSError, RunError) as error:
        raise SweepError(f"{sweep_file}: {error}") from error
    if twice := [name for name, count in Counter(slug(point.varied) for point in points).items() if count > 1]:
        raise SweepError(f"{sweep_file}: the run {twice[0]} stands twice in the grid")
    return sweep


def _check_keys(told: Any) -> None:
    if not isinstance(told, dict) or not {"notebook", "grid"} <= set(told) <= SWEEP_KEYS:
        has = ", ".join(map(str, told)) if isinstance(told, dict) else repr(told)[:60]
        raise ValueError(f"a sweep file has `notebook`, `grid` and, if need be, `parameters`; this one has {has}")
    if not isinstance(told.get("parameters") or {}, dict):
        raise ValueError("`parameters` maps each name to one value, as in `parameters: {CORPUS: ravdess}`")


def _sweep_points(grid: Any, fixed: dict[str, Any]) -> Iterator[SweepPoint]:
    if not isinstance(grid, dict) or not set(grid) - {LABEL_RE}:
        raise ValueError("`grid` maps each name to a list of values, as in `grid: {SEED: [42, 43]}`")
    values = {name: value for name, value in grid.items() if name != LABEL_RE}
    for name, several in values.items():
        if not isinstance(several, list) or not several:
            raise ValueError(f"grid: {name} takes a list of values, as in `{name}: [{str(several or '...')[:60]}]`")
        if name in fixed:
            raise ValueError(f"{name} stands in `parameters` and in `grid`; leave it in one of them")
    if (count := math.prod(map(len, values.values()))) > MAX_RUNS:
        raise ValueError(f"the grid has {count} runs; {MAX_RUNS} are the most in one sweep: leave some values out")
    for combination in itertools.product(*values.values()):
        yield SweepPoint(dict(zip(values, combination, strict=True)), str(grid.get(LABEL_RE, "")))


def _find_notebook(sweep_file: Path, name: Any) -> Path:
    for folder in sweep_file.parents:
        if (folder / str(name)).is_file():
            return folder / str(name)
    raise ValueError(f"there is no notebook {name} beside it or in a folder above it")


# a sweep


def run_sweep(sweep_file: Path, output_dir: Path, *, workers: int = 0, scheduler: str = "") -> list[Outcome]:
    """Make the runs of a sweep file that are not fresh, and keep `results.csv` up to date as they end.

    Args:
        sweep_file: What to run.
        output_dir: Gets a folder for each run, and `results.csv`: a row a run and model, see `results.results_table`.
        workers: Runs at a time on a local cluster; 0 for one a core, at most four.
        scheduler: Address of a running Dask scheduler to use instead.

    Returns:
        One outcome for each run, in the file's order.

    Raises:
        SweepError, ParameterError: Before anything is run.
    """
    jobs = read_sweep_file(sweep_file).jobs(output_dir)
    ended: set[Path] = set()

    def note(outcome: Outcome) -> None:
        ended.add(outcome.job.output_dir)
        if outcome.status != "kept" or len(ended) == len(jobs):
            write_results_table([job for job in jobs if job.output_dir in ended], Path(output_dir) / RESULTS_TABLE)

    return run_jobs(jobs, workers=workers, scheduler=scheduler, ended=note)


def write_results_table(jobs: list[Job], path: Path) -> None:
    """Write the table of the runs of some jobs; replaced as a whole, so that it is never half a table."""
    found = results.results_table([job.output_dir for job in jobs])
    if any(job.label for job in jobs):
        labels = {job.output_dir.name: job.label for job in jobs}
        found.insert(1, LABEL_RE, found["run"].map(labels))
    part = path.with_name(f".{path.name}.part")
    found.to_csv(part, index=False)
    os.replace(part, path)


# the engine


def run_jobs(
    jobs: list[Job],
    *,
    workers: int = 0,
    scheduler: str = "",
    ended: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Make many runs on a Dask cluster, one kernel each; a run that fails does not stop the others.

    A run whose worker dies is made again by another. Interrupted, it stops the kernels; finished runs stay.

    Args:
        jobs: The runs; each into a folder of its own.
        workers: How many at a time on a local cluster; 0 for one a core, at most four.
        scheduler: Address of a running scheduler; its workers must see the same files and have the same packages.
        ended: Called with each outcome as it comes, with those kept first.

    Returns:
        One outcome for each job, in their order.

    Raises:
        ParameterError: A job's parameters are wrong; nothing has been run.
        SweepError: The cluster cannot be reached, or cannot make these runs.
        ValueError: Two jobs share a folder.
    """
    for job in jobs:
        check_job(job)
    if shared := [str(name) for name, count in Counter(job.output_dir for job in jobs).items() if count > 1]:
        raise ValueError(f"two runs would share the folder {shared[0]}")
    outcomes = {job.output_dir: Outcome(job, "kept") for job in jobs if is_up_to_date(job)}
    for outcome in list(outcomes.values()):
        ended(outcome)
    todo = [job for job in jobs if job.output_dir not in outcomes]
    if todo:
        audio.compile_librosa()
    for outcome in _execute_all(todo, workers, scheduler, kept=len(outcomes)) if todo else ():
        outcomes[outcome.job.output_dir] = outcome
        ended(outcome)
    return [outcomes[job.output_dir] for job in jobs]


def _execute_all(jobs: list[Job], workers: int, scheduler: str, kept: int) -> Iterator[Outcome]:
    with _cluster(len(jobs), workers, scheduler) as client, _progress_board(len(jobs), kept) as (tally, show):
        _check_workers(client, jobs)
        # Where data and features lie is told to the workers, who may have been started elsewhere, and which kernels are
        # this sweep's: theirs may be others'.
        ours = {name: str(Path(value).absolute()) for name, value in os.environ.items() if name in WORKER_FOLDERS and value}
        ours[CURRENT_SWEEP] = uuid.uuid4().hex
        sharers = _runs_per_host(client, 0 if scheduler else _worker_count(workers))
        futures = {client.submit(_run_one, job, sharers, ours, pure=False): job for job in jobs}
        try:
            for over in _completed(futures):
                # Of those given to a worker, each of its threads runs one; the rest wait there.
                threads = client.nthreads()
                tally.running = sum(min(len(given), threads.get(at, 0)) for at, given in client.processing().items())
                show()
                for future in over:
                    outcome = _job_outcome(futures[future], future)
                    show(outcome)
                    yield outcome
        except BaseException as error:  # an interrupt, or the caller's own error: nobody waits for these runs any more
            with contextlib.suppress(Exception):  # the cluster may be what failed
                client.cancel(list(futures), force=True)
                client.run(_stop_kernels, ours[CURRENT_SWEEP])
            # An error of the file system, which names a file, is no loss of the scheduler.
            if isinstance(error, CancelledError) or (isinstance(error, OSError) and not error.filename):
                lost = f"the scheduler was lost ({error or type(error).__name__})"
                raise SweepError(f"{lost}; what had finished stays, and the same command goes on") from error
            raise


def _completed(futures: Iterable[Future]) -> Iterator[set[Future]]:
    """Those that ended since the last time; at least every second, so that the board stays alive."""
    from distributed import wait

    left = set(futures)
    while left:
        with contextlib.suppress(TimeoutError):
            wait(left, timeout=1, return_when="FIRST_COMPLETED")
        over = {future for future in left if future.done()}
        left -= over
        yield over


def _job_outcome(job: Job, future: Future) -> Outcome:
    try:
        return future.result(timeout=30)
    except CancelledError:
        raise  # not this run's failure: the scheduler forgot it
    except Exception as error:  # what `_attempt` does not turn into an outcome, such as the death of several workers
        said = f"{type(error).__name__}: {error}"
        write_record(job, status="failed", error=said)
        return Outcome(job, "failed", error=said)


@contextlib.contextmanager
def _cluster(count: int, workers: int, scheduler: str) -> Iterator[Client]:
    from distributed import Client
    from distributed import LocalCluster

    if scheduler:
        with _connect(scheduler) as client:
            yield client
        return
    workers = min(_worker_count(workers), count)
    # The work and its memory are in the kernels, which Dask does not see: a limit on the workers would mean nothing.
    with _ignored_interrupts():
        # Any free port: Dask warns of its usual one where a second sweep has it.
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0)
    with cluster, Client(cluster) as client:
        yield client


def _worker_count(workers: int) -> int:
    """How many runs a local cluster makes at a time; one takes a gigabyte or two, and most of its time one core."""
    return workers or min(os.cpu_count() or 1, 4)


@contextlib.contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """For processes started meanwhile, and for their life: Ctrl-C reaches all of a terminal, but one ends the sweep."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _connect(scheduler: str) -> Client:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=20)
    except (OSError, ValueError, TimeoutError) as error:
        start = "start one with `dask scheduler`, and name the address that it prints"
        raise SweepError(f"no Dask scheduler answers at {scheduler} ({error}); {start}") from error
    try:
        client.wait_for_workers(1, timeout=30)
    except TimeoutError as error:
        client.close()
        raise SweepError(f"{scheduler} has no workers; start some with `dask worker {scheduler}`") from error
    return client


def _check_workers(client: Client, jobs: list[Job]) -> None:
    """Refuse workers that would make other runs than this machine: other packages, or other files under our paths."""
    folders = {job.output_dir.parent for job in jobs}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    notebooks = {job.notebook for job in jobs}
    here = _environment_fingerprint(folders, notebooks)
    try:
        seen = client.run(_environment_fingerprint, folders, notebooks)
    except ImportError as error:
        raise SweepError(
            f"a worker lacks what the runs need ({error}); install there what is installed here"
        ) from error
    if several := [address for address, threads in client.nthreads().items() if threads > 1]:
        start = "`dask worker ADDRESS --nthreads 1`, as often as the machine shall make runs at once"
        raise SweepError(f"the worker {several[0]} has several threads, but a run takes a process: start it by {start}")
    for address, there in seen.items():
        if strange := [f"{what} ({there[what]}, here {here[what]})" for what in here if there[what] != here[what]]:
            raise SweepError(f"the worker {address} would not make the same runs; it differs in {', '.join(strange)}")


def _environment_fingerprint(folders: set[Path], notebooks: set[Path]) -> dict[str, str]:
    """What decides whether two machines make the same runs: versions, `sernb`, notebooks, the folder of results."""
    files = {f"the notebook {path}": utils.file_digest(path) for path in sorted(notebooks)}
    seen = {f"the folder {path}": "is there" if path.is_dir() else "is missing" for path in sorted(folders)}
    return {**package_versions(), "sernb": package_digest()[:10], **files, **seen}


def _runs_per_host(client: Client, asked: int) -> Counter:
    """How many runs each host makes at once: they share out its cores.

    On a local cluster as many as were `asked` for, be there fewer left: the last run of a stopped sweep would otherwise
    have more threads than in the whole sweep, and with them other last digits.
    """
    together: Counter = Counter()
    for address, threads in client.nthreads().items():
        together[_host_of(address)] += threads
    return Counter(dict.fromkeys(together, asked)) if asked else together


def _host_of(address: str) -> str:
    return address.split("://")[-1].rsplit(":", 1)[0]


def _run_one(job: Job, sharers: Counter, environment: dict[str, str]) -> Outcome:
    """One run, in a worker; what it raises is its outcome."""
    from distributed import get_worker

    os.environ.update(environment)
    start = time.monotonic()
    threads = max(1, (os.cpu_count() or 1) // (sharers[_host_of(get_worker().address)] or 1))
    try:
        run_notebook(job.notebook, job.parameters, job.output_dir, cwd=job.cwd, threads=threads, again=True)
    except Exception as error:
        return Outcome(job, "failed", time.monotonic() - start, str(error))
    return Outcome(job, "finished", time.monotonic() - start)


def _stop_kernels(sweep: str) -> None:
    """End the kernels that this worker started for a sweep: a thread that waits for one cannot be told to stop."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.environ().get(CURRENT_SWEEP) == sweep:
                child.kill()


# progress


@dataclass
class _SweepProgress:
    """How far a sweep is, for people."""

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
        said = [f"{self.ended} of {self.total} done", f"{self.running} running", f"{self.failed} failed"]
        if self.ended and self.ended < self.total:
            left = self.seconds / self.ended * (self.total - self.ended) / max(1, self.running)
            said.append(f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left")
        return ", ".join(said)


@contextlib.contextmanager
def _progress_board(total: int, kept: int) -> Iterator[tuple[_SweepProgress, Callable[..., None]]]:
    """A bar where there is a terminal, and a line for each run that ends: how it went, how long the rest may take."""
    from rich.console import Console
    from rich.progress import BarColumn
    from rich.progress import Progress
    from rich.progress import TextColumn
    from rich.progress import TimeElapsedColumn

    console, tally = Console(stderr=True, highlight=False), _SweepProgress(total)
    if kept:
        console.print(f"{kept} runs are there already, finished and fresh")
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=total)

        def show(outcome: Outcome | None = None) -> None:
            if outcome:
                tally.count(outcome)
                line = f"{outcome.status:>8} {outcome.seconds:7.1f} s  {outcome.job.output_dir.name}"
                console.print(f"{line}  ({tally})", markup=False, soft_wrap=True)
            bar.update(task, completed=tally.ended, description=str(tally))

        yield tally, show
