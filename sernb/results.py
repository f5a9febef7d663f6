"""Floor 3: what the files of finished runs say, as tables and sentences for a page."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sernb import metrics
from sernb import splits

SCORES = ("accuracy", "uar", "macro_f1", "weighted_f1")
INTERVALS = ("accuracy", "uar")
RUN_COLUMNS = ("run", "notebook", "corpus", "clips", "protocol")
MODEL_COLUMNS = (
    "model",
    *SCORES,
    *(f"{score}_{end}" for score in INTERVALS for end in ("low", "high")),
    "train_accuracy",
    "val_accuracy",
    "epochs",
    "seconds",
    "status",
    "fingerprint",
    "revision",
)
LEAKS = ("speaker", "twin", "content")


# one run


def read(folder: str | Path) -> dict[str, Any]:
    """A run's `metrics.json`."""
    return json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))


def predictions(folder: str | Path) -> pd.DataFrame:
    """A run's `predictions.csv`; speakers stay text (`01`)."""
    return pd.read_csv(Path(folder) / "predictions.csv", dtype={"speaker": str, "clip": str})


def outcome(result: Mapping[str, Any]) -> str:
    """One sentence for the page: that all models of a `metrics.json` were trained, or which failed in which epoch."""
    failed = [f"{name}: {entry['failed']}" for name, entry in result["models"].items() if "failed" in entry]
    return f"**Failed:** {'; '.join(failed)}." if failed else "Trained to the last epoch."


def scores_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Loss and scores of each model and side of a `metrics.json`, with the test intervals."""
    rows = []
    for name, entry in result["models"].items():
        for side in (side for side in splits.SIDES if side in entry):
            low_high = {f"{m} 95 %": entry["ci95"][m] for m in ("accuracy", "uar")} if side == "test" else {}
            shown = {label: _range(bounds) for label, bounds in low_high.items()}
            rows.append({"model": name, "side": side, **entry[side], **shown})
    return pd.DataFrame(rows).set_index(["model", "side"]).fillna("") if rows else pd.DataFrame()


def _range(bounds: list) -> str:
    return (
        "one speaker: no interval"
        if None in bounds or np.isnan(bounds).any()
        else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
    )


def against_claims(result: Mapping[str, Any]) -> pd.DataFrame:
    """The paper's accuracies for this corpus beside the run's, by side; NaN where the paper is mute."""
    claimed = metrics.claims(result["corpus"]["name"])
    if "tested" in result["split"]:  # the paper tested on the corpus that it trained on
        claimed = claimed.drop([name for name in claimed.index if name.endswith("test")])
    measured = next(iter(result["models"].values()))
    rows = {
        side: {
            "claimed, mean of its runs": claimed.get(f"mean {side}", np.nan),
            "claimed, best": claimed.get(f"best {side}", np.nan),
            "this run": measured.get(side, {}).get("accuracy", np.nan),
        }
        for side in splits.SIDES
    }
    return pd.DataFrame(rows).T


# many runs


def table(folders: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """One row for each run and model, read from the runs' files; a run that failed has a row that says so.

    The columns are those of `RUN_COLUMNS` (`protocol` is the one in force, faults considered), every parameter under
    its own name, then those of `MODEL_COLUMNS` (the scores are of the test set) and how many held-out rows leak
    (`leaks_speaker`, `leaks_twin`, `leaks_content`). The table is empty where no run is.

    Args:
        folders: Run folders, or one folder of run folders.
    """
    if isinstance(folders, str | Path):
        folders = sorted(path for path in Path(folders).glob("*") if path.is_dir())
    rows = [row for folder in folders for row in _rows(Path(folder))]
    ends = [*MODEL_COLUMNS, *(f"leaks_{kind}" for kind in LEAKS)]
    given = dict.fromkeys(name for row in rows for name in row if name not in (*RUN_COLUMNS, *ends))
    return pd.DataFrame(rows, columns=[*RUN_COLUMNS, *given, *ends])


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    record = folder / "run.json"
    told = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if told.get("status") == "failed":
        yield _failed_row(folder, told)
    elif (folder / "metrics.json").is_file():
        yield from _model_rows(folder)


def _failed_row(folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Of a run whose notebook failed: its metrics, if it left any, were never seen to the end."""
    given = {name: value for name, value in told["parameters"].items() if not is_folder(name)}
    status = f"failed: {told['error'].splitlines()[0].split(': ', 1)[-1]}"
    return {"run": folder.name, "notebook": Path(told["notebook"]).stem, **given, "status": status}


def _model_rows(folder: Path) -> Iterator[dict[str, Any]]:
    found = read(folder)
    corpus, split = found["corpus"], found["split"]
    head = (folder.name, Path(found["notebook"]).stem, corpus["name"], corpus["clips"], split["protocol"])
    given = {name: value for name, value in found["parameters"].items() if not is_folder(name)}
    tail = (corpus["fingerprint"], found["environment"].get("revision", ""))
    leaks = {f"leaks_{kind}": count for kind, count in split.get("leaks", {}).items()}
    for name, model in found["models"].items():
        values = (name, *_scores(model), *tail)
        yield dict(zip(RUN_COLUMNS, head, strict=True)) | given | dict(zip(MODEL_COLUMNS, values, strict=True)) | leaks


def _scores(model: dict[str, Any]) -> Iterator[Any]:
    """The values of `MODEL_COLUMNS` between the model's name and the fingerprint; NaN for what there is not."""
    yield from (model.get("test", {}).get(score, math.nan) for score in SCORES)
    for score in INTERVALS:
        ends = model.get("ci95", {}).get(score) or (None, None)
        yield from (math.nan if end is None else end for end in ends)
    yield from (model.get(side, {}).get("accuracy", math.nan) for side in ("train", "val"))
    yield from (model.get(name, math.nan) for name in ("epochs", "seconds"))
    yield model.get("failed", "finished")


def is_folder(name: str) -> bool:
    """Whether a parameter of that name holds a folder: a machine's own affair, no part of the result."""
    return name.endswith("_DIR")


TABLES = {"02_crema_1d_vs_2d": "crema-1d-vs-2d.csv", "03_paper_replication": "paper-replication.csv"}


def with_interval(row: Mapping[str, Any], score: str = "accuracy") -> str:
    """A score of one row of `table` with its interval, `0.731 [0.700, 0.764]`; or how the run failed."""
    if row["status"] != "finished":
        return str(row["status"])
    low, high = row[f"{score}_low"], row[f"{score}_high"]
    return f"{row[score]:.3f}" if math.isnan(low) else f"{row[score]:.3f} [{low:.3f}, {high:.3f}]"


def publish(runs: str | Path, to: str | Path) -> list[Path]:
    """Take over what may be published of finished runs: scores, curves and settings, no audio and no machine's paths.

    Args:
        runs: A folder of run folders.
        to: Such as `book/results`: it gets a folder with `metrics.json` and `history.csv` for each run, and for each
            notebook one table of its runs, a row a run and model.

    Returns:
        The tables written.
    """
    for file in sorted(Path(runs).glob("*/metrics.json")):
        folder = Path(to) / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        result = read(file.parent)
        kept = {name: value for name, value in result["parameters"].items() if not is_folder(name)}
        (folder / file.name).write_text(json.dumps({**result, "parameters": kept}, indent=1) + "\n")
        shutil.copy(file.parent / "history.csv", folder)
    rows = table(to)
    written = [Path(to) / TABLES[notebook] for notebook in rows["notebook"].unique()]
    for path, (_, part) in zip(written, rows.groupby("notebook", sort=False), strict=True):
        foreign = [name for name in part if name not in MODEL_COLUMNS and part[name].isna().all()]
        part.drop(columns=foreign).to_csv(path, index=False)
    return written
