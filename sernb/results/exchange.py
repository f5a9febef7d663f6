"""Write the predictions of a run for other toolkits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sernb import corpora
from sernb.results.files import read_predictions
from sernb.results.outputs import OutputError

if TYPE_CHECKING:
    import audformat

ROW_COLUMNS = ("model", "clip", "copy", "speaker", "split", "truth", "prediction")  # the others are probabilities


def write_audformat(predictions: pd.DataFrame | str | Path, folder: str | Path, *, name: str = "sernb") -> Path:
    """Write predictions as an audformat database, which `audformat.Database.load` reads.

    Its table `emotion` has the truth and the speaker of each clip, and the set of the split. For each model, a table
    `predictions.<model>` has the predicted `emotion` and, if there are any, the probability of each emotion.

    Args:
        predictions: The table of `predictions.csv`, or a run's folder. Augmented copies are left out.
        folder: The folder of the database: a new or empty one. Its tables name each file by the clip's path within the
            corpus.
        name: The name of the database.

    Returns:
        The path of its header, `db.yaml`.

    Raises:
        ImportError: The package audformat is not installed.
        OutputError: The folder holds files.
    """
    try:
        import audformat
    except ImportError as error:
        raise ImportError(corpora.NO_AUDFORMAT) from error
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is not an empty folder: name a new one.")
    table = predictions if isinstance(predictions, pd.DataFrame) else read_predictions(predictions)
    table = table[table["copy"] == 0] if "copy" in table else table
    probabilities = [name for name in table if name not in ROW_COLUMNS]
    labels = sorted({*table["truth"], *table["prediction"], *probabilities} - {""})
    # The corpus may be private: whoever passes the database on has to decide.
    usage = audformat.define.Usage.RESTRICTED
    database = audformat.Database(name, usage=usage, description="Predicted emotions.")
    database.schemes["emotion"] = audformat.Scheme(labels=labels)
    database.schemes["speaker"] = audformat.Scheme(labels=sorted(set(table["speaker"])))
    database.schemes["probability"] = audformat.Scheme("float", minimum=0, maximum=1)
    database.schemes["split"] = audformat.Scheme("str")
    truth = table.drop_duplicates("clip").set_index("clip")
    columns = {"emotion": truth["truth"], "speaker": truth["speaker"]}
    columns |= {"split": truth["split"]} if "split" in truth else {}
    _add_table(database, "emotion", columns, dict.fromkeys(columns))
    for model, rows in table.groupby("model") if "model" in table else [("model", table)]:
        rows = rows.set_index("clip")
        columns = {"emotion": rows["prediction"].where(rows["prediction"] != "")}
        columns |= {label: rows[label].clip(0, 1) for label in probabilities}
        _add_table(database, f"predictions.{model}", columns, dict.fromkeys(probabilities, "probability"))
    database.save(str(folder), storage_format="csv")
    return folder / corpora.DATABASE_HEADER


def _add_table(
    database: audformat.Database, name: str, columns: dict[str, pd.Series], schemes: dict[str, str | None]
) -> None:
    """Add a table by file; a column has the scheme of its name if `schemes` names no other."""
    import audformat

    table = audformat.Table(audformat.filewise_index(list(next(iter(columns.values())).index)))
    database.tables[name] = table
    for column, values in columns.items():
        table[column] = audformat.Column(scheme_id=schemes.get(column) or column)
        table[column].set(values.to_numpy())
