"""Confidence intervals over speakers, scores by group, and paired comparisons."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sernb.evaluation.scores import UNKNOWN_SPEAKER
from sernb.evaluation.scores import accuracy
from sernb.evaluation.scores import compute_scores
from sernb.evaluation.scores import confusion_matrix
from sernb.evaluation.scores import label_indices
from sernb.evaluation.scores import labels_in
from sernb.evaluation.scores import select_test_rows
from sernb.evaluation.scores import speaker_ids
from sernb.evaluation.scores import uar

# A cell of `by` says too little with fewer rows, fewer speakers, or a wider interval of accuracy. With n voices the
# interval lies among their own scores, and all n lie on one side of what other voices would give in 2 of 2**n cases:
# six is the least number for which that is less than 5 %. It is the least, too, for which `compare` can find p < 0.05.
MIN_ROWS, MIN_SPEAKERS, MAX_WIDTH = 20, 6, 0.3


def _confusion_by_speaker(told: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """The confusion matrix of each speaker, the speakers in alphabetical order; shape (speakers, k, k)."""
    voice = told.groupby(speaker_ids(told["speaker"])).ngroup().to_numpy()
    each = np.zeros((voice.max() + 1, len(labels), len(labels)))
    np.add.at(each, (voice, label_indices(told["truth"], labels), label_indices(told["prediction"], labels)), 1)
    return each


def _resample_counts(speakers: int, resamples: int, seed: int) -> np.ndarray:
    """How often each speaker is drawn in each bootstrap sample; shape (resamples, speakers)."""
    return np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)


def _central_95(values: np.ndarray) -> list[float]:
    """From where to where the middle 95 % of some values go."""
    return [float(end) for end in np.quantile(values, (0.025, 0.975))]


def speaker_interval(
    predictions: pd.DataFrame, labels: Sequence[str] | None = None, *, resamples: int = 2000, seed: int = 0
) -> dict[str, list]:
    """95 % bootstrap intervals of accuracy and UAR that resample speakers, not clips.

    Clips of one voice succeed or fail together, so resampling clips would promise too much. With one speaker there is
    nothing to resample and the interval is [nan, nan]. (The package `confidence-intervals` resamples the clips of each
    drawn speaker too, which counts their chance twice, takes one score a call, and has no paired test.)

    Args:
        predictions: Rows of one model and one side with `speaker`, `truth` and `prediction`.
        labels: The run's label list; all that occur if it is not given.
        resamples: Bootstrap samples.
        seed: Of the resampling.

    Returns:
        `accuracy` and `uar`, each [low, high].
    """
    each = _confusion_by_speaker(predictions, labels or labels_in(predictions))
    if len(each) < 2:
        return {"accuracy": [float("nan")] * 2, "uar": [float("nan")] * 2}
    matrices = np.tensordot(_resample_counts(len(each), resamples, seed), each, axes=1)
    return {"accuracy": _central_95(accuracy(matrices)), "uar": _central_95(uar(matrices))}


def wilson_interval(share: float, rows: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of rows: what so few allow one to say, even if each were another voice.

    Example:
        The paper's local test set had some 40 clips.

        >>> [round(end, 2) for end in wilson(0.61, 40)]
        [0.45, 0.74]
    """
    from scipy.stats import binomtest

    found = binomtest(round(share * rows), rows).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def pool_seeds(seeds: Iterable[pd.DataFrame], labels: Sequence[str] | None = None) -> dict[str, float]:
    """Scores of several seeds of one model: their mean, how far they lie apart, and what other speakers would change.

    Args:
        seeds: The predictions of each seed; folds of one seed are concatenated before.
        labels: All that occur if they are not given.

    Returns:
        `seeds`, `speakers`, `rows` (tested, a seed) and, for `accuracy` and `uar`, the mean over seeds, `_low` and
        `_high` (95 %, resampling speakers: all rows of a voice, of every seed, stay together), `_least` and `_most`
        (over seeds), `_sd` (standard deviation over seeds, NaN for one).
    """
    told = [select_test_rows(one) for one in seeds]
    everything = pd.concat(told)
    labels = labels or labels_in(everything)
    each = pd.DataFrame([compute_scores(confusion_matrix(one["truth"], one["prediction"], labels)) for one in told])
    ends = speaker_interval(everything, labels)
    row = {"seeds": len(told), "speakers": everything["speaker"].nunique(), "rows": round(len(everything) / len(told))}
    for score, (low, high) in ends.items():
        values = each[score]
        row |= {score: float(values.mean()), f"{score}_low": low, f"{score}_high": high}
        row |= {
            f"{score}_least": float(values.min()),
            f"{score}_most": float(values.max()),
            f"{score}_sd": float(values.std()),
        }
    return row


# score by score, cell by cell


def score_by(
    predictions: pd.DataFrame, column: str, table: pd.DataFrame | None = None, *, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Scores for each speaker, sex, emotion, channel, statement or model, and a warning where they say too little.

    `evaluation.score_by(predictions, "sex", clips)` is all it takes; `truth`, `prediction` and `speaker` are columns enough.

    Args:
        predictions: Of one model, or of several with `column="model"`; of `predictions.csv` the test rows are taken.
        column: Of the predictions or of the clip table. Without a clip table, `emotion` is the truth.
        table: Clip table, to be joined by `clip`.
        resamples: Bootstrap samples.
        seed: Of the resampling.

    Returns:
        One row a value, an empty one as `not said`, with `rows` (clips and copies, however many seeds), `speakers`,
        `accuracy` and `uar` with `_low` and `_high`, and `note`, which is empty where there is enough to go by (see
        `LEAST_ROWS`, `LEAST_SPEAKERS`, `WIDEST`). The interval resamples speakers; of accuracy in a cell of one
        speaker it is Wilson's over the clips. UAR is NaN where a cell holds one emotion.

    Raises:
        ValueError: Several models in one table, or the column is nowhere.
    """
    told = select_test_rows(predictions)
    if column != "model" and "model" in told and told["model"].nunique() > 1:
        raise ValueError(
            f"the predictions are of {told['model'].nunique()} models; choose one, or give column 'model'."
        )
    values = _column_values(told, column, table).map(
        lambda value: UNKNOWN_SPEAKER if pd.isna(value) or value == "" else value
    )
    cells = {
        value: _score_cell(part, column, resamples, seed)
        for value, part in told.groupby(values, sort=column != "model")
    }
    return pd.DataFrame(cells.values(), index=pd.Index(cells, name=column))


def _column_values(told: pd.DataFrame, column: str, table: pd.DataFrame | None) -> pd.Series:
    if column in told:
        return told[column]
    if table is not None and column in table:
        if "clip" not in told:
            raise ValueError("the predictions have no column clip, by which the clip table could be joined.")
        of_clip = table.drop_duplicates("clip").set_index("clip")[column]
        if strangers := int((~told["clip"].isin(of_clip.index)).sum()):
            raise ValueError(f"{strangers} of {len(told)} predicted clips are not in the clip table; give its own.")
        return told["clip"].map(of_clip)
    if column == "emotion":
        return told["truth"]
    searched = "the predictions" if table is None else "the predictions and the clip table"
    raise ValueError(f"{searched} have no column {column!r}; give the clip table of the corpus that has it.")


def _score_cell(part: pd.DataFrame, column: str, resamples: int, seed: int) -> dict[str, float | str]:
    labels = labels_in(part)
    found = compute_scores(confusion_matrix(part["truth"], part["prediction"], labels))
    rows, speakers = _count_clips(part), part["speaker"].nunique()
    ends = speaker_interval(part, labels, resamples=resamples, seed=seed)
    if speakers == 1:
        ends["accuracy"] = wilson_interval(found["accuracy"], rows)
    if part["truth"].nunique() == 1:
        found["uar"], ends["uar"] = np.nan, (np.nan, np.nan)
    cell = {"rows": rows, "speakers": speakers}
    for score, (low, high) in ends.items():
        cell |= {score: found[score], f"{score}_low": low, f"{score}_high": high}
    return cell | {"note": _caution(cell, column)}


def _count_clips(part: pd.DataFrame) -> int:
    """Rows, those of several seeds or draws counted once."""
    return len(part.drop_duplicates(["clip", "copy"])) if "clip" in part else len(part)


def _caution(cell: dict, column: str) -> str:
    few = []
    if cell["rows"] < MIN_ROWS:
        few.append(f"{cell['rows']} row{'s' * (cell['rows'] != 1)}")
    if cell["speakers"] < MIN_SPEAKERS and column != "speaker":  # there it says how one voice fares, and no more
        few.append(f"{cell['speakers']} speaker{'s' * (cell['speakers'] != 1)}")
    if cell["accuracy_high"] - cell["accuracy_low"] > MAX_WIDTH:
        few.append(f"an interval wider than {MAX_WIDTH}")
    return f"too little to go by: {' and '.join(few)}" if few else ""


# one model against another


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    `table` has the rows `accuracy` and `uar` and the columns `a`, `b`, `difference`, `low`, `high` and `p`; `exact`
    tells whether p counts every way to swap the answers; `said` is the sentence for a page.
    """

    table: pd.DataFrame
    rows: int
    speakers: int
    exact: bool
    said: str


def compare_models(
    a: pd.DataFrame,
    b: pd.DataFrame,
    labels: Sequence[str] | None = None,
    *,
    resamples: int = 2000,
    permutations: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Two models on the same clips: how much better is `a`, and might that be the choice of speakers?

    The interval resamples speakers, both models' answers together. p is the share of ways to swap the two models'
    answers, speaker by speaker, that part them at least as far: all 2**speakers of them if they are no more than
    `permutations`, else so many drawn ones, the given one among them (Good, Permutation Tests, 2000).

    Args:
        a: Predictions of one model: `clip`, `speaker`, `truth`, `prediction` and, if there, `copy`; of
            `predictions.csv` the test rows are taken. Each clip may be there several times, all equally often (seeds,
            draws).
        b: Predictions of the other for the same clips.
        labels: All that occur if they are not given.
        resamples: Bootstrap samples.
        permutations: At most.
        seed: Of both.

    Raises:
        ValueError: They are not of the same clips, or of several models.
    """
    a, b = select_test_rows(a), select_test_rows(b)
    rows = _count_common(a, b)
    labels = labels or labels_in(a, b)
    first, second = _confusion_by_speaker(a, labels) * rows / len(a), _confusion_by_speaker(b, labels) * rows / len(b)
    drawn, swaps = _resample_counts(len(first), resamples, seed), _swap_matrix(len(first), permutations, seed)
    moved = np.tensordot(swaps, second - first, axes=1)
    told = {}
    for name, score in (("accuracy", accuracy), ("uar", uar)):
        ours, theirs = score(first.sum(axis=0)), score(second.sum(axis=0))
        spread = score(np.tensordot(drawn, first, axes=1)) - score(np.tensordot(drawn, second, axes=1))
        chance = score(first.sum(axis=0) + moved) - score(second.sum(axis=0) - moved)
        low, high = _central_95(spread) if len(first) > 1 else (np.nan, np.nan)
        p = np.mean(np.abs(chance) >= abs(ours - theirs) - 1e-9)
        told[name] = {"a": ours, "b": theirs, "difference": ours - theirs, "low": low, "high": high, "p": p}
    table = pd.DataFrame.from_dict(told, orient="index")
    said = _comparison_text(
        table.loc["uar"], (_model_name(a, "the first"), _model_name(b, "the second")), rows, len(first)
    )
    return Comparison(table, rows, len(first), 2 ** len(first) <= permutations, said)


def _count_common(a: pd.DataFrame, b: pd.DataFrame) -> int:
    """How many rows both tables have, each the same."""
    if bare := [name for name, told in (("first", a), ("second", b)) if "clip" not in told]:
        raise ValueError(f"the {bare[0]} table has no column clip: what was predicted twice cannot be told.")
    ours, theirs = (
        told.groupby(["clip", "copy"]).agg({"truth": ["first", "size"], "speaker": "first"}) for told in (a, b)
    )
    both = ours.index.intersection(theirs.index)
    if len(both) < max(len(ours), len(theirs)):
        raise ValueError(
            f"the two models were not tested on the same clips: {len(both)} match, of {len(ours)} of the first and "
            f"{len(theirs)} of the second. Compare runs of one corpus, split and seed, or cut both to what they share."
        )
    for told in (ours, theirs):
        if told["truth", "size"].nunique() > 1:
            raise ValueError("some clips are predicted more often than others: give one table a model.")
    for name in ("truth", "speaker"):
        differ = ours[name, "first"] != theirs[name, "first"].reindex(ours.index)
        if differ.any():
            raise ValueError(f"the {name} of {differ.sum()} of {len(ours)} clips is not the same in both tables.")
    return len(ours)


def _swap_matrix(speakers: int, permutations: int, seed: int) -> np.ndarray:
    """For each permutation whose answers are swapped, the first with none; shape (permutations, speakers)."""
    if 2**speakers <= permutations:
        return np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1
    swaps = np.random.default_rng(seed).integers(0, 2, size=(permutations, speakers))
    swaps[0] = 0
    return swaps


def _model_name(told: pd.DataFrame, otherwise: str) -> str:
    names = told["model"].unique() if "model" in told else [otherwise]
    if len(names) > 1:
        raise ValueError(f"{otherwise} table has the models {', '.join(names)}; choose one.")
    return str(names[0])


def _format_signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "\N{MINUS SIGN}")  # never -0.000


def _comparison_text(uars: pd.Series, names: tuple[str, str], rows: int, speakers: int) -> str:
    verdict = (
        "more than the choice of speakers explains" if uars["p"] < 0.05 else "the choice of speakers may explain it"
    )
    if speakers < MIN_SPEAKERS:
        verdict = f"too few speakers to tell, for p cannot fall below {2 / 2**speakers:.2g}"
    more, low, high = (_format_signed(uars[name]) for name in ("difference", "low", "high"))
    ends = "no interval" if np.isnan(uars["low"]) else f"95 % interval {low} to {high}"
    p = "p < 0.001" if uars["p"] < 0.001 else f"p = {uars['p']:.3f}"
    return (
        f"On the same {rows} clips of {speakers} speaker{'s' * (speakers != 1)}, UAR is {uars['a']:.3f} for {names[0]} "
        f"and {uars['b']:.3f} for {names[1]}, a difference of {more} ({ends}, {p}): {verdict}."
    )
