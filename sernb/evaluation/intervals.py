"""Confidence intervals over speakers, scores by group, and paired comparisons of two models."""

from __future__ import annotations

from collections.abc import Callable
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

# With fewer speakers than this there is no interval and no test. From four on, the intervals contain the true score in
# 93 to 96% of simulated experiments (`benchmarks/interval_coverage.py`).
MIN_SPEAKERS = 4
# `score_by` also cautions against a cell with fewer rows, or a wider interval of accuracy, than these.
MIN_ROWS = 20
MAX_WIDTH = 0.3
# The standard deviation of the speakers' true UARs, and the UAR, of the discriminant on RAVDESS (see
# `benchmarks/learning_curves.py`): what to expect of a corpus before anything is measured.
SPEAKER_SD = 0.07
TYPICAL_UAR = 0.65
Score = Callable[[np.ndarray], np.ndarray]


# the jackknife over speakers


def confusion_by_speaker(predictions: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """Return the confusion matrix of each speaker, in alphabetical order; shape (speakers, k, k)."""
    speaker = predictions.groupby(speaker_ids(predictions["speaker"])).ngroup().to_numpy()
    truth, prediction = (label_indices(predictions[name], labels) for name in ("truth", "prediction"))
    matrices = np.zeros((speaker.max() + 1, len(labels), len(labels)))
    np.add.at(matrices, (speaker, truth, prediction), 1)
    return matrices


def jackknife_error(matrices: np.ndarray, score: Score) -> float:
    """Compute the standard error of a score by leaving out one speaker at a time.

    Args:
        matrices: The confusion matrix of each speaker, shape (speakers, ...).
        score: Computes the score from the sum of the speakers' matrices, and from an array of such sums.
    """
    left_out = score(matrices.sum(axis=0) - matrices)
    return float(np.sqrt((len(matrices) - 1) * np.var(left_out)))


def jackknife_interval(matrices: np.ndarray, score: Score) -> list[float]:
    """Compute the 95% interval of a score from the confusion matrix of each speaker, shape (speakers, k, k).

    It is the score plus or minus the jackknife's standard error times the quantile of Student's t distribution,
    computed for the log odds, log(score / (1 - score)), and transformed back, so that it stays between 0 and 1.

    Returns:
        [low, high], both NaN with fewer than `MIN_SPEAKERS` speakers or if all speakers have the same score.
    """
    if len(matrices) < MIN_SPEAKERS or (error := jackknife_error(matrices, score)) < 1e-9:
        return [float("nan")] * 2
    from scipy.special import expit
    from scipy.special import logit

    total = float(score(matrices.sum(axis=0)))
    half = _t_quantile(len(matrices)) * error / (total * (1 - total))
    return [float(expit(logit(total) - half)), float(expit(logit(total) + half))]


def _t_quantile(speakers: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, speakers - 1))


def speaker_interval(predictions: pd.DataFrame, labels: Sequence[str] | None = None) -> dict[str, list]:
    """Compute 95% intervals of accuracy and UAR by the jackknife over speakers, not over clips.

    Clips of one speaker tend to be classified correctly or wrongly together, so an interval that treats clips as
    independent would be too narrow. (The percentile bootstrap over speakers is too narrow as well with few speakers:
    see `benchmarks/interval_coverage.py`.)

    Args:
        predictions: Rows of one model and one set with `speaker`, `truth` and `prediction`.
        labels: The run's label list; all that occur if not given.

    Returns:
        `accuracy` and `uar`, each [low, high]; NaN where there is none (see `jackknife_interval`).
    """
    matrices = confusion_by_speaker(predictions, labels or labels_in(predictions))
    return {"accuracy": jackknife_interval(matrices, accuracy), "uar": jackknife_interval(matrices, uar)}


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


def expected_half_width(speakers: int, clips: float, *, score: float = TYPICAL_UAR, sd: float = SPEAKER_SD) -> float:
    """Estimate the half-width of the 95% interval over speakers before anything is measured.

    The scores of single speakers vary by how difficult each is, `sd`, and by chance, score (1 - score) / clips.

    Args:
        speakers: The number of speakers that are tested.
        clips: The number of clips of each.
        score: The UAR that is expected.
        sd: Standard deviation of the speakers' true scores.

    Returns:
        The half-width, NaN with fewer than `MIN_SPEAKERS` speakers.

    Example:
        With RAVDESS's 24 actors, 60 clips each, an interval is about 4 points wide on each side.

        >>> round(100 * expected_half_width(24, 60), 1)
        3.9
    """
    if speakers < MIN_SPEAKERS:
        return float("nan")
    return _t_quantile(speakers) * float(np.sqrt((sd**2 + score * (1 - score) / clips) / speakers))


def describe_expected_interval(table: pd.DataFrame) -> str:
    """Return a sentence on the interval to expect for a score on a corpus, and how many speakers would halve it.

    Args:
        table: Clip table.
    """
    speakers = table["speaker"].nunique()
    if speakers < MIN_SPEAKERS:
        return f"With fewer than {MIN_SPEAKERS} speakers there is no interval; the corpus has {speakers}."
    clips = len(table) / speakers
    half = expected_half_width(speakers, clips)
    enough = next(n for n in range(speakers, 1000 * speakers) if expected_half_width(n, clips) <= half / 2)
    return (
        f"With {speakers} speakers and about {clips:.0f} clips each, expect a 95% interval of \N{PLUS-MINUS SIGN}"
        f"{100 * half:.0f} points for the UAR if every speaker is tested; half of that takes {enough} speakers."
    )


def pool_seeds(seeds: Iterable[pd.DataFrame], labels: Sequence[str] | None = None) -> dict[str, float]:
    """Average the scores of several seeds of one model, with their spread and an interval over speakers.

    Args:
        seeds: The predictions of each seed, the folds of one seed concatenated.
        labels: The run's label list; all that occur if not given.

    Returns:
        `seeds`, `speakers`, `rows` (tested per seed), `largest_class` (the share of the most frequent emotion in them,
        which is the accuracy of always predicting it) and, for `accuracy` and `uar`, the mean over seeds, `_low` and
        `_high` (95%, over speakers with their rows of every seed), `_least` and `_most` (over seeds), `_sd`
        (standard deviation over seeds, NaN for one).
    """
    tables = [select_test_rows(table) for table in seeds]
    pooled = pd.concat(tables)
    labels = labels or labels_in(pooled)
    scores = pd.DataFrame([compute_scores(confusion_matrix(t["truth"], t["prediction"], labels)) for t in tables])
    row = {"seeds": len(tables), "speakers": pooled["speaker"].nunique(), "rows": round(len(pooled) / len(tables))}
    row["largest_class"] = float(pooled["truth"].value_counts(normalize=True).iloc[0])
    for score, (low, high) in speaker_interval(pooled, labels).items():
        values = scores[score]
        row |= {score: float(values.mean()), f"{score}_low": low, f"{score}_high": high}
        row |= {f"{score}_least": float(values.min()), f"{score}_most": float(values.max())}
        row |= {f"{score}_sd": float(values.std())}
    return row


# scores by group


def score_by(predictions: pd.DataFrame, column: str, table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Score the predictions of each speaker, sex, emotion, channel, statement or model.

    For example `evaluation.score_by(predictions, "sex", clips)`; the columns `truth`, `prediction` and `speaker` are
    enough.

    Args:
        predictions: Of one model, or of several with `column="model"`; of `predictions.csv` the test rows are used.
        column: A column of the predictions or of the clip table. Without a clip table, `emotion` is the truth.
        table: Clip table, joined by `clip`.

    Returns:
        One row per value, `not said` for an empty one, with `rows` (clips and copies, however many seeds), `speakers`,
        `accuracy` and `uar` with `_low` and `_high`, and `note`, a caution that is empty where there is enough data
        (see `MIN_ROWS`, `MIN_SPEAKERS`, `MAX_WIDTH`). Intervals are over speakers; the interval of accuracy of a single
        speaker is Wilson's over the clips. UAR is over the emotions tested; by emotion it would be the accuracy, and is
        NaN.

    Raises:
        ValueError: The table holds several models, or the column is missing.
    """
    rows = select_test_rows(predictions)
    if column != "model" and "model" in rows and rows["model"].nunique() > 1:
        raise ValueError(f"the predictions are of {rows['model'].nunique()} models; choose one, or use column 'model'")
    values = _column_values(rows, column, table)
    values = values.map(lambda value: UNKNOWN_SPEAKER if pd.isna(value) or value == "" else value)
    groups = rows.groupby(values, sort=column != "model")
    cells = {value: _score_cell(group, column) for value, group in groups}
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


def _score_cell(rows: pd.DataFrame, column: str) -> dict[str, float | str]:
    labels = labels_in(rows)
    scores = compute_scores(confusion_matrix(rows["truth"], rows["prediction"], labels))
    intervals = speaker_interval(rows, labels)
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

    `table` has the rows `accuracy` and `uar` and the columns `a`, `b`, `difference`, `low`, `high` and `p`; `better`
    and `worse` are the numbers of speakers for whom the first model's accuracy is higher or lower than the second's;
    `summary` is a sentence for a page.
    """

    table: pd.DataFrame
    rows: int
    speakers: int
    better: int
    worse: int
    summary: str


def compare_models(a: pd.DataFrame, b: pd.DataFrame, labels: Sequence[str] | None = None) -> Comparison:
    """Compare two models on the same clips: how much better `a` is, and whether the choice of speakers explains it.

    The interval and p come from one test, and so never contradict each other: the difference divided by its jackknife
    standard error over speakers follows Student's t distribution if the models are equally good. With fewer than
    `MIN_SPEAKERS` speakers there is neither.

    Args:
        a: Predictions of one model: `clip`, `speaker`, `truth`, `prediction` and, if there is one, `copy`; of
            `predictions.csv` the test rows are used. Clips may occur several times (seeds, draws), all equally often.
            If neither table has `clip`, both must have the same emotions of each speaker.
        b: Predictions of the other model for the same clips.
        labels: The run's label list; all that occur if not given.

    Raises:
        ValueError: The tables are not of the same clips, or hold several models.
    """
    a, b = select_test_rows(a), select_test_rows(b)
    names = _model_name(a, "the first"), _model_name(b, "the second")
    rows = _count_common(a, b)
    labels = labels or labels_in(a, b)
    pairs = np.stack([confusion_by_speaker(table, labels) * rows / len(table) for table in (a, b)], axis=1)
    table = pd.DataFrame({"accuracy": compare_score(pairs, accuracy), "uar": compare_score(pairs, uar)}).T
    gains = -np.diff(accuracy(pairs), axis=1)
    better, worse = int((gains > 1e-9).sum()), int((gains < -1e-9).sum())
    summary = _comparison_text(table.loc["uar"], names, rows, (better, worse), len(pairs))
    return Comparison(table, rows, len(pairs), better, worse, summary)


def compare_score(pairs: np.ndarray, score: Score) -> dict[str, float]:
    """Compare one score of two models, whose confusion matrices by speaker have the shape (speakers, 2, k, k)."""

    def difference(matrices: np.ndarray) -> np.ndarray:
        """Return the score of the first model minus that of the second."""
        return score(matrices[..., 0, :, :]) - score(matrices[..., 1, :, :])

    a, b = score(pairs.sum(axis=0))
    row = {"a": a, "b": b, "difference": a - b, "low": np.nan, "high": np.nan, "p": np.nan}
    if len(pairs) < MIN_SPEAKERS or (error := jackknife_error(pairs, difference)) < 1e-9:
        return row
    from scipy.stats import t

    half = _t_quantile(len(pairs)) * error
    return row | {"low": a - b - half, "high": a - b + half, "p": 2 * t.sf(abs(a - b) / error, len(pairs) - 1)}


def _count_common(a: pd.DataFrame, b: pd.DataFrame) -> int:
    """Count the clips that both tables hold; raise ValueError if they are not the same."""
    if "clip" not in a and "clip" not in b:
        shares_a, shares_b = (table.groupby(["speaker", "truth"]).size() / len(table) for table in (a, b))
        if not shares_a.index.equals(shares_b.index) or not np.allclose(shares_a, shares_b):
            raise ValueError("the two models were not tested on the same speakers and emotions")
        return min(len(a), len(b))
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


def _model_name(predictions: pd.DataFrame, default: str) -> str:
    names = predictions["model"].unique() if "model" in predictions else [default]
    if len(names) > 1:
        raise ValueError(f"{default} table holds the models {', '.join(names)}; choose one")
    return str(names[0])


def format_points(difference: float) -> str:
    """Return a difference of two scores in points, with its sign.

    Example:
        >>> format_points(0.0436)
        '+4.4'
    """
    return f"{round(100 * difference, 1) + 0.0:+.1f}".replace("-", "\N{MINUS SIGN}")  # never -0.0


def _comparison_text(uars: pd.Series, names: tuple[str, str], rows: int, wins: tuple[int, int], speakers: int) -> str:
    difference, low, high = (format_points(uars[name]) for name in ("difference", "low", "high"))
    text = (
        f"On the same {rows:,} clip{'s' * (rows != 1)} of {speakers} speaker{'s' * (speakers != 1)}, the UAR is "
        f"{uars['a']:.3f} for {names[0]} and {uars['b']:.3f} for {names[1]}, a difference of {difference} points"
    )
    if speakers < MIN_SPEAKERS:
        return f"{text}: too few speakers for an interval or a test, which need {MIN_SPEAKERS}."
    if np.isnan(uars["p"]):
        return f"{text}, the same for every speaker: there is no interval and no test."
    p = "p < 0.001" if uars["p"] < 0.001 else f"p = {uars['p']:.3f}"
    verdict = "the difference is significant" if uars["p"] < 0.05 else "the difference is not significant"
    winners = f"{names[0]} is better for {wins[0]} of the {speakers} speakers, {names[1]} for {wins[1]}"
    return f"{text} (95% CI {low} to {high}, {p}): {verdict}. By accuracy, {winners}."
