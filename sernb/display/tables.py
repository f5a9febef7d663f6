"""Results in a page's words: scores with their intervals, tables for people, sentences on what a run means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sernb import corpora
from sernb import evaluation
from sernb import results
from sernb import studies

DISPLAY_NAMES = {"accuracy": "accuracy", "uar": "UAR", "train": "training", "val": "validation", "test": "test"}
NO_VALUE = "\N{EN DASH}"


# scores and numbers


def format_with_interval(row: Mapping[str, Any], score: str = "accuracy") -> str:
    """A score with its interval, `0.731 [0.700, 0.764]`, or how the run failed; of any row with `_low` and `_high`.

    An interval without width, such as that of none right of twenty, is a dash: no resampling tells how sure it is.
    """
    if row.get("status", "finished") != "finished":
        return str(row["status"])
    value, low, high = row[score], row[f"{score}_low"], row[f"{score}_high"]
    if math.isnan(value) or math.isnan(low):
        return NO_VALUE if math.isnan(value) else f"{value:.3f}"
    return keep_together(f"{value:.3f} [{NO_VALUE}]" if low == high else f"{value:.3f} [{low:.3f}, {high:.3f}]")


def keep_together(said: str) -> str:
    """A range or an interval in which no narrow column of a page breaks the line."""
    return said.replace(" ", "\N{NO-BREAK SPACE}")


def format_decimals(table: pd.DataFrame, places: int = 3, missing: str = NO_VALUE) -> pd.DataFrame:
    """A table with as many decimals in every fraction: pandas, column by column, drops zeros at the end."""
    return table.map(lambda value: _format_number(value, places, missing) if isinstance(value, float) else value)


def _format_number(value: float, places: int, missing: str) -> str:
    return missing if math.isnan(value) else f"{round(value, places) + 0.0:.{places}f}"  # never -0.0


def describe_whiskers(cells: pd.DataFrame, score: str = "uar") -> str:
    """What a caption says of the whiskers of `display.scores_with_intervals` or `display.robustness_curves`: of one speaker there are none."""
    if cells[f"{score}_low"].notna().any():
        return "whiskers are 95 % intervals over speakers"
    return "no whiskers, for one speaker cannot tell how others would fare"


# a run


def describe_outcome(result: Mapping[str, Any]) -> str:
    """One sentence for the page: that all models of a `metrics.json` were trained, or which failed in which epoch."""
    failed = [f"{name}: {entry['failed']}" for name, entry in result["models"].items() if "failed" in entry]
    return f"**Failed:** {'; '.join(failed)}." if failed else "Trained to the last epoch."


def scores_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Loss, accuracy and UAR of each model and side of a `metrics.json`, with the intervals of the test side."""
    rows = [
        {"model": name, "side": DISPLAY_NAMES[side], **_format_side_scores(entry, side)}
        for name, entry in result["models"].items()
        for side in evaluation.SIDES
        if side in entry
    ]
    return pd.DataFrame(rows).set_index(["model", "side"]) if rows else pd.DataFrame()


def _format_side_scores(entry: Mapping[str, Any], side: str) -> dict[str, str]:
    loss = entry[side]["loss"]
    told = {"loss": _format_number(math.nan if loss is None else loss, 3, NO_VALUE)}
    for score in results.INTERVAL_SCORES:
        low, high = entry["ci95"][score] if side == "test" else (math.nan, math.nan)
        row = {score: entry[side][score], f"{score}_low": math.nan if low is None else low, f"{score}_high": high}
        alone = " (one speaker: no interval)" * (side == "test" and math.isnan(row[f"{score}_low"]))
        told[f"{DISPLAY_NAMES[score]} [95 %]"] = format_with_interval(row, score) + alone
    return told


def format_cells(cells: pd.DataFrame, scores: Sequence[str] = results.INTERVAL_SCORES) -> pd.DataFrame:
    """What `evaluation.score_by` returns, for people: each score in one column with its interval, and notes in few words.

    The other columns say why there is a note. One speaker has no interval over speakers, and Wilson's, over the clips,
    would be taken for one.
    """
    alone = cells["speakers"] == 1
    told = cells[["rows", "speakers"]].copy()
    for score in scores:
        rows = cells.assign(**{f"{score}_low": cells[f"{score}_low"].mask(alone)}).to_dict("records")
        told[f"{DISPLAY_NAMES[score]} [95 %]"] = [format_with_interval(row, score) for row in rows]
    notes = cells["note"].str.partition(":")[0].map(keep_together).mask(alone, "one speaker: no interval")
    return told.assign(note=notes) if (notes != "").any() else told


def format_split_sizes(sizes: pd.DataFrame) -> pd.DataFrame:
    """What `evaluation.split_sizes` returns, for people: a column a side; of several folds, a row a fold."""
    if sizes.index.nlevels == 1:
        return sizes.rename(index=DISPLAY_NAMES).T.rename_axis("", axis=1)
    emotions = sizes.drop(columns=["rows", "clips", "speakers"])
    told = [
        f"{row.rows} rows{f' ({row.clips} clips)' * (row.rows != row.clips)}, "
        f"{row.speakers} speaker{'s' * (row.speakers != 1)}, {least}{f' to {most}' * (most > least)} an emotion"
        for row, least, most in zip(sizes.itertuples(), emotions.min(axis=1), emotions.max(axis=1), strict=True)
    ]
    each = pd.Series(told, sizes.index).unstack()
    return (
        each[[side for side in evaluation.SIDES if side in each]].rename(columns=DISPLAY_NAMES).rename_axis("", axis=1)
    )


def describe_unused(table: pd.DataFrame, cuts: Mapping[int, pd.DataFrame], tested: str = "") -> str:
    """A sentence on the clips that no split of a run has (`evaluation.make_splits`); empty where it has them all.

    Args:
        table: The clips that were split.
        cuts: The splits.
        tested: The other corpus that is tested instead, if there is one.
    """
    out = table[~table["clip"].isin(pd.concat(cuts.values())["clip"])]
    voices = out["speaker"].nunique()
    why = f"`{tested}` is tested instead" if tested else "the protocol gives them no side"
    said = f"**Left out of the split:** {len(out)} of {len(table)} clips, of {voices} speaker{'s' * (voices != 1)}"
    return f"{said}: {why}." if len(out) else ""


def interpret_split(result: Mapping[str, Any]) -> str:
    """A sentence on what a run's score is a score of, and which run to hold against it."""
    split = result["split"]
    leaks = split.get("test_leaks", split["leaks"])
    if any(leaks[kind] for kind in evaluation.LEAK_FAULTS):
        return (
            "This split leaks: it measures how well the network recognises *these voices and these very clips*, and "
            'says little about a patient whom it has never heard. Run it again with `PROTOCOL = "speaker"` and '
            '`AUGMENT = "train-only"`: the difference is what the leak was worth.'
        )
    if "tested" in split:
        return (
            f"The score is for the voices, rooms and microphones of `{split['tested']['name']}`, none of which the "
            'network has met. Run it again with `TEST_CORPUS = ""`: what it then scores more is what the other '
            "corpus costs."
        )
    return (
        "No voice that was tested was trained on: the score is for voices that the network has never heard. Run it "
        'again with `PROTOCOL = "random"` and `AUGMENT = "before-split"`, the paper\'s way: what it then scores '
        "more is what the leak is worth and, with few tested speakers, chance too."
    )


# many runs


def format_pooled(steps: pd.DataFrame) -> pd.DataFrame:
    """What `results.pool_runs` returns, for people: scores with their intervals, and from which to which seed they go."""
    told = steps[["seeds", "speakers", "rows"]].copy()
    for score in results.INTERVAL_SCORES if len(steps) else ():
        rows = steps.to_dict("records")
        told[f"{score} [95 %]"] = [format_with_interval(row, score) for row in rows]
        ends = [(row[f"{score}_least"], row[f"{score}_most"]) for row in rows]
        told[f"{score}, by seed"] = [keep_together(f"{least:.3f} to {most:.3f}") for least, most in ends]
    return told.join(steps[["train_accuracy", "minutes"]].round(3))


def compare_with_base(pool: pd.DataFrame, base: str) -> pd.DataFrame:
    """What each way of working reports, in points against one of them, and how far its validation is above its test.

    Args:
        pool: What `results.pool_runs` returns, of runs whose `val_accuracy` is the `results.final_val_accuracy`.
        base: The row that the others are held against.

    Returns:
        Of each row UAR and accuracy with their intervals and the difference from `base`, the accuracy that the
        validation curve ends at, and that less the test accuracy.
    """
    rows, told = pool.to_dict("records"), {}
    for score in ("uar", "accuracy"):
        told[f"{score} [95 %]"] = [format_with_interval(row, score) for row in rows]
        told[f"{score}, points"] = (100 * (pool[score] - pool.loc[base, score])).round(1).to_numpy()
    told["validation"] = pool["val_accuracy"].round(3).to_numpy()
    told["validation above test, points"] = (100 * (pool["val_accuracy"] - pool["accuracy"])).round(1).to_numpy()
    return pd.DataFrame(told, index=pool.index)


def scores_side_by_side(tables: Mapping[str, pd.DataFrame], score: str) -> pd.DataFrame:
    """One score with its interval from several tables of `results.pool_runs`, a column each."""
    said = {
        name: pd.Series([format_with_interval(row, score) for row in pool.to_dict("records")], pool.index)
        for name, pool in tables.items()
    }
    return pd.DataFrame(said)


def describe_epochs(curves: Sequence[pd.DataFrame], level: float) -> str:
    """`results.epochs_to_reach` of several seeds in words: their mean, or how many of them reach the level at all."""
    found = [results.epochs_to_reach(one, level) for one in curves]
    reached = [epoch for epoch in found if not math.isnan(epoch)]
    if len(reached) < len(found):
        return f"{len(reached)} of {len(found)} reach it" if reached else "not reached"
    return f"epoch {np.mean(reached):.0f}"


def redact(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """A table for display, about the clips of a clip table: its columns of names and ids are withheld if they must be.

    An index that is named as one of them becomes row numbers.
    """
    if not corpora.must_redact(table):
        return frame
    hidden = frame.reset_index(drop=True) if set(frame.index.names) & set(corpora.PRIVATE_COLUMNS) else frame.copy()
    for column in set(corpora.PRIVATE_COLUMNS) & set(hidden):
        hidden[column] = corpora.WITHHELD
    return hidden


def format_verdicts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """What `table` returns, for people: three digits, a dash where nothing was measured, ranges in one line."""
    said = verdicts.set_index(["corpus", "claim"])
    said = said.map(lambda value: f"{value:.3f}" if isinstance(value, float) else value).replace("nan", "\N{EN DASH}")
    return said.replace(r"(\d) to (\d)", "\\1\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}\\2", regex=True)


def describe_waterfall(steps: pd.DataFrame) -> str:
    """The waterfall in words, for a page: where it begins, what each step costs, and what is left.

    Args:
        steps: What `results.pool_runs` returns for the steps of the waterfall, in order.
    """
    if len(steps) < 2:
        return "The waterfall has not been measured yet."
    words = [f"**{steps.index[0][0].upper()}{steps.index[0][1:]}**: {_format_step_score(steps.iloc[0])}."]
    for i in range(1, len(steps)):
        change = f"{100 * (steps['accuracy'].iloc[i] - steps['accuracy'].iloc[i - 1]):+.1f}"
        change = change.replace("-", "\N{MINUS SIGN}")
        words.append(f"**Then {steps.index[i]}**: {_format_step_score(steps.iloc[i])}, {change} points.")
    return "\n".join(f"- {line}" for line in words)


def _format_step_score(step: pd.Series) -> str:
    seeds = f"{step['seeds']:.0f} seed{'s' * int(step['seeds'] > 1)}"
    return f"{format_with_interval(step)} ({seeds}, {step['speakers']:.0f} speakers tested)"


def describe_provenance(sweeps: Mapping[str, pd.DataFrame]) -> str:
    """For a page: how many runs of each sweep there are, on which clips, at which revisions, and how long they took."""
    return "\n".join(f"- `{name}`: {_describe_origin(runs)}" for name, runs in sweeps.items())


def _describe_origin(runs: pd.DataFrame) -> str:
    finished = runs[runs["status"] == "finished"]
    minutes = f"{finished['seconds'].min() / 60:.0f} to {finished['seconds'].max() / 60:.0f} minutes of training each"
    failed = f", {len(runs) - len(finished)} of them failed" if len(runs) > len(finished) else ""
    prints, revisions = (", ".join(sorted(set(finished[what].astype(str)))) for what in ("fingerprint", "revision"))
    return f"{len(runs)} runs{failed}, {minutes}; fingerprint of the clips {prints}, revision {revisions}"


def format_robustness(curves: pd.DataFrame, score: str = "uar") -> pd.DataFrame:
    """`curves` for people: a row a distortion and level, a column a model, each score with its interval."""
    told = curves.assign(
        distortion=[f"{row.distortion} {row.level:g} {row.unit}".replace(" -", " \N{MINUS SIGN}")
                    if np.isfinite(row.level) else row.distortion for row in curves.itertuples()],
        said=[format_with_interval(row, score) for row in curves.to_dict("records")],
    )  # fmt: skip
    table = told.pivot(index="distortion", columns="model", values="said")
    return table.loc[told["distortion"].unique(), curves["model"].unique()].rename_axis(None, axis=1)


def describe_verdict_rule() -> str:
    """Return the sentences that explain the verdicts of `studies.verdict_table`."""
    return (
        f"A claim counts as reached if the measured value is at most {100 * studies.TOLERANCE:.0f} points below it, or "
        "if any single seed reaches it. *Not reached*: we tried to reproduce the score and got a lower one. "
        "*Cannot be checked*: the recordings were never published."
    )


# a notebook's own sentences


def describe_corpus(clips: pd.DataFrame) -> str:
    """Return one sentence on a corpus: its size, licence, source and fingerprint."""
    corpus = corpora.get_corpus(clips["corpus"].iloc[0])
    speakers = clips["speaker"].nunique()
    return (
        f"**{corpus.title}**: {len(clips)} clips, {speakers} speaker{'s' * (speakers != 1)}; licence: {corpus.licence}; "
        f"source: {corpus.source}; fingerprint of the clips: `{corpora.corpus_fingerprint(clips)}`."
    )


def describe_balance(clips: pd.DataFrame) -> str:
    """Return one sentence on whether the emotions of a clip table are equally frequent, and what follows for scores."""
    fewest, most = clips["emotion"].value_counts().agg(["min", "max"])
    if fewest == most:
        return f"{most} per emotion: always predicting the same emotion does no better than chance."
    return f"{fewest} to {most} per emotion: always predicting the most frequent one raises accuracy; see UAR."


def describe_snr(snr: pd.Series) -> str:
    """Return one sentence on the highest and the lowest SNR (dB) of some noisy clips, by emotion."""
    ranked = snr.sort_values()
    return (
        f"Of these examples, the {ranked.index[-1]} clip has the highest SNR ({ranked.iloc[-1]:.1f} dB) and the "
        f"{ranked.index[0]} clip the lowest ({ranked.iloc[0]:.1f} dB). Other clips may rank differently."
    )


def describe_curve(last: Mapping[str, float], classes: int, misleading: Sequence[str] = ()) -> str:
    """Return what the last epoch of a training history suggests: two accuracies and one sentence.

    Args:
        last: `train_accuracy` and `val_accuracy` of the last epoch.
        classes: The number of emotions.
        misleading: Faults of study A that make the validation curve meaningless.
    """
    train, val = last["train_accuracy"], last["val_accuracy"]
    if misleading:
        advice = f"With `{'` and `'.join(misleading)}`, the validation curve is not informative."
    elif train < 2 / classes:
        advice = f"Chance is {1 / classes:.2f}, so the network has learned little so far."
    elif train > val + 0.1:
        advice = "Where the two lines diverge, the network memorises its training clips."
    else:
        advice = "The two lines end close together."
    return f"**Final accuracy: {train:.3f} in training, {val:.3f} in validation.** {advice}"


def describe_ranking(cells: pd.DataFrame, baselines: Sequence[str]) -> str:
    """Return a caption for `scores_with_intervals`: every UAR in descending order, and what the marks mean.

    Args:
        cells: What `evaluation.score_by` returns, one row per model.
        baselines: The rows that are baselines, drawn as diamonds.
    """
    ranked, speakers = cells["uar"].dropna().sort_values(ascending=False), int(cells["speakers"].max())
    scores = ", ".join(f"{name} {uar:.3f}" for name, uar in ranked.items())
    marks = "Circles mark models, diamonds baselines" if len(baselines) < len(cells) else "All are baselines"
    return f"**UAR: {scores}.** {marks}; {describe_whiskers(cells)} ({speakers} test speaker{'s' * (speakers != 1)})."


def claims_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Return the accuracies that Zisad et al. claim next to those of a run, one row per set, with three decimals."""
    return format_decimals(studies.compare_with_claims(result)).rename(index=DISPLAY_NAMES)


def describe_claims(result: Mapping[str, Any]) -> str:
    """Return which claims of Zisad et al. `claims_table` shows, and whether they can be compared with this run."""
    corpus = result["corpus"]["name"]
    text = {
        "ravdess": "The claims are those of the paper for RAVDESS.",
        "local": (
            "The claims are those of the paper for its own recordings, which were never published; no other local "
            "corpus can confirm or refute them."
        ),
    }.get(corpus.removeprefix("demo-"), "The paper makes no claim about this corpus.")
    if corpora.synthetic_notice(corpus, result["split"].get("tested", {}).get("name", "")):
        text += " **Not comparable:** this run uses synthetic speech."
    return f"{text} A dash means that nothing was claimed or measured."
