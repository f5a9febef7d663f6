"""A notebook and its parameters become a folder of results.

A run's folder holds the executed notebook, whatever the notebook wrote to its `OUTPUT_DIR`, and `run.json`, by which a
finished run is known again and not made twice. Many runs at once are the affair of `sweeps`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sernb import results
from sernb import utils
from sernb.runs.freshness import RECORD_FILE
from sernb.runs.freshness import Job
from sernb.runs.freshness import absolute_folders
from sernb.runs.freshness import is_up_to_date
from sernb.runs.freshness import read_record
from sernb.runs.freshness import run_key
from sernb.runs.notebooks import RunError
from sernb.runs.notebooks import cell_tags
from sernb.runs.notebooks import notebook_parameters
from sernb.runs.parameters import validate_parameters

RESULT_PATTERNS = ("metrics.json", "predictions.csv", "history.csv", "clips.csv", "check.csv", "inputs.json", "*.keras")
RESULT_FILES = (*RESULT_PATTERNS, *(f"fold-*/{name}" for name in RESULT_PATTERNS))
QUIET_ENVIRONMENT = {
    "TQDM_DISABLE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


@dataclass(frozen=True)
class Outcome:
    """How a job ended: `finished`, `kept` (finished earlier and still fresh) or `failed`, then with the error."""

    job: Job
    status: str
    seconds: float = 0.0
    error: str = ""


def slug(parameters: dict[str, Any]) -> str:
    """A readable folder name: `corpus-demo-crema_max-clips-240`."""
    # A folder is a machine's own affair: its digest tells two apart, and the name may be published.
    told = {name: utils.text_digest(str(value))[:6] if results.is_dir_parameter(name) else value for name, value in parameters.items()}
    text = "_".join(f"{_slug_value(name)}-{_slug_value(value)}" for name, value in told.items()) or "defaults"
    return text if len(text) <= 120 else f"{text[:110]}-{utils.text_digest(text)[:8]}"


def _slug_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(map(_slug_value, value)) or "none"
    sign = "-" if isinstance(value, int | float) and value < 0 else ""
    return sign + re.sub(r"[^a-z0-9.+]+", "-", str(value).lower()).strip("-")


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
) -> Path:
    """Run a notebook with papermill into a folder of its own; a run that is still fresh is not made again.

    Args:
        notebook: The notebook to run; it is not changed.
        parameters: Values by name, each known to the notebook's cell tagged `parameters`.
        output_dir: The run's folder; the notebook gets it as `OUTPUT_DIR`.
        cwd: The kernel's working directory, and the base of relative folders; the caller's by default.
        threads: How many threads its libraries may use; 0 leaves that to them.
        again: Make the run even if a fresh one lies there.
        bar: Show a progress bar over the cells.

    Returns:
        The executed notebook.

    Raises:
        ParameterError: Before anything is run or written.
        RunError: The notebook failed; it is kept with its traceback.
    """
    job = Job(Path(notebook).absolute(), Path(output_dir).absolute(), parameters, cwd)
    check_job(job)
    if again or not is_up_to_date(job):
        _remove_previous_results(job.output_dir)
        _execute(job, threads, bar)
    return job.output_dir / job.notebook.name


def check_job(job: Job) -> None:
    """Refuse a job whose parameters are wrong, the folders that they name included, or the bound on memory.

    Raises:
        ParameterError: See `validate`.
        LimitError: See `utils.memory_limit`.
    """
    utils.memory_limit()
    validate_parameters(job.notebook, job.parameters, job.cwd or Path.cwd())


def _execute(job: Job, threads: int, bar: bool) -> None:
    start = time.monotonic()
    key = run_key(job)
    before = _list_folder(job.output_dir)
    write_record(job, status="running", key=key)
    try:
        _papermill(job, threads, bar)
        status, error = "finished", ""
    except Exception as caught:  # whatever ends a notebook is this run's failure and no other's
        status, error = "failed", _failure_text(job, caught)
    seconds = round(time.monotonic() - start, 1)
    files = sorted(_list_folder(job.output_dir) - before)
    write_record(job, status=status, key=key, seconds=seconds, error=error, files=files)
    if error:
        raise RunError(error)


def _papermill(job: Job, threads: int, bar: bool) -> None:
    import nbformat
    import papermill

    target = job.output_dir / job.notebook.name
    given = absolute_folders(job.parameters, job.cwd or Path.cwd())
    if "OUTPUT_DIR" in notebook_parameters(job.notebook):
        given["OUTPUT_DIR"] = str(job.output_dir)
    with _changed_environment(_kernel_environment(threads)):
        done = papermill.execute_notebook(
            str(job.notebook),
            str(target),
            given,
            kernel_name="python3",
            language="python",
            progress_bar=bar,
            start_timeout=180,
            extra_arguments=["--IPKernelApp.log_level=50"],  # it warns of local TCP and of the interrupt at its end
            cwd=job.cwd,
            # Asked politely, TensorFlow takes seconds to leave, and ipykernel complains of tasks that it destroys.
            shutdown_kernel="immediate",
        )
    _check_complete(done)
    for cell in done.cells:
        if "injected-parameters" in cell_tags(cell):
            cell.metadata["tags"] = [*cell_tags(cell), "hide-input"]
    nbformat.write(done, target)


def _check_complete(notebook: Any) -> None:
    """Papermill takes `sys.exit()` in a cell for success; the cells below it have not run."""
    for cell in notebook.cells:
        code = cell.source.strip() if cell.cell_type == "code" else ""
        if code and (cell.execution_count is None or any(out.output_type == "error" for out in cell.outputs)):
            raise RuntimeError(f"it stopped before its end, at the cell that begins {code.splitlines()[0]!r}")


def _failure_text(job: Job, error: Exception) -> str:
    place = f" in cell [{error.exec_count}]" if getattr(error, "exec_count", None) else ""
    name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
    return f"{job.notebook} failed{place}: {name}: {text}\nits notebook: {job.output_dir / job.notebook.name}"


def _kernel_environment(threads: int) -> dict[str, str]:
    """Quiet, this environment's own kernel whatever kernels the user has installed, and its share of the cores."""
    kernels = [str(Path(sys.prefix, "share", "jupyter")), os.environ.get("JUPYTER_PATH", "")]
    found = QUIET_ENVIRONMENT | {"JUPYTER_PATH": os.pathsep.join(filter(None, kernels))}
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    return found | ({name: str(threads) for name in names} if threads else {})


@contextlib.contextmanager
def _changed_environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _remove_previous_results(output_dir: Path) -> None:
    """Remove what an earlier run left, and nothing else, so that old results never lie beside a new failure.

    A killed run had no time to record its files: the names that notebooks write are removed in any case.
    """
    known = [path.relative_to(output_dir) for pattern in RESULT_FILES for path in output_dir.glob(pattern)]
    for name in [*read_record(output_dir).get("files", []), *known]:
        (output_dir / name).unlink(missing_ok=True)


def _list_folder(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in utils.list_files(folder)} - {RECORD_FILE}


def write_record(job: Job, **facts: Any) -> None:
    """Write a run's `run.json`, as a whole or not at all."""
    job.output_dir.mkdir(parents=True, exist_ok=True)
    told = {"notebook": job.notebook.name, "parameters": job.parameters, **facts}
    part = job.output_dir / f".{RECORD_FILE}.part"
    part.write_text(json.dumps(told, indent=2, default=str) + "\n", encoding="utf-8")
    os.replace(part, job.output_dir / RECORD_FILE)
