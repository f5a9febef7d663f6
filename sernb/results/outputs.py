"""Record which files of an output folder belong to its run, so that no file of the user's is removed or overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sernb import utils

RECORD_FILE = "run.json"
BASELINE_FILE = "baselines.csv"  # scores of the baselines beside the models, written by notebooks 03 and 07
RESULT_FILES = ("metrics.json", "predictions.csv", "history.csv", "inputs.json", BASELINE_FILE)
MODEL_SUFFIXES = (".keras", ".joblib")
MAX_NAMED = 3  # files that a message names


class OutputError(ValueError):
    """An output folder that holds files which no run recorded as its own."""


def read_record(folder: str | Path) -> dict[str, Any]:
    """Return what `run.json` says of a run's folder; empty if there is none, or one that is not a run's."""
    try:
        record = json.loads((Path(folder) / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and {"files", "status"} & set(record) else {}


def write_record(folder: str | Path, record: dict[str, Any]) -> None:
    """Write `run.json`, as a whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{RECORD_FILE}.part"
    part.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    os.replace(part, folder / RECORD_FILE)


def recorded_files(folder: str | Path) -> list[str]:
    """Return the names, relative to a folder, of the files that its `run.json` and those of its folds list."""
    names = list(read_record(folder).get("files", []))
    for record in Path(folder).glob(f"fold-*/{RECORD_FILE}"):
        names += [f"{record.parent.name}/{name}" for name in read_record(record.parent).get("files", [])]
    return [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]


def remove_recorded_files(folder: str | Path) -> None:
    """Remove the files that an earlier run recorded as its own; all others stay."""
    for name in recorded_files(folder):
        (Path(folder) / name).unlink(missing_ok=True)


def remove_run(folder: str | Path) -> None:
    """Remove the files of a run and of its folds, their records and empty folders; files of the user stay."""
    folder = Path(folder)
    remove_recorded_files(folder)
    for path in (*folder.glob("fold-*/"), folder):
        (path / RECORD_FILE).unlink(missing_ok=True)
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def claim_files(folder: str | Path, names: Iterable[str], **facts: Any) -> None:
    """Record in `run.json` that files about to be written belong to the run, beside other facts.

    Raises:
        OutputError: One of them is there already and no earlier run recorded it.
    """
    names = set(names)
    check_unclaimed(folder, names)
    record = read_record(folder)
    write_record(folder, {**record, **facts, "files": sorted({*record.get("files", []), *names})})


def check_unclaimed(folder: str | Path, names: Iterable[str]) -> None:
    """Refuse to overwrite files that no earlier run recorded.

    Raises:
        OutputError: One of them exists and is not recorded.
    """
    recorded = set(recorded_files(folder))
    refuse_foreign(folder, [name for name in names if name not in recorded and os.path.lexists(Path(folder, name))])


def refuse_foreign(folder: str | Path, names: Iterable[str]) -> None:
    """Refuse a folder because of some files in it that no earlier run recorded.

    Raises:
        OutputError: There is at least one.
    """
    if names := sorted(names):
        listed = ", ".join(names[:MAX_NAMED]) + f" and {len(names) - MAX_NAMED} more" * (len(names) > MAX_NAMED)
        raise OutputError(
            f"{folder} holds {listed}, which no earlier run recorded as its own (in {RECORD_FILE}). "
            "Nothing was removed or overwritten: choose another output folder, or move these files."
        )


def check_output_dir(folder: str | Path) -> None:
    """Refuse a notebook's `OUTPUT_DIR` if results that no run recorded as its own would be overwritten.

    Raises:
        OutputError: There is such a file, the folder's or a fold's.
    """
    folder = Path(folder)
    patterns = RESULT_FILES if read_record(folder) else (*RESULT_FILES, *(f"*{suffix}" for suffix in MODEL_SUFFIXES))
    paths = [path for pattern in patterns for path in (*folder.glob(pattern), *folder.glob(f"fold-*/{pattern}"))]
    check_unclaimed(folder, [path.relative_to(folder).as_posix() for path in paths])


def check_run_dir(folder: str | Path, notebook: Path) -> None:
    """Refuse a folder for a notebook's run unless it is new, empty or that of an earlier run.

    Raises:
        OutputError: It is a file, the notebook's own folder, a sweep's, or holds files that are no earlier run's.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file. Name a folder for the run.")
    if folder.is_dir() and os.path.samefile(folder, notebook.parent):
        raise OutputError(f"{folder} is the notebook's own folder. Choose another output folder, such as runs/try.")
    record = read_record(folder)
    if "sweep" in record:
        raise OutputError(f"{folder} holds a sweep. Choose another output folder for a single run.")
    if not record and folder.is_dir():
        refuse_foreign(folder, [name for name in os.listdir(folder) if not utils.is_ignored(name)])
    check_unclaimed(folder, [notebook.name])
    check_output_dir(folder)
