"""The judgements of CREMA-D's listeners as one more model: the majority vote on each clip, heard without the face.

CREMA-D includes `summaryTable.csv`: for each clip the emotion that most of about ten listeners chose among six from
the voice alone (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244). Where emotions have equally many votes, one of them
is drawn by the clip's name, so that over many clips each counts for its share. Such ties are 9% of the corpus, most of
them between two emotions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from sernb import corpora

LISTENERS = "listeners"
VOTES_FILE = "summaryTable.csv"
VOTE_LETTERS = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
EMOTIONS = tuple(VOTE_LETTERS.values())


def load_votes(corpus: str, data_dir: str | Path = "") -> pd.DataFrame:
    """Load the listeners' votes on a corpus; empty where there are none, see `describe_votes`.

    Args:
        corpus: A name from `corpora`; only `crema` has listeners.
        data_dir: Its folder; empty to look it up. `summaryTable.csv` may be in it, one level above or one below.

    Returns:
        Indexed by `name` (of the clip's file, without its extension), with `vote`, the emotions with most votes joined
        by `:`, and `answer`, the one of them that counts.

    Raises:
        CorpusError: A column of the file is missing, or it holds other letters.
    """
    file = _votes_path(corpora.locate(corpus, data_dir)) if corpus == "crema" else None
    if file is None:
        return pd.DataFrame({"vote": [], "answer": []}, index=pd.Index([], name="name"), dtype=object)
    table = corpora.read_csv(file)
    if missing := {"FileName", "VoiceVote"} - set(table):
        raise corpora.CorpusError(f"{file}: no column {', '.join(sorted(missing))}; is it the file of CREMA-D?")
    table = table.drop_duplicates("FileName")  # a repeated line would count its clip twice
    letters = table["VoiceVote"].str.split(":")
    if unknown := sorted({letter for vote in letters for letter in vote} - set(VOTE_LETTERS)):
        raise corpora.CorpusError(
            f"{file}: VoiceVote has {unknown[0]!r}; expected the letters {', '.join(VOTE_LETTERS)}"
        )
    names = pd.Index(table["FileName"], name="name")
    votes = [sorted(VOTE_LETTERS[letter] for letter in vote) for vote in letters]
    answers = [_break_tie(emotions, name) for emotions, name in zip(votes, names, strict=True)]
    return pd.DataFrame({"vote": map(":".join, votes), "answer": answers}, index=names)


def _votes_path(root: Path) -> Path | None:
    below = sorted(path for path in root.iterdir() if path.is_dir())
    files = [folder / VOTES_FILE for folder in (root, root.parent, *below)]
    return next((file for file in files if file.is_file()), None)


def _break_tie(emotions: Sequence[str], name: str) -> str:
    """Return one of the emotions with equally many votes: always the same for a clip, each for its share of clips."""
    return emotions[int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % len(emotions)]


def describe_votes(corpus: str, voted: pd.DataFrame, labels: Sequence[str] = EMOTIONS) -> str:
    """Return the text of a page on its row `listeners`, or on why it has none; `labels` are the run's."""
    if corpus != "crema":
        return f"{corpora.get_corpus(corpus).title} has no listeners' votes on each clip, so there is no row for them."
    if voted.empty:
        return (
            f"There is no row for listeners: their votes, `{VOTES_FILE}`, are not beside AudioWAV. The file is in the "
            f"folder above AudioWAV of {corpora.get_corpus(corpus).source.partition(',')[0]}."
        )
    lacking = [emotion for emotion in EMOTIONS if emotion not in labels]
    easier = f" A model without {' and '.join(lacking)} has an easier task than they had." if lacking else ""
    return (
        "**listeners** is the majority vote of CREMA-D's listeners, who heard only the voice and chose among six "
        f"emotions; where emotions have equally many votes, one of them is drawn.{easier}"
    )


def listener_predictions(rows: pd.DataFrame, voted: pd.DataFrame, labels: Sequence[str] = EMOTIONS) -> pd.DataFrame:
    """Return the listeners' votes on the clips of a split or of a model as a table of predictions.

    Augmented copies are left out, because nobody listened to them, as are clips without a vote. Listeners chose among
    six emotions; where there are fewer labels, a vote for another emotion counts as wrong.

    Args:
        rows: A clip table, the table of `evaluation.make_split`, or a model's predictions.
        voted: The table of `load_votes`.
        labels: The run's label list, one column of probabilities each.

    Returns:
        A table as `predictions.csv`, model `listeners`; the probabilities share out a tie. Empty without votes.
    """
    names, rows = _clip_names(rows), rows.assign(copy=rows["copy"] if "copy" in rows else 0)
    has_vote = names.isin(voted.index) & (rows["copy"] == 0)
    rows, votes = rows[has_vote], voted.loc[names[has_vote]]
    truth = rows["truth"] if "truth" in rows else rows["emotion"]
    split = rows["split"] if "split" in rows else "test"
    table = rows[["clip", "copy", "speaker"]].assign(split=split, truth=truth, prediction=votes["answer"].to_numpy())
    table.insert(0, "model", LISTENERS)
    shares = [[(label in vote) / len(vote) for label in labels] for vote in votes["vote"].str.split(":")]
    table[list(labels)] = np.array(shares).reshape(len(table), len(labels))
    return table


def relabel_as_heard(predictions: pd.DataFrame, voted: pd.DataFrame, labels: Sequence[str] = ()) -> pd.DataFrame:
    """Replace the truth of a model's predictions, which the actor intended, by the emotion that listeners heard.

    Clips on which the vote is tied are left out.

    Args:
        predictions: Of any model, on clips of CREMA-D.
        voted: The table of `load_votes`.
        labels: The emotions the model can predict; clips heard as another are left out. Empty for all six.

    Returns:
        The remaining rows. Empty without votes.
    """
    heard_as = voted.loc[voted["vote"].isin(list(labels) or EMOTIONS), "vote"]
    rows = predictions[_clip_names(predictions).isin(heard_as.index)]
    return rows.assign(truth=heard_as.loc[_clip_names(rows)].to_numpy())


def _clip_names(rows: pd.DataFrame) -> pd.Series:
    return rows["clip"].map(lambda clip: PurePosixPath(clip).stem)
