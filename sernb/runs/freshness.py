"""Decide whether a finished run is up to date."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
import platform
from dataclasses import dataclass
from dataclasses import field
from importlib import metadata
from pathlib import Path
from typing import Any

from sernb import corpora
from sernb import features
from sernb import results
from sernb import utils
from sernb.runs.notebooks import cell_tags
from sernb.runs.notebooks import notebook_code
from sernb.runs.notebooks import notebook_parameters
from sernb.runs.notebooks import read_notebook

# Packages that can change a number or a figure: a new version of one of them makes a finished run stale.
PACKAGES = (
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "librosa",
    "numba",
    "soxr",
    "soundfile",
    "nlpaug",
    "opensmile",
    "torch",
    "transformers",
    "keras",
    "tensorflow",
    "matplotlib",
    "seaborn",
)


@dataclass(frozen=True)
class Job:
    """One run to execute: a notebook, its parameters, and the folder for its results.

    `cwd` is the kernel's working directory, the caller's by default; `label` is the sweep file's name for the run.
    """

    notebook: Path
    output_dir: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    cwd: Path | None = None
    label: str = ""


def is_up_to_date(job: Job) -> bool:
    """Return whether the job's folder holds this run, finished, with the same notebook, code, data and versions."""
    record = results.read_record(job.output_dir)
    files = [job.notebook.name, *record.get("files", [])]
    complete = all((job.output_dir / name).exists() for name in files)
    return record.get("status") == "finished" and complete and record.get("key") == run_key(job)


# what a run depends on


def run_key(job: Job) -> str:
    """Return a digest of all that a run's results depend on."""
    parameters = notebook_parameters(job.notebook) | absolute_folders(job.parameters, job.cwd or Path.cwd())
    parameters.pop("OUTPUT_DIR", None)
    facts = {
        "parameters": parameters,
        "data": _data_digest(parameters, job.cwd or Path.cwd()),
        "notebook": notebook_digest(job.notebook),
        "versions": package_versions(),
    }
    return utils.text_digest(json.dumps(facts, sort_keys=True, default=str))


def notebook_digest(*notebooks: Path) -> str:
    """Return a digest of notebooks, of those beside them that they run, and of the code of `sernb` that they use."""
    digests, todo = {}, list(notebooks)
    while todo:
        if (notebook := todo.pop()) not in digests:
            code = notebook_code(notebook)
            cells = [(cell.cell_type, cell.source, cell_tags(cell)) for cell in read_notebook(notebook).cells]
            digests[notebook] = utils.text_digest(json.dumps([cells, utils.code_digest(code)]))
            todo += _notebooks_in_code(notebook, code)
    return utils.text_digest("".join(digests[notebook] for notebook in sorted(digests)))


def _notebooks_in_code(notebook: Path, code: str) -> list[Path]:
    """Return the notebooks beside a notebook whose names are strings in its code."""
    strings = [node.value for node in ast.walk(utils.parse_code(code)) if isinstance(node, ast.Constant)]
    names = {Path(text).name for text in strings if isinstance(text, str) and text.endswith(".ipynb")}
    return [notebook.with_name(name) for name in names if notebook.with_name(name).is_file()]


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, as far as they are installed."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def _data_digest(parameters: dict[str, Any], cwd: Path) -> str:
    """Return a digest of each corpus, and of the files of any other folder that the notebook reads."""
    data_dirs = {name: name.removesuffix("CORPUS") + "DATA_DIR" for name in parameters if name.endswith("CORPUS")}
    others = [name for name in parameters if results.is_dir_parameter(name) and name not in data_dirs.values()]
    digests = [utils.folder_digest(Path(cwd, parameters[name])) for name in others if parameters[name]]
    encoder = Path(cwd, Path(parameters.get("ENCODER", "")).expanduser())
    if encoder != cwd and encoder.is_dir():  # else a name of a model, or none
        digests.append(features.folder_revision(encoder))
    for name, data_dir in data_dirs.items():
        with contextlib.suppress(corpora.CorpusError, corpora.DemoError):  # the notebook will say what is wrong
            root = corpora.locate(parameters[name], parameters.get(data_dir, ""))
            digests.append(_corpus_digest(parameters[name], root, _folder_stamp(root)))
    return " ".join(digests)


@functools.cache
def _corpus_digest(corpus: str, root: Path, stamp: str) -> str:
    """Return a digest of the clip table, the speakers' ages and whether it is private; `stamp` is for the cache."""
    table = corpora.load(corpus, root)
    parts = [table.drop(columns="path"), corpora.speaker_table(table, root)]
    # A corpus that is no longer publishable makes every page that plays it stale.
    notice = corpora.NOTICE_TEXT * corpora.is_private(table)
    return utils.text_digest("".join(part.to_csv(index=False) for part in parts) + notice)


def _folder_stamp(root: Path) -> str:
    status = ((path, os.stat(path)) for path in utils.list_files(root))
    return utils.text_digest("".join(f"{path} {facts.st_size} {facts.st_mtime_ns}\n" for path, facts in status))


def absolute_folders(parameters: dict[str, Any], cwd: Path) -> dict[str, Any]:
    """Return the parameters with absolute folders: the kernel need not share the caller's working directory."""

    def absolute(name: str, value: Any) -> Any:
        """Return the absolute path of a folder, and any other value as it is."""
        is_folder = value and results.is_dir_parameter(name)
        return str(Path(cwd, Path(value).expanduser()).absolute()) if is_folder else value

    return {name: absolute(name, value) for name, value in parameters.items()}
