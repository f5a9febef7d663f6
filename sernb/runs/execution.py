"""Floor 5: a notebook and its parameters become a folder of results.

A run's folder holds the executed notebook, whatever the notebook wrote to its `OUTPUT_DIR`, and `run.json`, by which a
finished run is known again and not made twice. Many runs at once are the affair of `sweeps`.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from sernb import corpora
from sernb import demo
from sernb import large
from sernb import limits
from sernb import privacy
from sernb.limits import ParameterError
from sernb.results import is_folder

RECORD = "run.json"
RESULTS = ("metrics.json", "predictions.csv", "history.csv", "clips.csv", "check.csv", "inputs.json", "*.keras")
RESULT_FILES = (*RESULTS, *(f"fold-*/{name}" for name in RESULTS))
# What can change a number or a figure; a new release of one of these makes a finished run stale.
PACKAGES = (
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "librosa",
    "soxr",
    "soundfile",
    "nlpaug",
    "keras",
    "tensorflow",
    "matplotlib",
)
# Modules above this floor: no notebook's result depends on them.
ABOVE = ("cli.py", "pages.py", "report.py", "sweeps.py")
QUIET = {
    "TQDM_DISABLE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


class RunError(RuntimeError):
    """A notebook that failed, and where to read how."""


@dataclass(frozen=True)
class Job:
    """One run to be made: a notebook, what it is given, and the folder that it fills."""

    notebook: Path
    output_dir: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    cwd: Path | None = None
    label: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: `finished`, `kept` (finished earlier and still fresh) or `failed`, then with the error."""

    job: Job
    status: str
    seconds: float = 0.0
    error: str = ""


# files


class _Strict(yaml.SafeLoader):
    """YAML in which a key may stand once; PyYAML lets the second silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Build a mapping, refusing a key that stands twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(problem=f"{twice[0]!r} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file in which no key stands twice.

    Raises:
        ValueError: It is no such file; the message says where it breaks.
        OSError: It cannot be read.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Strict)  # noqa: S506 (a SafeLoader)
    except OSError:
        raise
    except Exception as error:  # PyYAML's own and, of a wrong tag, whatever its constructors raise
        said = str(error).replace('"<unicode string>", ', "") or type(error).__name__
        raise ValueError(f"not YAML: {said}") from error


def read_notebook(path: Path) -> Any:
    """Read a notebook.

    Raises:
        RunError: There is none at this path.
    """
    import nbformat

    if not path.is_file():
        raise RunError(f"{path}: there is no such notebook")
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat's own, jsonschema's, json's: there is no common class
        raise RunError(f"{path} is not a notebook: {str(error).splitlines()[0][:200]}") from error


# parameters


def tags(cell: Any) -> list[str]:
    """The tags of a notebook's cell."""
    return cell.metadata.get("tags", [])


def assignments(source: str) -> dict[str, ast.expr]:
    """Name and value of each plain assignment in a cell's source."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def defaults(notebook: Path) -> dict[str, Any]:
    """What a notebook's cell tagged `parameters` assigns, in its order; empty where there is no such cell."""
    cells = [cell for cell in read_notebook(notebook).cells if "parameters" in tags(cell)]
    try:
        values = {name: value for cell in cells for name, value in assignments(cell.source).items()}
        return {name: ast.literal_eval(value) for name, value in values.items()}
    except (SyntaxError, ValueError) as error:
        raise ParameterError(f"{notebook}: the cell tagged `parameters` may hold literals only ({error})") from error


def parse(notebook: Path, texts: dict[str, str]) -> dict[str, Any]:
    """Turn parameters typed as text into values: YAML, but plain text where the default is text (`75:15:10`)."""
    known = defaults(notebook)
    return {name: _parse(text, known.get(name)) for name, text in texts.items()}


def _parse(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, float):
        with contextlib.suppress(ValueError):
            return float(text)  # YAML 1.1 takes 1e-3 for text
    try:
        return yaml.safe_load(text)
    except Exception:  # see `read_yaml`
        return text


def validate(notebook: Path, parameters: dict[str, Any], base: Path | None = None) -> None:
    """Refuse parameters that a notebook does not have, of another type than their default, or out of range.

    A notebook whose own default is out of a parameter's range (see `limits`) means something else by that name.

    Args:
        notebook: The notebook.
        parameters: Values by name.
        base: The folder that relative ones are relative to; without it no folder is looked for.

    Raises:
        ParameterError: Naming the parameter, its value and what would be right.
    """
    known = defaults(notebook)
    for name, value in parameters.items():
        if name not in known:
            raise ParameterError(_unknown(notebook, name, list(known)))
        if name == "OUTPUT_DIR":
            raise ParameterError("OUTPUT_DIR is where the run's folder is: name it by -o (or output_dir)")
        if not _same_type(value, known[name]):
            raise ParameterError(
                f"{notebook}: {name} takes a value like {known[name]!r} ({type(known[name]).__name__}), "
                f"not {limits.shown(value)} ({type(value).__name__}).{_hint(value, known[name])}"
            )
    try:
        limits.check(known | parameters, [name for name in parameters if limits.holds(name, known[name])], base=base)
    except ParameterError as error:
        raise ParameterError(f"{notebook}: {error}") from error


def _hint(value: Any, default: Any) -> str:
    if isinstance(default, list):
        return f" Write it as a list: [{str(value)[:60]}]."
    return " In YAML, text with a colon needs quotes." if isinstance(default, str) else ""


def _unknown(notebook: Path, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name).upper(), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    has = f"It has {', '.join(known)}." if known else "It has no cell tagged `parameters`."
    return f"{notebook} has no parameter {name}: {hint}{has}"


def _same_type(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        return all(_same_type(item, default[0]) for item in value) if default else True
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def slug(parameters: dict[str, Any]) -> str:
    """A readable folder name: `corpus-demo-crema_max-clips-240`."""
    # A folder is a machine's own affair: its digest tells two apart, and the name may be published.
    told = {name: _digest(str(value))[:6] if is_folder(name) else value for name, value in parameters.items()}
    text = "_".join(f"{_plain(name)}-{_plain(value)}" for name, value in told.items()) or "defaults"
    return text if len(text) <= 120 else f"{text[:110]}-{_digest(text)[:8]}"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(map(_plain, value)) or "none"
    sign = "-" if isinstance(value, int | float) and value < 0 else ""
    return sign + re.sub(r"[^a-z0-9.+]+", "-", str(value).lower()).strip("-")


# what a run depends on


def fresh(job: Job) -> bool:
    """Whether the job's folder holds this very run, finished: same notebook, `sernb`, parameters, data and versions."""
    told = read_record(job.output_dir)
    done = told.get("status") == "finished" and (job.output_dir / job.notebook.name).is_file()
    whole = all((job.output_dir / name).exists() for name in told.get("files", []))
    return done and whole and told.get("key") == run_key(job)


def read_record(output_dir: Path) -> dict[str, Any]:
    """What `run.json` says of a run's folder; empty where there is none."""
    try:
        return json.loads((output_dir / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def run_key(job: Job) -> str:
    """A digest of all that a run's results depend on."""
    given = defaults(job.notebook) | _absolute(job.parameters, job.cwd or Path.cwd())
    given.pop("OUTPUT_DIR", None)
    cells = [(cell.cell_type, cell.source, tags(cell)) for cell in read_notebook(job.notebook).cells]
    facts = {
        "cells": cells,
        "parameters": given,
        "data": _data_digest(given, job.cwd or Path.cwd()),
        "sernb": package_digest(),
        "versions": versions(),
    }
    return _digest(json.dumps(facts, sort_keys=True, default=str))


def versions() -> dict[str, str]:
    """Python and the packages that results depend on, with their versions."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def file_digest(path: Path) -> str:
    """Of one file; "missing" where there is none."""
    return _digest(path.read_bytes())[:10] if path.is_file() else "missing"


def _digest(text: str | bytes) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text).hexdigest()


def package_digest() -> str:
    """Of the code that a notebook's results can depend on."""
    return folder_digest(Path(__file__).parent, without=ABOVE)


def _data_digest(parameters: dict[str, Any], cwd: Path) -> str:
    """Of each corpus by its fingerprint, of any other folder that the notebook reads by its files."""
    places = {name: name.removesuffix("CORPUS") + "DATA_DIR" for name in parameters if name.endswith("CORPUS")}
    folders = [value for name, value in parameters.items() if is_folder(name) and name not in places.values() and value]
    found = [folder_digest(Path(cwd, folder)) for folder in folders]
    for name, place in places.items():
        with contextlib.suppress(corpora.CorpusError, demo.DemoError):  # the notebook will say what is wrong with it
            root = corpora.locate(parameters[name], parameters.get(place, ""))
            found.append(_corpus_digest(parameters[name], root, _stamp(root)))
    return " ".join(found)


@functools.cache
def _corpus_digest(corpus: str, root: Path, stamp: str) -> str:
    """Of the clip table, the speakers' ages and whether it is private; read again only after a change (the stamp)."""
    table = corpora.load(corpus, root)
    told = [table.drop(columns="path"), corpora.speakers(table, root)]
    # A corpus that is no longer publishable makes every page that plays it stale.
    return _digest("".join(part.to_csv(index=False) for part in told) + privacy.NOTICE * privacy.private(table))


def _stamp(root: Path) -> str:
    return _digest("".join(f"{path} {path.stat()}\n" for path in _files(root)))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def folder_digest(folder: Path, without: tuple[str, ...] = ()) -> str:
    """Of the names and bytes of all files in a folder, but for those of some names."""
    files = [path for path in _files(folder) if path.name not in without]
    return _digest("".join(f"{path.relative_to(folder)} {_digest(path.read_bytes())}\n" for path in files))


def _absolute(parameters: dict[str, Any], cwd: Path) -> dict[str, Any]:
    """Folders as absolute paths: the kernel need not share the caller's working directory."""

    def absolute(name: str, value: Any) -> Any:
        return str(Path(cwd, Path(value).expanduser()).absolute()) if value and is_folder(name) else value

    return {name: absolute(name, value) for name, value in parameters.items()}


# one run


def run(
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
    check(job)
    if again or not fresh(job):
        _clear(job.output_dir)
        _execute(job, threads, bar)
    return job.output_dir / job.notebook.name


def check(job: Job) -> None:
    """Refuse a job whose parameters are wrong, the folders that they name included, or the bound on memory.

    Raises:
        ParameterError: See `validate`.
        LimitError: See `large.limit`.
    """
    large.limit()
    validate(job.notebook, job.parameters, job.cwd or Path.cwd())


def _execute(job: Job, threads: int, bar: bool) -> None:
    start = time.monotonic()
    key = run_key(job)
    before = _listing(job.output_dir)
    record(job, status="running", key=key)
    try:
        _papermill(job, threads, bar)
        status, error = "finished", ""
    except Exception as caught:  # whatever ends a notebook is this run's failure and no other's
        status, error = "failed", _failure(job, caught)
    seconds = round(time.monotonic() - start, 1)
    files = sorted(_listing(job.output_dir) - before)
    record(job, status=status, key=key, seconds=seconds, error=error, files=files)
    if error:
        raise RunError(error)


def _papermill(job: Job, threads: int, bar: bool) -> None:
    import nbformat
    import papermill

    target = job.output_dir / job.notebook.name
    given = _absolute(job.parameters, job.cwd or Path.cwd())
    if "OUTPUT_DIR" in defaults(job.notebook):
        given["OUTPUT_DIR"] = str(job.output_dir)
    with _environment(_kernel_environment(threads)):
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
    _refuse_half_run(done)
    for cell in done.cells:
        if "injected-parameters" in tags(cell):
            cell.metadata["tags"] = [*tags(cell), "hide-input"]
    nbformat.write(done, target)


def _refuse_half_run(notebook: Any) -> None:
    """Papermill takes `sys.exit()` in a cell for success; the cells below it have not run."""
    for cell in notebook.cells:
        code = cell.source.strip() if cell.cell_type == "code" else ""
        if code and (cell.execution_count is None or any(out.output_type == "error" for out in cell.outputs)):
            raise RuntimeError(f"it stopped before its end, at the cell that begins {code.splitlines()[0]!r}")


def _failure(job: Job, error: Exception) -> str:
    place = f" in cell [{error.exec_count}]" if getattr(error, "exec_count", None) else ""
    name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
    return f"{job.notebook} failed{place}: {name}: {text}\nits notebook: {job.output_dir / job.notebook.name}"


def _kernel_environment(threads: int) -> dict[str, str]:
    """Quiet, this environment's own kernel whatever kernels the user has installed, and its share of the cores."""
    kernels = [str(Path(sys.prefix, "share", "jupyter")), os.environ.get("JUPYTER_PATH", "")]
    found = QUIET | {"JUPYTER_PATH": os.pathsep.join(filter(None, kernels))}
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    return found | ({name: str(threads) for name in names} if threads else {})


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _clear(output_dir: Path) -> None:
    """Remove what an earlier run left, and nothing else, so that old results never lie beside a new failure.

    A killed run had no time to record its files: the names that notebooks write are removed in any case.
    """
    known = [path.relative_to(output_dir) for pattern in RESULT_FILES for path in output_dir.glob(pattern)]
    for name in [*read_record(output_dir).get("files", []), *known]:
        (output_dir / name).unlink(missing_ok=True)


def _listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in _files(folder)} - {RECORD}


def record(job: Job, **facts: Any) -> None:
    """Write a run's `run.json`, as a whole or not at all."""
    job.output_dir.mkdir(parents=True, exist_ok=True)
    told = {"notebook": job.notebook.name, "parameters": job.parameters, **facts}
    part = job.output_dir / f".{RECORD}.part"
    part.write_text(json.dumps(told, indent=2, default=str) + "\n", encoding="utf-8")
    os.replace(part, job.output_dir / RECORD)
