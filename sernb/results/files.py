"""Read the files of finished runs as tables."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sernb import corpora
from sernb import evaluation
from sernb import utils
from sernb.results.outputs import OutputError
from sernb.results.outputs import claim_files
from sernb.results.outputs import read_record
from sernb.results.outputs import refuse_foreign

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
ANSWERS_FILE = "answers.csv"
PUBLISHED_FILES = ("metrics.json", "history.csv", ANSWERS_FILE)
POOLED_COLUMNS = (
    *("seeds", "speakers", "rows", "largest_class", "train_accuracy", "val_accuracy"),
    *(score + end for score in INTERVAL_SCORES for end in ("", "_low", "_high", "_least", "_most")),
)


class DamagedFileError(ValueError):
    """A file of a run that cannot be read."""


# one run


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """Return a run's `metrics.json`.

    Raises:
        ValueError: The file is damaged.
        OSError: It cannot be read.
    """
    file = Path(folder) / "metrics.json"
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(f"{file} is damaged: it is not JSON. Run the notebook again.") from error
    if not isinstance(metrics, dict):
        raise DamagedFileError(f"{file} is damaged: it holds no JSON object. Run the notebook again.")
    return metrics


def read_predictions(folder: str | Path) -> pd.DataFrame:
    """Return a run's `predictions.csv`, or else `predictions.parquet`; speakers stay text (`01`, `NA`).

    Raises:
        OSError: There is neither.
        ImportError: There is only a Parquet file, and pandas has no package to read it.
    """
    file = Path(folder) / "predictions.csv"
    if not file.exists() and (parquet := file.with_suffix(".parquet")).exists():
        try:
            return pd.read_parquet(parquet)
        except ImportError as error:
            raise ImportError(f"{parquet}: to read it, install pyarrow: `pip install pyarrow`") from error
    return pd.read_csv(file, converters={"speaker": str, "clip": str})


# many runs


def results_table(folders: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Return one row for each run and model, read from the runs' files; a failed run has one row, with its status.

    The columns are those of `RUN_COLUMNS` (`protocol` is the one in force, faults considered; `fold` the one that was
    tested, 0 for all together, missing if the protocol has no folds), every parameter but folders under its own name,
    then those of `MODEL_COLUMNS` (the scores are of the test set) and how many held-out rows leak (`leaks_speaker`,
    `leaks_twin`, `leaks_content`). The table is empty if there are no runs.

    Args:
        folders: Run folders, or one folder of run folders.
    """
    if isinstance(folders, str | Path):
        folders = sorted(path for path in Path(folders).glob("*") if path.is_dir())
    rows = [row for folder in folders for row in _rows_of_run(Path(folder))]
    last = [*MODEL_COLUMNS, *(f"leaks_{kind}" for kind in evaluation.LEAK_KINDS)]
    parameters = dict.fromkeys(name for row in rows for name in row if name not in (*RUN_COLUMNS, *last))
    table = pd.DataFrame(rows, columns=[*RUN_COLUMNS, *parameters, *last])
    # A row of a failed run lacks some of these, which must not turn the others' 42 into 42.0.
    whole = ["clips", "fold", "epochs", *parameters, *last[len(MODEL_COLUMNS) :]]
    table[whole] = table[whole].convert_dtypes(convert_string=False, convert_boolean=False, convert_floating=False)
    return table


def _rows_of_run(folder: Path) -> Iterator[dict[str, Any]]:
    record = read_record(folder)
    if record.get("status") == "failed":
        yield _row_of_failed_run(folder, record)
    elif (folder / "metrics.json").is_file():
        yield from _model_rows(folder)


def _row_of_failed_run(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a run whose notebook failed; its metrics, if there are any, may be incomplete."""
    parameters = {name: value for name, value in record["parameters"].items() if not is_dir_parameter(name)}
    # Only the kind of the error: its text may name a clip, a person or a folder.
    status = _public_status(f"failed: {record.get('error_type', '')}")
    return {"run": folder.name, "notebook": Path(record["notebook"]).stem, **parameters, "status": status}


def _public_status(status: Any) -> Any:
    """Return a status without what follows the kind of an error, or without a kind that is not a Python name."""
    if not str(status).startswith("failed"):
        return status
    kind = re.match(r"failed: ([A-Za-z_][\w.]+)(?=:|$)", str(status))
    return f"failed: {kind[1]}" if kind else "failed"


def _model_rows(folder: Path) -> Iterator[dict[str, Any]]:
    metrics = read_metrics(folder)
    corpus, split = metrics["corpus"], metrics["split"]
    fold = metrics["parameters"].get("FOLD") if split["protocol"] in evaluation.WITH_FOLDS else None
    head = (folder.name, Path(metrics["notebook"]).stem, corpus["name"], corpus["clips"], split["protocol"], fold)
    parameters = {name: value for name, value in metrics["parameters"].items() if not is_dir_parameter(name)}
    tail = (corpus["fingerprint"], metrics["environment"].get("revision", ""))
    leaks = {f"leaks_{kind}": count for kind, count in split.get("leaks", {}).items()}
    for name, model in metrics["models"].items():
        scores = dict(zip(MODEL_COLUMNS, (name, *_score_values(model), *tail), strict=True))
        yield dict(zip(RUN_COLUMNS, head, strict=True)) | parameters | scores | leaks


def _score_values(model: dict[str, Any]) -> Iterator[Any]:
    """Yield the values of `MODEL_COLUMNS` between the model's name and the fingerprint; NaN for what is missing."""
    yield from (model.get("test", {}).get(score, math.nan) for score in SCORES)
    for score in INTERVAL_SCORES:
        ends = model.get("ci95", {}).get(score) or (None, None)
        yield from (math.nan if end is None else end for end in ends)
    yield from (model.get(side, {}).get("accuracy", math.nan) for side in ("train", "val"))
    yield from (model.get(name, math.nan) for name in ("epochs", "seconds"))
    yield model.get("failed", "finished")


def is_dir_parameter(name: str) -> bool:
    """Return whether a parameter of that name holds a folder: private to a machine, and no part of the result."""
    return name.endswith("_DIR")


def read_sweep(results_dir: str | Path, name: str) -> pd.DataFrame:
    """Return the table of a sweep, published (`<name>.csv`) or as it was run (`<name>/results.csv`).

    Its column `folder` is the path of each run's folder.

    Raises:
        FileNotFoundError: There is neither.
    """
    root = utils.find_resource(results_dir)
    tables = [path for path in (root / f"{name}.csv", root / name / "results.csv") if path.is_file()]
    if not tables:
        advice = f'`sernb sweep sweeps/{name}.yml` writes it into runs; then set RESULTS_DIR to "runs"'
        raise FileNotFoundError(f"{root} has neither {name}.csv nor {name}/results.csv; {advice}")
    table = _read_table(tables[0])
    return table.assign(folder=[str(root / name / run) for run in table["run"]])


def read_tables(results_dir: str | Path, name: str) -> dict[str, pd.DataFrame]:
    """Return every `.csv` of a folder of the results, by its name without the ending.

    Raises:
        FileNotFoundError: It has none.
    """
    folder = utils.find_resource(results_dir) / name
    if not (files := sorted(folder.glob("*.csv"))):
        raise FileNotFoundError(f"{folder} holds no table; `make reference` writes it")
    return {path.stem: _read_table(path) for path in files}


def pool_runs(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return one row for each group of runs: scores over all their test rows, with intervals over speakers and seeds.

    Runs of one seed (folds) are put together before they are scored; a seed that lacks a fold which another one has is
    left out. The score is the mean over seeds, its interval is over speakers (all rows of a speaker, of every seed,
    stay together), `_least` and `_most` are over seeds.

    Args:
        runs: Rows of `read_sweep`, one model per run; those that failed are left out.
        by: The column of the groups.

    Returns:
        Indexed by group, in order of appearance, with `seeds`, `speakers`, `rows` (tested, per seed), `largest_class`
        (the share of the most frequent emotion), `train_accuracy` and `val_accuracy` (means over runs) and, for
        accuracy and UAR, the score, `_low`, `_high`, `_least` and `_most`.
    """
    rows = {name: _pool_group(group) for name, group in runs[runs["status"] == "finished"].groupby(by, sort=False)}
    return pd.DataFrame(rows.values(), index=pd.Index(rows, name=by), columns=POOLED_COLUMNS)


def _pool_group(group: pd.DataFrame) -> dict[str, float]:
    runs_of_seed = group.groupby("SEED")["run"].transform("size")
    group = group[runs_of_seed == runs_of_seed.max()]
    answers = [answers_of_runs(runs) for _, runs in group.groupby("SEED")]
    return evaluation.pool_seeds(answers) | {name: group[name].mean() for name in ("train_accuracy", "val_accuracy")}


def runs_beside(folder: str | Path) -> list[Path]:
    """Return a finished run, then the other runs of its notebook in the folders beside it, the newest first."""
    folder = Path(folder)
    files = sorted(folder.parent.glob("*/metrics.json"), key=lambda file: -file.stat().st_mtime)
    others = [file.parent for file in files if file.parent.resolve() != folder.resolve()]
    return [folder, *(other for other in others if _run_notebook_name(other) == _run_notebook_name(folder))]


def _run_notebook_name(folder: Path) -> str:
    with contextlib.suppress(DamagedFileError):
        return Path(read_metrics(folder).get("notebook", "")).stem
    return ""


def compare_runs(
    first: str | Path, second: str | Path, names: tuple[str, str] = ("the first run", "the second run")
) -> tuple[pd.DataFrame, str]:
    """Compare the first models of two finished runs.

    Args:
        first: The folder of a run.
        second: That of the other.
        names: What to call them.

    Returns:
        The parameters in which the runs differ, one row each and one column per run; and a text on their UAR on the
        recordings that are in the test sets of both, see `evaluation.compare_models`. With fewer than
        `evaluation.MIN_ROWS` recordings or `evaluation.MIN_SPEAKERS` speakers in common, it says that there is no
        comparison.
    """
    metrics = [read_metrics(folder) for folder in (first, second)]
    values = [{name: v for name, v in run["parameters"].items() if not is_dir_parameter(name)} for run in metrics]
    settings = pd.DataFrame(dict(zip(names, values, strict=True)), dtype=object).rename_axis("parameter")
    settings = settings[settings[names[0]].map(str) != settings[names[1]].map(str)]
    if failed := [name for name, run in zip(names, metrics, strict=True) if "failed" in _first_entry(run)]:
        return settings, f"There are no scores of {failed[0]}, whose training failed."
    tables = [_first_recordings(folder) for folder in (first, second)]
    common = set(tables[0]["clip"]) & set(tables[1]["clip"])
    if _tested_corpus(metrics[0]) != _tested_corpus(metrics[1]) or not common:
        return settings, "The two test sets have no recording in common, so only their intervals can be compared."
    pair = [table[table["clip"].isin(common)].assign(model=name) for table, name in zip(tables, names, strict=True)]
    text, n_speakers = _common_text(tables, names, len(common)), pair[0]["speaker"].nunique()
    if len(common) < evaluation.MIN_ROWS or n_speakers < evaluation.MIN_SPEAKERS:
        needed = f"at least {evaluation.MIN_ROWS} recordings of at least {evaluation.MIN_SPEAKERS} speakers"
        return settings, f"{text} A comparison needs {needed}; here, the number of speakers is {n_speakers}."
    return settings, f"{text} {evaluation.compare_models(*pair).summary}"


def _common_text(tables: Sequence[pd.DataFrame], names: Sequence[str], common: int) -> str:
    """Return how many recordings two test sets have in common."""
    sizes = " and ".join(f"{table['clip'].nunique()} of {name}" for table, name in zip(tables, names, strict=True))
    return f"The two test sets ({sizes}) have {common} recording{'s' * (common != 1)} in common."


def _first_entry(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return next(iter(metrics["models"].values()))


def _first_recordings(folder: str | Path) -> pd.DataFrame:
    """Return a run's predictions of the recordings, not the copies, of its test set, by its first model."""
    predictions = evaluation.select_test_rows(read_predictions(folder))
    first = predictions["model"] == next(iter(read_metrics(folder)["models"]))
    return predictions[first & (predictions["copy"] == 0)]


def _tested_corpus(metrics: Mapping[str, Any]) -> str:
    return metrics["split"].get("tested", metrics["corpus"])["name"]


def write_tables(folder: str | Path, *, index: bool = True, **tables: pd.DataFrame) -> None:
    """Write each table as `<name>.csv`, with its index or without.

    Raises:
        OutputError: There is such a file, and no earlier run wrote it.
    """
    claim_files(folder, [f"{name}.csv" for name in tables])
    for name, table in tables.items():
        table.to_csv(Path(folder) / f"{name}.csv", index=index)


def runs_of_speaker(folders: Iterable[str | Path], data_dir: str | Path, speaker: str) -> list[Path]:
    """Return the finished runs, in some folders and below them, whose predictions contain a speaker of a local corpus.

    Args:
        folders: Where to look.
        data_dir: The corpus's folder; runs on other corpora are left out.
        speaker: The speaker's id.
    """
    root = Path(data_dir).expanduser().resolve()
    files = {file for folder in folders for file in Path(folder).expanduser().rglob("predictions.*")}
    runs = sorted(file.parent for file in files if file.with_name("metrics.json").is_file())
    return [run for run in runs if root in _local_folders(run) and speaker in set(read_predictions(run)["speaker"])]


def _local_folders(run: Path) -> set[Path]:
    """Return the folders of the local corpora that a run was trained or tested on."""
    parameters, folders = read_metrics(run)["parameters"], set()
    for corpus, data_dir in (("CORPUS", "DATA_DIR"), ("TEST_CORPUS", "TEST_DATA_DIR")):
        if parameters.get(corpus) == "local":
            with contextlib.suppress(corpora.CorpusError):  # the folder where it was looked up is gone
                folders.add(corpora.locate("local", parameters.get(data_dir, "")).resolve())
    return folders


def test_answers(folder: str | Path, model: str = "") -> pd.DataFrame:
    """Return `model`, `speaker`, `truth` and `prediction` of each test row of a run: of one model, or of all.

    They come from the run's predictions or, for a published run, from their counts.
    """
    folder = utils.find_resource(folder)
    columns = ["model", "speaker", "truth", "prediction"]
    if (folder / "predictions.csv").is_file():
        answers = read_predictions(folder)
        answers = answers.loc[answers["split"] == "test", columns]
    else:
        counts = pd.read_csv(folder / ANSWERS_FILE, converters={"speaker": str})
        answers = counts.loc[counts.index.repeat(counts["rows"]), columns]
    return answers[answers["model"] == model] if model else answers


def answers_of_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the `test_answers` of several runs, rows of `read_sweep`, below one another."""
    return pd.concat(map(test_answers, runs["folder"], runs["model"]))


def read_history(folder: str | Path) -> pd.DataFrame:
    """Return a run's `history.csv`."""
    return pd.read_csv(Path(folder) / "history.csv")


def final_val_accuracy(folder: str | Path, model: str) -> float:
    """Return the validation accuracy of a model's last epoch.

    With a fault that changes the validation data, it is not the validation accuracy of `metrics.json`.
    """
    history = read_history(folder)
    return float(history.loc[history["model"] == model, "val_accuracy"].iloc[-1])


def epochs_to_reach(history: pd.DataFrame, level: float) -> float:
    """Return the first epoch at which the validation accuracy, averaged over five epochs, reaches a level; or NaN."""
    smooth = history["val_accuracy"].rolling(5, center=True, min_periods=1).mean()
    reached = history.loc[smooth >= level, "epoch"]
    return float(reached.iloc[0]) if len(reached) else math.nan


def publish_sweep(sweep: str | Path, to: str | Path) -> Path:
    """Copy what may be published of a sweep: scores, curves and settings, but no clip's name and no machine's paths.

    Args:
        sweep: A folder with `results.csv` and run folders.
        to: A folder such as `book/results`: it gets the table as `<sweep>.csv` and a folder of run folders, each
            with `metrics.json`, `history.csv` and `answers.csv` (which emotion was predicted as which, how often; the
            speakers of a local corpus are numbered, not named).

    Returns:
        The path of the table.

    Raises:
        OutputError: The sweep is already in the folder for publications, or other files would be removed there.
    """
    sweep, to = Path(sweep), Path(to)
    target, table_file = to / sweep.name, to / f"{sweep.name}.csv"
    if target.resolve() == sweep.resolve():
        raise OutputError(
            f"{sweep} is the folder that it would be published to. Sweep into another folder, such as runs."
        )
    _remove_publication(target, table_file)
    table = _read_table(sweep / "results.csv")
    table["status"] = table["status"].map(_public_status)
    runs = [sweep / run for run in table["run"].unique() if (sweep / run / "metrics.json").is_file()]
    speakers = sorted({speaker for run in runs for speaker in test_answers(run)["speaker"]})
    numbers = {speaker: str(i) for i, speaker in enumerate(np.random.default_rng().permutation(speakers))}
    target.mkdir(parents=True)
    for run in runs:
        _publish_run(run, target / run.name, numbers)
    foreign = [name for name in table if name not in MODEL_COLUMNS and table[name].isna().all()]
    table.drop(columns=foreign).to_csv(table_file, index=False)
    return table_file


def _remove_publication(target: Path, table_file: Path) -> None:
    """Remove an earlier publication of a sweep, and refuse to remove anything else."""
    if table_file.exists() and not target.is_dir():
        refuse_foreign(table_file.parent, [table_file.name])
    others = [path for path in utils.list_files(target) if path.name not in PUBLISHED_FILES]
    refuse_foreign(target, [path.relative_to(target).as_posix() for path in others])
    shutil.rmtree(target, ignore_errors=True)


def _publish_run(run: Path, to: Path, numbers: Mapping[str, str]) -> None:
    to.mkdir()
    result = read_metrics(run)
    parameters = {name: value for name, value in result["parameters"].items() if not is_dir_parameter(name)}
    (to / "metrics.json").write_text(json.dumps({**result, "parameters": parameters}, indent=1) + "\n")
    shutil.copy(run / "history.csv", to)
    answers = test_answers(run)
    if result["split"].get("tested", result["corpus"])["name"] == "local":
        answers["speaker"] = answers["speaker"].map(numbers)
    counts = answers.groupby(list(answers), sort=False).size().rename("rows").reset_index()
    counts.to_csv(to / ANSWERS_FILE, index=False)


def _read_table(path: Path) -> pd.DataFrame:
    """Read a `results.csv` to its last digit, which pandas by default gives up for speed."""
    return pd.read_csv(path, float_precision="round_trip")
