"""Run a notebook with parameters and keep its results in a folder.

A run's folder holds the executed notebook, whatever the notebook wrote to its `OUTPUT_DIR`, and `run.json`, by which a
finished run is recognised and not repeated. `sweeps` executes many runs.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextvars import Context
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sernb import results
from sernb import utils
from sernb.runs.freshness import Job
from sernb.runs.freshness import absolute_folders
from sernb.runs.freshness import is_up_to_date
from sernb.runs.freshness import run_key
from sernb.runs.notebooks import RunError
from sernb.runs.notebooks import cell_tags
from sernb.runs.notebooks import import_nbformat
from sernb.runs.notebooks import notebook_parameters
from sernb.runs.notebooks import read_notebook
from sernb.runs.parameters import validate_parameters

QUIET_ENVIRONMENT = {
    "TQDM_DISABLE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
CANCEL_SECONDS = 0.2  # between looks at whether a run was cancelled
SAVE_SECONDS = 1  # from a change of a running notebook to its next save
THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT")


@dataclass(frozen=True)
class Outcome:
    """How a job ended: `finished`, `kept` (finished earlier and still up to date) or `failed`, then with the error."""

    job: Job
    status: str
    seconds: float = 0.0
    error: str = ""


# one run


def run_notebook(
    notebook: Path,
    parameters: dict[str, Any],
    output_dir: Path,
    *,
    cwd: Path | None = None,
    threads: int = 0,
    again: bool = False,
    bar: bool = False,
    on_cell: Callable[[int, int], None] | None = None,
    cancelled: threading.Event | None = None,
    fork: bool = False,
    sweep: str = "",
) -> Path:
    """Run a notebook with papermill into a folder of its own; a run that is up to date is not repeated.

    Args:
        notebook: The notebook to run; it is not changed.
        parameters: Values by name, each a parameter of the notebook's cell tagged `parameters`.
        output_dir: The run's folder; the notebook gets it as `OUTPUT_DIR`.
        cwd: The kernel's working directory, and the base of relative folders; the caller's by default.
        threads: How many threads its libraries may use; 0 leaves that to them.
        again: Repeat the run even if it is up to date.
        bar: Show a progress bar over the cells, except in a headless run.
        on_cell: Called before each cell with its index and the number of cells.
        cancelled: When it is set, the run ends at once.
        fork: On Linux, fork the kernel from a process that has imported TensorFlow and librosa. The first such run
            starts that process and waits for its imports; later ones start faster.
        sweep: The sweep that the run belongs to, for `kernels.stop_sweep`.

    Returns:
        The path of the executed notebook.

    Raises:
        ParameterError: A parameter is wrong; nothing has been run or written.
        OutputError: The folder holds files that no earlier run wrote; nothing has been run or written.
        FolderInUseError: Another process is writing into the folder.
        RunError: There is no such notebook; it failed, and is kept with its traceback; or the run was cancelled.
    """
    job = Job(Path(notebook).absolute(), Path(output_dir).absolute(), parameters, cwd)
    check_job(job)
    if again or not is_up_to_date(job):
        with utils.output_lock(job.output_dir):
            if again or not is_up_to_date(job):  # the process that held the lock may have made this very run
                with _stop_when(cancelled, sweep) as sweep:
                    _execute(job, threads, bar, on_cell, fork=fork, sweep=sweep)
    return job.output_dir / job.notebook.name


def check_job(job: Job) -> None:
    """Refuse a job with wrong parameters or folders, or in an environment with a wrong memory limit.

    Raises:
        ParameterError: See `validate_parameters`.
        OutputError: See `results.check_run_dir`.
        MemoryLimitError: See `utils.memory_limit`.
    """
    utils.memory_limit()
    validate_parameters(job.notebook, job.parameters, job.cwd or Path.cwd())
    results.check_run_dir(job.output_dir, job.notebook)


@contextlib.contextmanager
def _stop_when(cancelled: threading.Event | None, sweep: str) -> Iterator[str]:
    """Kill a run's kernel as soon as the run is cancelled; yield the name of its sweep, a new one if it has none."""
    if cancelled is None:
        yield sweep
        return
    from sernb.runs.kernels import stop_sweep

    sweep, is_done = sweep or f"run {secrets.token_hex(8)}", threading.Event()

    def watch() -> None:
        """Stop the sweep as soon as the user has cancelled it."""
        while not is_done.wait(CANCEL_SECONDS):
            if cancelled.is_set():
                stop_sweep(sweep)
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield sweep
    except RunError as error:
        if not cancelled.is_set():
            raise
        raise RunError("the run was cancelled") from error
    finally:
        is_done.set()
        watcher.join()


def _execute(job: Job, threads: int, bar: bool, on_cell: Callable | None = None, **kernel_options: Any) -> None:
    results.remove_recorded_files(job.output_dir)  # so that old results are never beside a new failure
    start, key, before = time.monotonic(), run_key(job), _list_results(job.output_dir)
    record_job(job, status="running", key=key, files=[job.notebook.name, *results.RESULT_FILES])
    try:
        _run_papermill(job, threads, bar, on_cell, **kernel_options)
        outcome = {"status": "finished", "error": ""}
    except Exception as error:  # whatever ends a notebook is this run's failure and no other's
        outcome = {"status": "failed", "error": _describe_failure(job, error), "error_type": _error_type(error)}
    # The notebook's functions of `results` have recorded what they were about to write; the rest is what is new.
    after = _list_results(job.output_dir)
    files = after & {*results.read_record(job.output_dir).get("files", [])} | after - before
    record_job(job, **outcome, key=key, seconds=round(time.monotonic() - start, 1), files=sorted(files))
    if outcome["error"]:
        raise RunError(outcome["error"])


def _run_papermill(job: Job, threads: int, bar: bool, on_cell: Callable | None, **kernel_options: Any) -> None:
    nbformat = import_nbformat()  # before papermill imports it
    from sernb.runs.kernels import kernel_manager

    target = job.output_dir / job.notebook.name
    parameters = absolute_folders(job.parameters, job.cwd or Path.cwd())
    if "OUTPUT_DIR" in notebook_parameters(job.notebook):
        parameters["OUTPUT_DIR"] = str(job.output_dir)
    environment = _kernel_environment(job.output_dir, threads)
    n_cells = len(read_notebook(job.notebook).cells) + bool(parameters)  # papermill inserts a cell of parameters
    options = {} if bar else {"disable": True}
    with utils.progress_bar(total=n_cells, desc=job.notebook.stem, unit="cell", **options) as cell_bar:

        def start_cell(cell: Any, cell_index: int) -> None:
            """Move the bar to the cell that begins, and report it."""
            cell_bar.update(cell_index - cell_bar.n)
            if on_cell is not None:
                on_cell(cell_index, n_cells)

        # In an empty context: Jupyter keeps its event loop in the context, and runs in other threads would share it.
        notebook = Context().run(
            _execute_in_own_loop,
            _escape_braces(job.notebook),
            _escape_braces(target),
            parameters,
            kernel_name="python3",
            language="python",
            progress_bar=False,  # its own would stay in a saved notebook
            on_cell_start=start_cell,
            start_timeout=180,
            extra_arguments=["--IPKernelApp.log_level=50"],  # it warns of local TCP and of the interrupt at its end
            kernel_manager_class=kernel_manager(environment, job.cwd or Path.cwd(), **kernel_options),
            # A normal shutdown of TensorFlow takes seconds, and ipykernel complains of tasks that it destroys.
            shutdown_kernel="immediate",
        )
        cell_bar.update(n_cells - cell_bar.n)
    _check_complete(notebook)
    for cell in notebook.cells:
        if "injected-parameters" in cell_tags(cell):
            cell.metadata["tags"] = [*cell_tags(cell), "hide-input"]
    nbformat.write(notebook, target)


def _execute_in_own_loop(*arguments: Any, **options: Any) -> Any:
    """Call `papermill.execute_notebook`, and close the event loop that it leaves open."""
    import papermill
    from jupyter_core.utils import ensure_event_loop

    loop = ensure_event_loop()
    try:
        return papermill.execute_notebook(*arguments, engine_name=_register_engine(), **options)
    finally:
        if not loop.is_running():  # in JupyterLab it is the notebook's
            loop.close()


@cache
def _register_engine() -> str:
    """Register an engine with papermill that saves a running notebook at most once a second, and return its name.

    Papermill's own engine saves it before and after each cell. With many figures, this takes about a second per run.
    """
    from jupyter_core.utils import ensure_event_loop
    from papermill.engines import NBClientEngine
    from papermill.engines import papermill_engines

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> None:
            """Execute the notebook. Papermill saves it before and after this call."""
            save, loop, timers = nb_man.save, ensure_event_loop(), []

            def save_soon() -> None:
                """Save within a second, unless that is planned already."""
                if loop.is_running():  # in JupyterLab: it belongs to another notebook, and waits for this one
                    save()
                elif not timers:
                    timers.append(loop.call_later(SAVE_SECONDS, save_now))

            def save_now() -> None:
                """Save; the next change plans another save."""
                timers.clear()
                save()

            nb_man.save = save_soon
            try:
                super().execute_managed_notebook(nb_man, kernel_name, **options)
            finally:
                del nb_man.save
                for timer in timers:
                    timer.cancel()

    papermill_engines.register("sernb", Engine)
    return "sernb"


def _escape_braces(path: Path) -> str:
    """Return a path in which papermill replaces nothing: it takes `{SEED}` for the value of SEED."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _check_complete(notebook: Any) -> None:
    """Papermill takes `sys.exit()` in a cell for success; the cells below it have not run."""
    for cell in notebook.cells:
        code = cell.source.strip() if cell.cell_type == "code" else ""
        if code and (cell.execution_count is None or any(out.output_type == "error" for out in cell.outputs)):
            raise RuntimeError(f"it stopped before its end, at the cell that begins {code.splitlines()[0]!r}")


def _error_type(error: Exception) -> str:
    """Return the name of an error's class, in the notebook if it was raised there."""
    return str(getattr(error, "ename", type(error).__name__))


def _describe_failure(job: Job, error: Exception) -> str:
    cell = f" in cell [{error.exec_count}]" if getattr(error, "exec_count", None) else ""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(getattr(error, "evalue", error))).strip()
    executed = job.output_dir / job.notebook.name
    return f"{job.notebook} failed{cell}: {_error_type(error)}: {text}\nthe executed notebook: {executed}"


def _kernel_environment(output_dir: Path, threads: int) -> dict[str, str]:
    """Return the environment of a kernel: this process's, but quiet, with its cores and its locked folder."""
    shares = {name: str(threads) for name in THREAD_VARIABLES} if threads else {}
    return {**os.environ, **QUIET_ENVIRONMENT, **shares, utils.LOCKED_FOLDER: str(output_dir.resolve())}


def _list_results(folder: Path) -> set[str]:
    """Return the names of a run's files, relative to its folder, without `run.json` (also those of its folds)."""
    return {
        path.relative_to(folder).as_posix() for path in utils.list_files(folder) if path.name != results.RECORD_FILE
    }


def record_job(job: Job, **facts: Any) -> None:
    """Write a run's `run.json`."""
    record = {"notebook": job.notebook.name, "parameters": job.parameters, **facts}
    results.write_record(job.output_dir, record)
