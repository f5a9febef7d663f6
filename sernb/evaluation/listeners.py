"""What listeners heard, as one more model: CREMA-D's majority vote by voice for each clip.

CREMA-D comes with `summaryTable.csv`: for each clip the emotion that most of about ten listeners chose among six,
hearing the voice alone (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244). Where emotions have equally many votes the
group gives one of them, drawn by the clip's name: in the long run each counts for its share, as a model that must
answer counts. Such ties are 9 % of the corpus, most of them between two emotions.
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


def load_votes(corpus: str, data_dir: str | Path = "") -> pd.DataFrame:
    """The listeners' votes on a corpus; empty where there are none to be had, and `said` tells why.

    Args:
        corpus: A name from `corpora`; only `crema` has listeners.
        data_dir: Its folder; empty to look it up. `summaryTable.csv` may lie in it, above or below.

    Returns:
        Indexed by `name` (of the clip's file, without its ending), with `vote`, the emotions with most votes joined by
        `:`, and `answer`, the one of them that counts.

    Raises:
        CorpusError: The file lacks its columns or holds other letters.
    """
    file = _votes_path(corpora.locate(corpus, data_dir)) if corpus == "crema" else None
    if file is None:
        return pd.DataFrame({"vote": [], "answer": []}, index=pd.Index([], name="name"), dtype=object)
    found = corpora.read_csv(file)
    if missing := {"FileName", "VoiceVote"} - set(found):
        raise corpora.CorpusError(f"{file}: no column {', '.join(sorted(missing))}; is it CREMA-D's own?")
    found = found.drop_duplicates("FileName")  # a repeated line would count its clip twice
    letters = found["VoiceVote"].str.split(":")
    if strangers := sorted({letter for vote in letters for letter in vote} - set(VOTE_LETTERS)):
        raise corpora.CorpusError(
            f"{file}: VoiceVote has {strangers[0]!r}; expected the letters {', '.join(VOTE_LETTERS)}."
        )
    names = pd.Index(found["FileName"], name="name")
    emotions = [sorted(VOTE_LETTERS[letter] for letter in vote) for vote in letters]
    answers = [_break_tie(tied, name) for tied, name in zip(emotions, names, strict=True)]
    return pd.DataFrame({"vote": map(":".join, emotions), "answer": answers}, index=names)


def _votes_path(root: Path) -> Path | None:
    below = sorted(path for path in root.iterdir() if path.is_dir())
    return next(
        (folder / VOTES_FILE for folder in (root, root.parent, *below) if (folder / VOTES_FILE).is_file()), None
    )


def _break_tie(tied: Sequence[str], name: str) -> str:
    """One of the emotions with equally many votes: always the same for a clip, and each for its share of clips."""
    return tied[int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % len(tied)]


def describe_votes(corpus: str, voted: pd.DataFrame, labels: Sequence[str] = tuple(VOTE_LETTERS.values())) -> str:
    """What a page says of the row `listeners`, or why it has none; `labels` are the run's."""
    if corpus != "crema":
        return f"{corpora.get_corpus(corpus).title} comes without listeners' votes on each clip: no row for them."
    if voted.empty:
        return (
            f"No row for listeners: their votes, `{VOTES_FILE}`, do not lie beside AudioWAV. The file is in the folder above "
            f"AudioWAV of {corpora.get_corpus(corpus).source.partition(',')[0]}."
        )
    lacking = [emotion for emotion in VOTE_LETTERS.values() if emotion not in labels]
    harder = f" A model that knows no {' and no '.join(lacking)} has an easier choice than they had." if lacking else ""
    return (
        "**listeners** is the majority vote of CREMA-D's listeners, who heard the voice alone and chose among six "
        f"emotions; of emotions with equally many votes one is drawn.{harder}"
    )


def listener_predictions(
    rows: pd.DataFrame, voted: pd.DataFrame, labels: Sequence[str] = tuple(VOTE_LETTERS.values())
) -> pd.DataFrame:
    """The listeners' answers to the very clips of a split or of a model, as a table of predictions.

    Nobody listened to augmented copies: they are left out, as are clips without a vote. Listeners chose among six
    emotions; where the labels are fewer they may answer one that is none of them, which is wrong.

    Args:
        rows: A clip table, what `evaluation.make_split` returns, or a model's predictions.
        voted: What `votes` returned.
        labels: The run's label list: one column of probabilities each.

    Returns:
        A table as `predictions.csv`, model `listeners`; the probabilities share out a tie. Empty without votes.
    """
    names, told = _clip_names(rows), rows.assign(copy=rows["copy"] if "copy" in rows else 0)
    known = names.isin(voted.index) & (told["copy"] == 0)
    told, found = told[known], voted.loc[names[known]]
    truth = told["truth"] if "truth" in told else told["emotion"]
    split = told["split"] if "split" in told else "test"
    table = told[["clip", "copy", "speaker"]].assign(split=split, truth=truth, prediction=found["answer"].to_numpy())
    table.insert(0, "model", LISTENERS)
    tied = found["vote"].str.split(":")
    table[list(labels)] = np.array([[(label in vote) / len(vote) for label in labels] for vote in tied]).reshape(
        len(table), len(labels)
    )
    return table


def relabel_as_heard(predictions: pd.DataFrame, voted: pd.DataFrame, labels: Sequence[str] = ()) -> pd.DataFrame:
    """A model's predictions with what listeners heard as the truth, instead of what the actor intended.

    Clips on which they were divided are left out: there is no one emotion to be right about.

    Args:
        predictions: Of any model, on clips of CREMA-D.
        voted: What `votes` returned.
        labels: The emotions the model can answer; clips heard as another are left out. Empty for all six.

    Returns:
        The rows that are left. Empty without votes.
    """
    kept = voted.loc[voted["vote"].isin(list(labels) or VOTE_LETTERS.values()), "vote"]
    names = _clip_names(predictions)
    told = predictions[names.isin(kept.index)]
    return told.assign(truth=kept.loc[_clip_names(told)].to_numpy())


def _clip_names(rows: pd.DataFrame) -> pd.Series:
    return rows["clip"].map(lambda clip: PurePosixPath(clip).stem)
