"""Confidence intervals over speakers, scores by group, and paired comparisons of two models."""

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

# `score_by` cautions against a cell with fewer rows, fewer speakers, or a wider interval of accuracy than these.
MIN_ROWS = 20
# With n speakers the interval lies within the range of their own scores. All n are on the same side of the population's
# score in 2 of 2**n cases: six is the smallest n for which that is below 5%, and for which `compare_models` can find
# p < 0.05.
MIN_SPEAKERS = 6
MAX_WIDTH = 0.3


def _confusion_by_speaker(predictions: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """Return the confusion matrix of each speaker, in alphabetical order; shape (speakers, k, k)."""
    speaker = predictions.groupby(speaker_ids(predictions["speaker"])).ngroup().to_numpy()
    truth, prediction = (label_indices(predictions[name], labels) for name in ("truth", "prediction"))
    matrices = np.zeros((speaker.max() + 1, len(labels), len(labels)))
    np.add.at(matrices, (speaker, truth, prediction), 1)
    return matrices


def _resample_counts(speakers: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each speaker is drawn in each bootstrap sample; shape (resamples, speakers)."""
    return np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples)


def _central_95(values: np.ndarray) -> list[float]:
    """Return the 2.5% and 97.5% quantiles."""
    return [float(end) for end in np.quantile(values, (0.025, 0.975))]


def speaker_interval(
    predictions: pd.DataFrame, labels: Sequence[str] | None = None, *, resamples: int = 2000, seed: int = 0
) -> dict[str, list]:
    """Compute 95% bootstrap intervals of accuracy and UAR by resampling speakers, not clips.

    Clips of one speaker tend to be classified correctly or wrongly together, so an interval that resamples clips would
    be too narrow. With one speaker there is nothing to resample, and the interval is [nan, nan]. (The package
    `confidence-intervals` also resamples the clips of each drawn speaker, which counts their variation twice.)

    Args:
        predictions: Rows of one model and one set with `speaker`, `truth` and `prediction`.
        labels: The run's label list; all that occur if not given.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Returns:
        `accuracy` and `uar`, each [low, high].
    """
    matrices = _confusion_by_speaker(predictions, labels or labels_in(predictions))
    if len(matrices) < 2:
        return {"accuracy": [float("nan")] * 2, "uar": [float("nan")] * 2}
    samples = np.tensordot(_resample_counts(len(matrices), resamples, seed), matrices, axes=1)
    return {"accuracy": _central_95(accuracy(samples)), "uar": _central_95(uar(samples))}


def wilson_interval(share: float, rows: int) -> tuple[float, float]:
    """Compute Wilson's 95% interval of a proportion as if every row were independent.

    Example:
        The local test set of the paper had some 40 clips.

        >>> [round(end, 2) for end in wilson_interval(0.61, 40)]
        [0.45, 0.74]
    """
    from scipy.stats import binomtest

    interval = binomtest(round(share * rows), rows).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def pool_seeds(seeds: Iterable[pd.DataFrame], labels: Sequence[str] | None = None) -> dict[str, float]:
    """Average the scores of several seeds of one model, with their spread and an interval over speakers.

    Args:
        seeds: The predictions of each seed, the folds of one seed concatenated.
        labels: The run's label list; all that occur if not given.

    Returns:
        `seeds`, `speakers`, `rows` (tested per seed) and, for `accuracy` and `uar`, the mean over seeds, `_low` and
        `_high` (95%, resampling speakers with their rows of every seed), `_least` and `_most` (over seeds), `_sd`
        (standard deviation over seeds, NaN for one).
    """
    tables = [select_test_rows(table) for table in seeds]
    pooled = pd.concat(tables)
    labels = labels or labels_in(pooled)
    scores = pd.DataFrame([compute_scores(confusion_matrix(t["truth"], t["prediction"], labels)) for t in tables])
    row = {"seeds": len(tables), "speakers": pooled["speaker"].nunique(), "rows": round(len(pooled) / len(tables))}
    for score, (low, high) in speaker_interval(pooled, labels).items():
        values = scores[score]
        row |= {score: float(values.mean()), f"{score}_low": low, f"{score}_high": high}
        row |= {f"{score}_least": float(values.min()), f"{score}_most": float(values.max())}
        row |= {f"{score}_sd": float(values.std())}
    return row


# scores by group


def score_by(
    predictions: pd.DataFrame, column: str, table: pd.DataFrame | None = None, *, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Score the predictions of each speaker, sex, emotion, channel, statement or model.

    For example `evaluation.score_by(predictions, "sex", clips)`; the columns `truth`, `prediction` and `speaker` are
    enough.

    Args:
        predictions: Of one model, or of several with `column="model"`; of `predictions.csv` the test rows are used.
        column: A column of the predictions or of the clip table. Without a clip table, `emotion` is the truth.
        table: Clip table, joined by `clip`.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Returns:
        One row per value, `not said` for an empty one, with `rows` (clips and copies, however many seeds), `speakers`,
        `accuracy` and `uar` with `_low` and `_high`, and `note`, a caution that is empty where there is enough data
        (see `MIN_ROWS`, `MIN_SPEAKERS`, `MAX_WIDTH`). Intervals resample speakers; the interval of accuracy of a single
        speaker is Wilson's over the clips. UAR is over the emotions tested, NaN by emotion, where it is the accuracy.

    Raises:
        ValueError: The table holds several models, or the column is missing.
    """
    rows = select_test_rows(predictions)
    if column != "model" and "model" in rows and rows["model"].nunique() > 1:
        raise ValueError(f"the predictions are of {rows['model'].nunique()} models; choose one, or use column 'model'")
    values = _column_values(rows, column, table)
    values = values.map(lambda value: UNKNOWN_SPEAKER if pd.isna(value) or value == "" else value)
    groups = rows.groupby(values, sort=column != "model")
    cells = {value: _score_cell(group, column, resamples, seed) for value, group in groups}
    return pd.DataFrame(cells.values(), index=pd.Index(cells, name=column))


def _column_values(rows: pd.DataFrame, column: str, table: pd.DataFrame | None) -> pd.Series:
    if column in rows:
        return rows[column]
    if table is not None and column in table:
        if "clip" not in rows:
            raise ValueError("the predictions have no column clip, which is needed to join the clip table")
        by_clip = table.drop_duplicates("clip").set_index("clip")[column]
        if missing := int((~rows["clip"].isin(by_clip.index)).sum()):
            raise ValueError(f"{missing} of {len(rows)} predicted clips are not in the clip table; use their own table")
        return rows["clip"].map(by_clip)
    if column == "emotion":
        return rows["truth"]
    tables = "the predictions" if table is None else "the predictions and the clip table"
    raise ValueError(f"{tables} have no column {column!r}; pass the clip table of the corpus that has it")


def _score_cell(rows: pd.DataFrame, column: str, resamples: int, seed: int) -> dict[str, float | str]:
    labels = labels_in(rows)
    scores = compute_scores(confusion_matrix(rows["truth"], rows["prediction"], labels))
    intervals = speaker_interval(rows, labels, resamples=resamples, seed=seed)
    cell = {"rows": _count_clips(rows), "speakers": rows["speaker"].nunique()}
    if cell["speakers"] == 1:
        intervals["accuracy"] = wilson_interval(scores["accuracy"], cell["rows"])
    if column in ("emotion", "truth"):
        scores["uar"], intervals["uar"] = np.nan, (np.nan, np.nan)
    for score, (low, high) in intervals.items():
        cell |= {score: scores[score], f"{score}_low": low, f"{score}_high": high}
    return cell | {"note": _caution(cell, column)}


def _count_clips(rows: pd.DataFrame) -> int:
    """Count the rows, those of several seeds or draws once."""
    return len(rows.drop_duplicates(["clip", "copy"])) if "clip" in rows else len(rows)


def _caution(cell: dict, column: str) -> str:
    reasons = []
    if cell["rows"] < MIN_ROWS:
        reasons.append(f"{cell['rows']} row{'s' * (cell['rows'] != 1)}")
    if cell["speakers"] < MIN_SPEAKERS and column != "speaker":
        reasons.append(f"{cell['speakers']} speaker{'s' * (cell['speakers'] != 1)}")
    if cell["accuracy_high"] - cell["accuracy_low"] > MAX_WIDTH:
        reasons.append(f"an interval wider than {MAX_WIDTH}")
    return f"too little data: {' and '.join(reasons)}" if reasons else ""


# one model against another


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two models.

    `table` has the rows `accuracy` and `uar` and the columns `a`, `b`, `difference`, `low`, `high` and `p`; `exact`
    says whether p counts every way to swap the predictions; `summary` is a sentence for a page.
    """

    table: pd.DataFrame
    rows: int
    speakers: int
    exact: bool
    summary: str


def compare_models(
    a: pd.DataFrame,
    b: pd.DataFrame,
    labels: Sequence[str] | None = None,
    *,
    resamples: int = 2000,
    permutations: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two models on the same clips: how much better `a` is, and whether the choice of speakers explains it.

    The interval resamples speakers, with both models' predictions together. p is the fraction of ways to swap the two
    models' predictions, speaker by speaker, that give at least as large a difference: all 2**speakers of them if they
    are no more than `permutations`, else that many random ones, the unswapped one among them (Good, Permutation Tests,
    2000).

    Args:
        a: Predictions of one model: `clip`, `speaker`, `truth`, `prediction` and, if there is one, `copy`; of
            `predictions.csv` the test rows are used. A clip may occur several times, all equally often (seeds, draws).
        b: Predictions of the other model for the same clips.
        labels: The run's label list; all that occur if not given.
        resamples: Number of bootstrap samples.
        permutations: Largest number of permutations.
        seed: Seed of both.

    Raises:
        ValueError: The tables are not of the same clips, or hold several models.
    """
    a, b = select_test_rows(a), select_test_rows(b)
    names = _model_name(a, "the first"), _model_name(b, "the second")
    rows = _count_common(a, b)
    labels = labels or labels_in(a, b)
    first, second = (_confusion_by_speaker(table, labels) * rows / len(table) for table in (a, b))
    counts, swaps = _resample_counts(len(first), resamples, seed), _swap_matrix(len(first), permutations, seed)
    swapped = np.tensordot(swaps, second - first, axes=1)
    cells = {}
    for name, score in (("accuracy", accuracy), ("uar", uar)):
        score_a, score_b = score(first.sum(axis=0)), score(second.sum(axis=0))
        resampled = score(np.tensordot(counts, first, axes=1)) - score(np.tensordot(counts, second, axes=1))
        permuted = score(first.sum(axis=0) + swapped) - score(second.sum(axis=0) - swapped)
        low, high = _central_95(resampled) if len(first) > 1 else (np.nan, np.nan)
        p = np.mean(np.abs(permuted) >= abs(score_a - score_b) - 1e-9)
        cells[name] = {"a": score_a, "b": score_b, "difference": score_a - score_b, "low": low, "high": high, "p": p}
    table = pd.DataFrame.from_dict(cells, orient="index")
    summary = _comparison_text(table.loc["uar"], names, rows, len(first))
    return Comparison(table, rows, len(first), 2 ** len(first) <= permutations, summary)


def _count_common(a: pd.DataFrame, b: pd.DataFrame) -> int:
    """Count the clips that both tables hold; raise ValueError if they are not the same."""
    if without := [name for name, table in (("first", a), ("second", b)) if "clip" not in table]:
        raise ValueError(f"the {without[0]} table has no column clip, which is needed to pair the predictions")
    columns = {"truth": ["first", "size"], "speaker": "first"}
    clips_a, clips_b = (table.groupby(["clip", "copy"]).agg(columns) for table in (a, b))
    common = clips_a.index.intersection(clips_b.index)
    if len(common) < max(len(clips_a), len(clips_b)):
        raise ValueError(
            f"the two models were not tested on the same clips: {len(common)} match, of {len(clips_a)} of the first "
            f"and {len(clips_b)} of the second. Compare runs of one corpus, split and seed, or reduce both tables to "
            "their common clips."
        )
    for clips in (clips_a, clips_b):
        if clips["truth", "size"].nunique() > 1:
            raise ValueError("some clips are predicted more often than others; each table must hold one model")
    for name in ("truth", "speaker"):
        differs = clips_a[name, "first"] != clips_b[name, "first"].reindex(clips_a.index)
        if differs.any():
            raise ValueError(f"the {name} of {differs.sum()} of {len(clips_a)} clips differs between the two tables")
    return len(clips_a)


def _swap_matrix(speakers: int, permutations: int, seed: int) -> np.ndarray:
    """Return 1 where a permutation swaps a speaker's predictions, the first swaps none; (permutations, speakers)."""
    if 2**speakers <= permutations:
        return np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1
    swaps = np.random.default_rng(seed).integers(0, 2, size=(permutations, speakers))
    swaps[0] = 0
    return swaps


def _model_name(predictions: pd.DataFrame, default: str) -> str:
    names = predictions["model"].unique() if "model" in predictions else [default]
    if len(names) > 1:
        raise ValueError(f"{default} table holds the models {', '.join(names)}; choose one")
    return str(names[0])


def _format_signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "\N{MINUS SIGN}")  # never -0.000


def _comparison_text(uars: pd.Series, names: tuple[str, str], rows: int, speakers: int) -> str:
    if speakers < MIN_SPEAKERS:
        verdict = f"too few speakers for a test, because p cannot fall below {2 / 2**speakers:.2g}"
    elif uars["p"] < 0.05:
        verdict = "the difference is significant"
    else:
        verdict = "the difference is not significant"
    difference, low, high = (_format_signed(uars[name]) for name in ("difference", "low", "high"))
    interval = "no interval" if np.isnan(uars["low"]) else f"95% CI {low} to {high}"
    p = "p < 0.001" if uars["p"] < 0.001 else f"p = {uars['p']:.3f}"
    return (
        f"On the same {rows} clips of {speakers} speaker{'s' * (speakers != 1)}, the UAR is {uars['a']:.3f} for "
        f"{names[0]} and {uars['b']:.3f} for {names[1]}, a difference of {difference} ({interval}, {p}): {verdict}."
    )
