"""The judgements of listeners: for CREMA-D, as one more model, the majority vote on each clip heard without the face.

CREMA-D includes `summaryTable.csv`: for each clip the emotion that most of about ten listeners chose among six from
the voice alone (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244). Where emotions have equally many votes, one of them
is drawn by the clip's name, so that over many clips each counts for its share. Such ties are 9% of the corpus, most of
them between two emotions.

EmoDB includes `erkennung.txt`: for each clip the proportion of about 20 listeners who recognised the intended emotion
(Burkhardt et al. 2005, doi 10.21437/Interspeech.2005-446). Only clips that at least 80% recognised were published, so
that a majority vote is always right: EmoDB has no row `listeners`.
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
VOTES_FILES = {"crema": "summaryTable.csv", "emodb": "erkennung.txt"}
MIN_RECOGNISED = 0.8  # of EmoDB's published clips
VOTE_LETTERS = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
EMOTIONS = tuple(VOTE_LETTERS.values())


def load_votes(corpus: str, data_dir: str | Path = "") -> pd.DataFrame:
    """Load the listeners' votes on a corpus; empty where there are none, see `describe_votes`.

    Args:
        corpus: A name from `corpora`; only `crema` and `emodb` have listeners.
        data_dir: Its folder; empty to look it up. The file of votes may be in it, one level above or one below.

    Returns:
        Indexed by `name` (of the clip's file, without its extension), with `vote`, the emotions with the most votes,
        joined by `:`, and `answer`, the one of them that counts. For EmoDB also `recognised` and `natural`, the
        proportions of listeners who recognised the emotion and who found it natural.

    Raises:
        CorpusError: A column of the file is missing, or it holds other letters or numbers.
    """
    file = _votes_path(corpora.locate(corpus, data_dir), corpus) if corpus in VOTES_FILES else None
    if file is None:
        return pd.DataFrame({"vote": [], "answer": []}, index=pd.Index([], name="name"), dtype=object)
    return _read_crema_votes(file) if corpus == "crema" else _read_emodb_votes(file)


def _read_emodb_votes(file: Path) -> pd.DataFrame:
    """Read the tab-separated table in Latin-1, whose percentages have decimal commas and padding."""
    try:
        table = pd.read_csv(file, sep="\t", encoding="latin-1", dtype=str).apply(lambda column: column.str.strip())
        percent = table[["erkannt", "natuerlich"]].apply(lambda column: column.str.replace(",", ".").astype(float))
        fields = pd.DataFrame(table["Satz"].map(corpora.parse_emodb_name).tolist())
        names = pd.Index(table["Satz"].str.removesuffix(".wav"), name="name")
    except (KeyError, ValueError, AttributeError) as error:
        raise corpora.CorpusError(
            f"{file}: not the table of EmoDB's listeners, with the columns Satz, erkannt, natuerlich ({error}). It is "
            "in EmoDB's download.zip."
        ) from error
    votes = {"vote": fields["emotion"], "answer": fields["emotion"]}
    shares = {"recognised": percent["erkannt"] / 100, "natural": percent["natuerlich"] / 100}
    return pd.DataFrame(votes | shares).set_axis(names)


def _read_crema_votes(file: Path) -> pd.DataFrame:
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


def _votes_path(root: Path, corpus: str) -> Path | None:
    below = sorted(path for path in root.iterdir() if path.is_dir())
    files = [folder / VOTES_FILES[corpus] for folder in (root, root.parent, *below)]
    return next((file for file in files if file.is_file()), None)


def _break_tie(emotions: Sequence[str], name: str) -> str:
    """Return one of the emotions with equally many votes: always the same for a clip, each for its share of clips."""
    return emotions[int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % len(emotions)]


def describe_votes(corpus: str, voted: pd.DataFrame, labels: Sequence[str] = EMOTIONS) -> str:
    """Return a text on a page's row `listeners`, or on why there is none; `labels` are the run's."""
    facts = corpora.get_corpus(corpus)
    if corpus not in VOTES_FILES:
        return f"{facts.title} has no listeners' votes on each clip, so there is no row for them."
    if voted.empty:
        home, _, archive = facts.source.partition(", ")
        where = f"the folder above AudioWAV of {home}" if corpus == "crema" else f"{archive} of {home}"
        return (
            f"There is no row for listeners: their votes, `{VOTES_FILES[corpus]}`, are not beside the clips. The file "
            f"is in {where}."
        )
    if "recognised" in voted:
        return _describe_recognition(voted, labels)
    lacking = [emotion for emotion in EMOTIONS if emotion not in labels]
    easier = f" A model without {' and '.join(lacking)} has an easier task than they had." if lacking else ""
    return (
        "**listeners** is the majority vote of CREMA-D's listeners, who heard only the voice and chose among six "
        f"emotions; where emotions have equally many votes, one of them is drawn.{easier}"
    )


def _describe_recognition(voted: pd.DataFrame, labels: Sequence[str]) -> str:
    rows = voted[voted["answer"].isin(labels) & (voted["recognised"] >= MIN_RECOGNISED)]
    if rows.empty:
        return "EmoDB's listeners judged none of the emotions of this run, so there is no row for them."
    by_emotion = rows.groupby("answer")["recognised"].mean().sort_values()
    return (
        f"EmoDB's listeners recognised the intended emotion of a published clip in {by_emotion.mean():.0%} of cases "
        f"(mean over the emotions; from {by_emotion.iloc[0]:.0%} for {by_emotion.index[0]} to "
        f"{by_emotion.iloc[-1]:.0%} for {by_emotion.index[-1]}). There is no row for them: only clips that at least "
        f"{MIN_RECOGNISED:.0%} recognised were published, so that their majority vote is always right."
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
        A table as `predictions.csv`, model `listeners`; the probabilities share out a tie. Empty without votes, and
        for EmoDB, whose clips were chosen by them.
    """
    voted = voted.iloc[:0] if "recognised" in voted else voted
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
