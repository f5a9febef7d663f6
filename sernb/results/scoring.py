"""Score predictions that were made elsewhere: by another toolkit, by another program, by listeners."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from sernb import corpora
from sernb import evaluation
from sernb.results.files import read_metrics
from sernb.results.files import read_predictions

COLUMNS = ("clip", "speaker", "truth", "prediction")
DEFAULT_NAME = "their model"
MAX_NAMED = 3  # clips or emotions that a message names


class PredictionTableError(ValueError):
    """A table of predictions that cannot be scored; the message says what is wrong, and what would be right."""


@dataclass(frozen=True)
class ScoredPredictions:
    """The scores of a table of predictions.

    `predictions` are the rows that were scored, `scores` and `by_emotion` are tables of `evaluation.score_by`, `labels`
    the emotions of `confusion`, shape (k, k). `remarks` are sentences on what differs from the clip table. `split` has
    the rows for `evaluation.leak_banner`, None if it is unknown what the model was trained on. `comparison` is with
    `ours`, None without it.
    """

    predictions: pd.DataFrame
    scores: pd.DataFrame
    by_emotion: pd.DataFrame
    labels: list[str]
    confusion: np.ndarray
    remarks: tuple[str, ...]
    split: pd.DataFrame | None = None
    comparison: evaluation.Comparison | None = None


def score_predictions(
    predictions: pd.DataFrame | str | Path,
    clips: pd.DataFrame | None = None,
    *,
    ours: pd.DataFrame | str | Path | None = None,
    trained_clips: Iterable[str] | None = None,
    model: str = "",
) -> ScoredPredictions:
    """Score predictions of any origin, with intervals over speakers; audit them; compare them with a run's.

    Args:
        predictions: A table, or a CSV file, with the columns `clip`, `speaker`, `truth` and `prediction`, one row per
            clip. If it has a column `split`, the rows `test` are scored. With `clips`, `speaker` and `truth` may be
            left out.
        clips: The clip table of the corpus: speakers and truths are compared with it. A clip may be given by its id,
            its path or its file name.
        ours: The predictions of a run, or its folder, to compare with, on the clips that both have.
        trained_clips: The clips that the model was trained on, which are audited for leaks. By default those with the
            split `train`, if there are any.
        model: The name of the model; by default that of the column `model`.

    Returns:
        The scores; `display.scored_predictions` shows them.

    Raises:
        PredictionTableError: A column is missing, a clip is unknown or occurs twice, the emotions are spelt in
            another way than the truth, or no clip is in both tables.
    """
    table, remarks = _read_table(predictions, clips), []
    if clips is not None:
        table = _join_clips(table, clips, remarks)
    _refuse_incomplete(table)
    if unknown := int((table["truth"] == "unknown").sum()):
        remarks.append(f"{unknown} of {len(table)} clips have an unknown emotion and are left out.")
        table = table[table["truth"] != "unknown"]
    name = model or _model_name(table)
    try:
        rows = evaluation.select_test_rows(table.assign(model=name))
    except ValueError as error:
        raise PredictionTableError(str(error)) from error
    _refuse_other_words(rows)
    _refuse_repeated(rows)
    labels = evaluation.labels_in(rows)
    return ScoredPredictions(
        predictions=rows,
        scores=evaluation.score_by(rows, "model"),
        by_emotion=evaluation.score_by(rows, "emotion"),
        labels=labels,
        confusion=evaluation.confusion_matrix(rows["truth"], rows["prediction"], labels),
        split=_split_rows(table, rows, clips, trained_clips, remarks),
        comparison=None if ours is None else _compare(rows, ours, remarks),
        remarks=tuple(remarks),
    )


def _read_table(predictions: pd.DataFrame | str | Path, clips: pd.DataFrame | None) -> pd.DataFrame:
    if isinstance(predictions, str | Path):
        file = Path(predictions).expanduser()
        if not file.is_file():
            raise PredictionTableError(f"{file} is not a file: give a CSV file with the columns {', '.join(COLUMNS)}.")
        table = corpora.read_csv(file)
    else:
        table = predictions.copy()
    needed = ("clip", "prediction") if clips is not None else COLUMNS
    if missing := [name for name in needed if name not in table]:
        hint = " Or pass the clip table as `clips`: it has the speakers and the truth." if clips is None else ""
        raise PredictionTableError(
            f"the predictions have no column {', '.join(missing)}; they have {', '.join(map(str, table))}. Rename the "
            f"columns, for example with `table.rename(columns={{'file': 'clip'}})`.{hint}"
        )
    present = [name for name in (*COLUMNS, "split", "model") if name in table]
    text = table[present].astype(object)  # they may be categories
    table[present] = text.where(text.notna(), "").astype(str).apply(lambda column: column.str.strip())
    if "copy" in table:
        table["copy"] = pd.to_numeric(table["copy"], errors="coerce").fillna(0).astype(int)
    return table.reset_index(drop=True)


def _model_name(table: pd.DataFrame) -> str:
    names = sorted(set(table["model"])) if "model" in table else []
    if len(names) > 1:
        raise PredictionTableError(f"the predictions are of {len(names)} models ({', '.join(names)}): choose one.")
    return names[0] if names and names[0] else DEFAULT_NAME


def _refuse_incomplete(table: pd.DataFrame) -> None:
    for name in ("clip", "truth"):
        if missing := int((table[name] == "").sum()):
            raise PredictionTableError(f"{missing} of {len(table)} rows have no {name}: fill it in, or leave them out.")


def _refuse_other_words(rows: pd.DataFrame) -> None:
    """Refuse predictions none of which is among the true emotions: they are spelt in other words, not all wrong."""
    truths, words = set(rows["truth"]), set(rows["prediction"]) - {""}
    if not words:
        raise PredictionTableError("no row has a prediction.")
    if not words & truths:
        raise PredictionTableError(
            f"none of the predicted emotions ({_name_some(words)}) is a true one ({_name_some(truths)}): use the same "
            "words, for example with `table['prediction'].replace({'anger': 'angry'})`."
        )


def _refuse_repeated(rows: pd.DataFrame) -> None:
    repeated = rows.loc[rows.duplicated(["clip", "copy"]), "clip"]
    if len(repeated):
        raise PredictionTableError(
            f"{repeated.nunique()} clips are predicted more than once ({_name_some(repeated)}): keep one row for each, "
            "or score each seed or fold alone."
        )


def _name_some(values: Iterable[str]) -> str:
    names = sorted(set(values))
    return ", ".join(names[:MAX_NAMED]) + f" and {len(names) - MAX_NAMED} more" * (len(names) > MAX_NAMED)


# against the clip table


def _join_clips(table: pd.DataFrame, clips: pd.DataFrame, remarks: list[str]) -> pd.DataFrame:
    """Return the predictions with the ids of the clip table, its speakers and its truths where they are missing."""
    ids = _match_clips(table["clip"], clips)
    if (unknown := ids.isna()).any():
        raise PredictionTableError(
            f"{unknown.sum()} of {len(table)} predicted clips are not in the clip table "
            f"({_name_some(table['clip'][unknown])}); its clips are named like {clips['clip'].iloc[0]}."
        )
    table = table.assign(clip=ids)
    own = clips.set_index("clip").loc[ids]
    for name, column in (("speaker", "speaker"), ("truth", "emotion")):
        values = own[column].to_numpy()
        if name not in table:
            table[name] = values
        elif differs := int((table[name] != values).sum()):
            example = (
                "" if corpora.is_private(clips) else f" For example, {table['clip'][table[name] != values].iloc[0]}."
            )
            remarks.append(
                f"The {name} of {differs} of {len(table)} clips differs from the clip table; the values of the table "
                f"of predictions are used.{example}"
            )
    return table


def _match_clips(names: pd.Series, clips: pd.DataFrame) -> pd.Series:
    """Return the id of each clip, given by its id, its path or its file name; NaN where there is none, or several."""
    known = dict(zip(clips["clip"], clips["clip"], strict=True)) | dict(zip(clips["path"], clips["clip"], strict=True))
    ids = names.map(known)
    for key in (lambda name: PurePosixPath(name).name, lambda name: PurePosixPath(name).stem):
        keys = clips["clip"].map(key)
        unique = ~keys.duplicated(keep=False)
        ids = ids.where(ids.notna(), names.map(key).map(dict(zip(keys[unique], clips["clip"][unique], strict=True))))
    return ids


def _split_rows(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    clips: pd.DataFrame | None,
    trained_clips: Iterable[str] | None,
    remarks: list[str],
) -> pd.DataFrame | None:
    """Return the rows that were trained on and those that were tested, with their audio if a clip table is given."""
    if trained_clips is not None:
        trained = table.iloc[:0].reindex(index=range(len(names := list(trained_clips)))).assign(clip=names)
        if clips is not None:
            trained["clip"] = _match_clips(trained["clip"], clips).fillna(trained["clip"])
    else:
        trained = table[table["split"] == "train"] if "split" in table else table.iloc[:0]
    if trained.empty:
        remarks.append(
            "It is not known which clips the model was trained on, so leaks were not looked for: give them as "
            "`trained_clips`."
        )
        return None
    sides = {"train": trained, "test": rows}
    split = pd.concat([side[["clip", "speaker"]].assign(split=name) for name, side in sides.items()])
    if clips is None:
        return split.reset_index(drop=True)
    return split[["clip", "split"]].merge(clips, how="left", on="clip").fillna("")


# against a run


def _compare(rows: pd.DataFrame, ours: pd.DataFrame | str | Path, remarks: list[str]) -> evaluation.Comparison:
    own = ours if isinstance(ours, pd.DataFrame) else _read_run(Path(ours).expanduser())
    try:
        own = evaluation.select_test_rows(own)
        own = own[own["copy"] == 0]
        common = rows["clip"].isin(own["clip"])
        if not common.any():
            raise PredictionTableError(
                f"no clip is in both tables: theirs are named like {rows['clip'].iloc[0]}, ours like "
                f"{own['clip'].iloc[0]}. Pass the clip table as `clips`, so that names are matched."
            )
        if not common.all():
            remarks.append(
                f"The comparison is on the {common.sum()} of {len(rows)} clips that both models were tested on."
            )
        return evaluation.compare_models(rows[common], own[own["clip"].isin(rows["clip"])])
    except PredictionTableError:
        raise
    except ValueError as error:
        raise PredictionTableError(f"theirs cannot be compared with ours: {error}.".replace("..", ".")) from error


def _read_run(folder: Path) -> pd.DataFrame:
    """Return the predictions of the first model of a run."""
    if not (folder / "predictions.csv").is_file():
        raise PredictionTableError(f"{folder} holds no finished run: there is no predictions.csv. Name a run's folder.")
    predictions = read_predictions(folder)
    names = list(predictions["model"].unique())
    if (folder / "metrics.json").is_file():
        names = [name for name in read_metrics(folder).get("models", names) if name in names]
    return predictions[predictions["model"] == names[0]]
