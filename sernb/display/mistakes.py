"""Players of misclassified clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from sernb import audio
from sernb import evaluation
from sernb.display.players import audio_table

if TYPE_CHECKING:
    from IPython.display import HTML
    from IPython.display import Markdown
    from ipywidgets import Widget


def listen_to_mistakes(
    predictions: pd.DataFrame,
    clips: pd.DataFrame,
    sample_rate: int = 16000,
    *,
    n_confusions: int = 3,
    n_clips: int = 2,
) -> HTML | Widget | Markdown:
    """Return players of the misclassified clips with the highest probability, for each of the most frequent confusions.

    If the clips are private, a page withholds the players (see `audio_table`).

    Args:
        predictions: Rows of one model: `clip`, `speaker`, `truth`, `prediction` and a probability for each label, as in
            `predictions.csv`. Rows of training and validation clips and augmented copies are left out.
        clips: The clip table with the paths of these clips; if it has a column `split`, its test rows are used.
        sample_rate: Of the players, in Hz.
        n_confusions: How many pairs of true and predicted emotion, the most frequent first.
        n_clips: How many clips of each.

    Returns:
        A table of players, or a sentence if no clip is misclassified.

    Raises:
        ValueError: A column is missing, there are predictions of several models, or a clip is not in `clips`; or see
            `evaluation.select_test_rows`.
    """
    from IPython.display import Markdown

    rows = _test_recordings(predictions)
    mistakes = _largest_confusions(rows, n_confusions, n_clips)
    if mistakes.empty:
        return Markdown("No clip is misclassified.")
    tested = clips[clips["split"] == "test"] if "split" in clips else clips
    paths = tested.drop_duplicates("clip").set_index("clip")["path"]
    if len(missing := mistakes.loc[~mistakes["clip"].isin(paths.index), "clip"]):
        raise ValueError(f"the clip table has no clip {missing.iloc[0]!r}, which is among the predictions")
    totals = rows["truth"].value_counts()
    players = [
        {
            "true emotion": row["truth"],
            "predicted": row["prediction"],
            "listen": (audio.load(paths[row["clip"]], sample_rate), sample_rate),
            "probability": f"{row[row['prediction']]:.2f}",
            "confused clips": f"{row['confused']} of {totals[row['truth']]}",
        }
        for row in mistakes.to_dict("records")
    ]
    return audio_table(players, clips=tested)


def _test_recordings(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the test rows of one model without augmented copies, and check that all columns are there."""
    rows = evaluation.select_test_rows(predictions)
    columns = ["clip", *sorted(set(rows["prediction"]) - {""})]
    if missing := [name for name in columns if name not in rows]:
        raise ValueError(f"the predictions have no column {', '.join(missing)}; they have {', '.join(rows)}")
    if "model" in rows and rows["model"].nunique() > 1:
        raise ValueError(f"the predictions are of several models ({', '.join(rows['model'].unique())}); select one")
    return rows[rows["copy"] == 0]


def _largest_confusions(rows: pd.DataFrame, n_confusions: int, n_clips: int) -> pd.DataFrame:
    """Return the mistakes with the highest probability of each of the largest confusions, and how often each occurs."""
    wrong = rows[(rows["prediction"] != rows["truth"]) & (rows["prediction"] != "")]
    confused = wrong.groupby(["truth", "prediction"]).size().rename("confused")
    largest = confused.sort_values(ascending=False, kind="stable").head(n_confusions)
    parts = []
    for truth, prediction in largest.index:
        part = wrong[(wrong["truth"] == truth) & (wrong["prediction"] == prediction)]
        parts.append(part.sort_values(prediction, ascending=False, kind="stable").head(n_clips))
    return pd.concat(parts).join(largest, on=["truth", "prediction"]) if parts else wrong
