"""What the files of finished runs say, as tables; `wording` puts them into words."""

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

from sernb import evaluation
from sernb import utils

SCORES = ("accuracy", "uar", "macro_f1", "weighted_f1")
INTERVAL_SCORES = ("accuracy", "uar")
RUN_COLUMNS = ("run", "notebook", "corpus", "clips", "protocol", "fold")
MODEL_COLUMNS = (
    "model",
    *SCORES,
    *(f"{score}_{end}" for score in INTERVAL_SCORES for end in ("low", "high")),
    "train_accuracy",
    "val_accuracy",
    "epochs",
    "seconds",
    "status",
    "fingerprint",
    "revision",
)
ANSWER_COLUMNS = "answers.csv"
POOLED_COLUMNS = (
    *("seeds", "speakers", "rows", "train_accuracy", "val_accuracy", "minutes"),
    *(score + end for score in INTERVAL_SCORES for end in ("", "_low", "_high", "_least", "_most")),
)


# one run


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """A run's `metrics.json`."""
    return json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """A run's `predictions.csv`; speakers stay text (`01`)."""
    return pd.read_csv(Path(folder) / "predictions.csv", dtype={"speaker": str, "clip": str})


# many runs


def results_table(folders: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """One row for each run and model, read from the runs' files; a run that failed has a row that says so.

    The columns are those of `RUN_COLUMNS` (`protocol` is the one in force, faults considered; `fold` the one that was
    tested, 0 for all together, none for a protocol without), every parameter under its own name, then those of
    `MODEL_COLUMNS` (the scores are of the test set) and how many held-out rows leak (`leaks_speaker`, `leaks_twin`,
    `leaks_content`). The table is empty where no run is.

    Args:
        folders: Run folders, or one folder of run folders.
    """
    if isinstance(folders, str | Path):
        folders = sorted(path for path in Path(folders).glob("*") if path.is_dir())
    rows = [row for folder in folders for row in _rows_of_run(Path(folder))]
    ends = [*MODEL_COLUMNS, *(f"leaks_{kind}" for kind in evaluation.LEAK_KINDS)]
    given = dict.fromkeys(name for row in rows for name in row if name not in (*RUN_COLUMNS, *ends))
    found = pd.DataFrame(rows, columns=[*RUN_COLUMNS, *given, *ends])
    # A row of a failed run lacks some of these, and must not turn the others' 42 into 42.0.
    whole = ["clips", "fold", "epochs", *given, *ends[len(MODEL_COLUMNS) :]]
    found[whole] = found[whole].convert_dtypes(convert_string=False, convert_boolean=False, convert_floating=False)
    return found


def _rows_of_run(folder: Path) -> Iterator[dict[str, Any]]:
    record = folder / "run.json"
    told = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    if told.get("status") == "failed":
        yield _row_of_failed_run(folder, told)
    elif (folder / "metrics.json").is_file():
        yield from _model_rows(folder)


def _row_of_failed_run(folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Of a run whose notebook failed: its metrics, if it left any, were never seen to the end."""
    given = {name: value for name, value in told["parameters"].items() if not is_dir_parameter(name)}
    # Of "NOTEBOOK failed in cell [3]: ValueError: ...", the kind: what it says may name a clip, a person or a folder.
    kind = told["error"].splitlines()[0].rpartition("]: ")[-1].partition(":")[0]
    status = f"failed: {kind}"
    return {"run": folder.name, "notebook": Path(told["notebook"]).stem, **given, "status": status}


def _model_rows(folder: Path) -> Iterator[dict[str, Any]]:
    found = read_metrics(folder)
    corpus, split = found["corpus"], found["split"]
    fold = found["parameters"].get("FOLD") if split["protocol"] in evaluation.WITH_FOLDS else None
    head = (folder.name, Path(found["notebook"]).stem, corpus["name"], corpus["clips"], split["protocol"], fold)
    given = {name: value for name, value in found["parameters"].items() if not is_dir_parameter(name)}
    tail = (corpus["fingerprint"], found["environment"].get("revision", ""))
    leaks = {f"leaks_{kind}": count for kind, count in split.get("leaks", {}).items()}
    for name, model in found["models"].items():
        values = (name, *_score_values(model), *tail)
        yield dict(zip(RUN_COLUMNS, head, strict=True)) | given | dict(zip(MODEL_COLUMNS, values, strict=True)) | leaks


def _score_values(model: dict[str, Any]) -> Iterator[Any]:
    """The values of `MODEL_COLUMNS` between the model's name and the fingerprint; NaN for what there is not."""
    yield from (model.get("test", {}).get(score, math.nan) for score in SCORES)
    for score in INTERVAL_SCORES:
        ends = model.get("ci95", {}).get(score) or (None, None)
        yield from (math.nan if end is None else end for end in ends)
    yield from (model.get(side, {}).get("accuracy", math.nan) for side in ("train", "val"))
    yield from (model.get(name, math.nan) for name in ("epochs", "seconds"))
    yield model.get("failed", "finished")


def is_dir_parameter(name: str) -> bool:
    """Whether a parameter of that name holds a folder: a machine's own affair, no part of the result."""
    return name.endswith("_DIR")


def read_sweep(results_dir: str | Path, name: str) -> pd.DataFrame:
    """The table of a sweep, published (`<name>.csv`) or just made (`<name>/results.csv`).

    Its column `folder` leads to each run's files.

    Raises:
        FileNotFoundError: There is neither.
    """
    root = _results_root(results_dir)
    found = [path for path in (root / f"{name}.csv", root / name / "results.csv") if path.is_file()]
    if not found:
        make = f'`sernb sweep sweeps/{name}.yml` makes it in runs: then RESULTS_DIR is "runs"'
        raise FileNotFoundError(f"{root} has neither {name}.csv nor {name}/results.csv; {make}")
    return _read_table(found[0]).assign(folder=lambda told: [str(root / name / run) for run in told["run"]])


def _results_root(results_dir: str | Path) -> Path:
    """A folder of results; a notebook opened in JupyterLab runs in its own folder, not in the project's."""
    return utils.find_resource(results_dir)


def read_tables(results_dir: str | Path, name: str) -> dict[str, pd.DataFrame]:
    """Every `.csv` of a folder of the results, by its name without the ending.

    Raises:
        FileNotFoundError: It has none.
    """
    folder = _results_root(results_dir) / name
    if not (found := sorted(folder.glob("*.csv"))):
        raise FileNotFoundError(f"{folder} holds no table; `make reference` makes it")
    return {path.stem: _read_table(path) for path in found}


def pool_runs(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """One row for each group of runs: scores over all their test rows, with what speakers and what seeds make of them.

    Runs of one seed (folds) are put together before they are scored; a seed that lacks a fold which another one has is
    left out. The score is the mean over seeds, its interval resamples speakers (all rows of a voice, of every seed,
    stay together), `_least` and `_most` are over seeds.

    Args:
        runs: Rows of `swept`, one model a run; those that failed are left out.
        by: The column that tells the groups apart.

    Returns:
        Indexed by group, in order of appearance, with `seeds`, `speakers`, `rows` (tested, a seed), `train_accuracy`,
        `val_accuracy` and `minutes` (means over runs) and, for accuracy and UAR, the score, `_low`, `_high`,
        `_least` and `_most`.
    """
    rows = {name: _pool_group(group) for name, group in runs[runs["status"] == "finished"].groupby(by, sort=False)}
    return pd.DataFrame(rows.values(), index=pd.Index(rows, name=by), columns=POOLED_COLUMNS)


def _pool_group(group: pd.DataFrame) -> dict[str, float]:
    of_seed = group.groupby("SEED")["run"].transform("size")
    group = group[of_seed == of_seed.max()]
    told = [pd.concat(map(test_answers, part["folder"], part["model"])) for _, part in group.groupby("SEED")]
    row = evaluation.pool_seeds(told) | {name: group[name].mean() for name in ("train_accuracy", "val_accuracy")}
    return row | {"minutes": group["seconds"].mean() / 60}


def write_tables(folder: str | Path, **tables: pd.DataFrame) -> None:
    """Write each table as `<name>.csv`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, one in tables.items():
        one.to_csv(Path(folder) / f"{name}.csv")


def test_answers(folder: str | Path, model: str = "") -> pd.DataFrame:
    """`model`, `speaker`, `truth` and `prediction` of each test row of a run: of one model, or of all.

    They come from the run's predictions or, where it was published, from the counts of them.
    """
    columns = ["model", "speaker", "truth", "prediction"]
    if (Path(folder) / "predictions.csv").is_file():
        told = read_predictions(folder)
        told = told.loc[told["split"] == "test", columns]
    else:
        counts = pd.read_csv(Path(folder) / ANSWER_COLUMNS, dtype={"speaker": str})
        told = counts.loc[counts.index.repeat(counts["rows"]), columns]
    return told[told["model"] == model] if model else told


def read_history(folder: str | Path) -> pd.DataFrame:
    """A run's `history.csv`."""
    return pd.read_csv(Path(folder) / "history.csv")


def final_val_accuracy(folder: str | Path, model: str) -> float:
    """The accuracy that a model's validation curve ends at.

    With a fault that touches what is validated on, it is not the validation accuracy of `metrics.json`.
    """
    curves = read_history(folder)
    return float(curves.loc[curves["model"] == model, "val_accuracy"].iloc[-1])


def epochs_to_reach(curves: pd.DataFrame, level: float) -> float:
    """The first epoch from which the validation accuracy, a mean over five epochs, is at a level; NaN if none is."""
    steady = curves["val_accuracy"].rolling(5, center=True, min_periods=1).mean()
    reached = curves.loc[steady >= level, "epoch"]
    return float(reached.iloc[0]) if len(reached) else math.nan


def publish_sweep(sweep: str | Path, to: str | Path) -> Path:
    """Take over what may be published of a sweep: scores, curves and settings, no clip's name, no machine's paths.

    Args:
        sweep: A folder with `results.csv` and run folders.
        to: Such as `book/results`: it gets the table as `<sweep>.csv`, and beside it a folder of run folders, each
            with `metrics.json`, `history.csv` and `answers.csv` (whose emotion was taken for which, how often; the
            speakers of a local corpus are numbered, not named).

    Returns:
        The table written.

    Raises:
        ValueError: The sweep lies where it would be published to, and would be lost.
    """
    sweep, to = Path(sweep), Path(to)
    if (to / sweep.name).resolve() == sweep.resolve():
        raise ValueError(f"{sweep} lies where it would be published to; sweep into another folder, such as runs")
    table = _read_table(sweep / "results.csv")
    runs = [sweep / run for run in table["run"].unique() if (sweep / run / "metrics.json").is_file()]
    voices = np.random.default_rng().permutation(
        sorted({voice for run in runs for voice in test_answers(run)["speaker"]})
    )
    numbers = {voice: str(i) for i, voice in enumerate(voices)}
    # An error's text may name a clip or a folder; its kind does not.
    table["status"] = table["status"].str.replace(r"^(failed: \w+).*", r"\1", regex=True)
    shutil.rmtree(to / sweep.name, ignore_errors=True)  # what an earlier publication had and this one has not
    for run in runs:
        _publish_run(run, to / sweep.name / run.name, numbers)
    foreign = [name for name in table if name not in MODEL_COLUMNS and table[name].isna().all()]
    table.drop(columns=foreign).to_csv(to / f"{sweep.name}.csv", index=False)
    return to / f"{sweep.name}.csv"


def _publish_run(run: Path, to: Path, numbers: Mapping[str, str]) -> None:
    to.mkdir(parents=True, exist_ok=True)
    result = read_metrics(run)
    kept = {name: value for name, value in result["parameters"].items() if not is_dir_parameter(name)}
    (to / "metrics.json").write_text(json.dumps({**result, "parameters": kept}, indent=1) + "\n")
    shutil.copy(run / "history.csv", to)
    told = test_answers(run)
    if result["split"].get("tested", result["corpus"])["name"] == "local":
        told["speaker"] = told["speaker"].map(numbers)
    told.groupby(list(told), sort=False).size().rename("rows").reset_index().to_csv(to / ANSWER_COLUMNS, index=False)


def _read_table(path: Path) -> pd.DataFrame:
    """A `results.csv` to its last digit, which pandas by default gives up for speed."""
    return pd.read_csv(path, float_precision="round_trip")
