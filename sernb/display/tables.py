"""Results as text: scores with their intervals, formatted tables, and sentences on what a run means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sernb import corpora
from sernb import evaluation
from sernb import models
from sernb import results
from sernb import studies
from sernb import utils

DISPLAY_NAMES = {"accuracy": "accuracy", "uar": "UAR", "train": "training", "val": "validation", "test": "test"}
NO_VALUE = "\N{EN DASH}"


# scores and numbers


def format_with_interval(row: Mapping[str, Any], score: str = "accuracy") -> str:
    """Format a score with its interval, such as `0.731 [0.700, 0.764]`; of a failed run, return the reason.

    Where there is no interval (too few speakers, or all of them have the same score), a dash stands in its place.

    Args:
        row: The score, its bounds under the same name with `_low` and `_high`, and possibly `status`.
        score: The score's name.
    """
    if row.get("status", "finished") != "finished":
        return str(row["status"])
    value, low, high = row[score], row[f"{score}_low"], row[f"{score}_high"]
    if math.isnan(value):
        return NO_VALUE
    return keep_together(f"{value:.3f} [{low:.3f}, {high:.3f}]" if low < high else f"{value:.3f} [{NO_VALUE}]")


def keep_together(text: str) -> str:
    """Replace spaces by no-break spaces, so that a narrow column does not break a range or an interval."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def format_decimals(table: pd.DataFrame, places: int = 3, missing: str = NO_VALUE) -> pd.DataFrame:
    """Format all floats of a table with the same number of decimals; pandas drops trailing zeros per column."""
    return table.map(lambda value: _format_number(value, places, missing) if isinstance(value, float) else value)


def _format_number(value: float, places: int, missing: str) -> str:
    text = f"{round(value, places) + 0.0:.{places}f}"  # never -0.0
    return missing if math.isnan(value) else text.replace("-", "\N{MINUS SIGN}")


def describe_whiskers(cells: pd.DataFrame, score: str = "uar") -> str:
    """Return what the whiskers of `scores_with_intervals` and `robustness_curves` mean, or why there are none."""
    if cells[f"{score}_low"].notna().any():
        return "whiskers are 95% confidence intervals over speakers"
    return f"no whiskers: an interval needs at least {evaluation.MIN_SPEAKERS} test speakers whose scores differ"


# a run


def describe_outcome(result: Mapping[str, Any]) -> str:
    """Return one sentence: that all models of a `metrics.json` were trained, or which ones failed and when."""
    failed = [f"{name}: {entry['failed']}" for name, entry in result["models"].items() if "failed" in entry]
    return f"**Failed:** {'; '.join(failed)}." if failed else "All models were trained to the last epoch."


def scores_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Return loss, accuracy and UAR of each model and set of a `metrics.json`; test scores have their intervals."""
    rows = [
        {"model": name, "set": DISPLAY_NAMES[side], **_format_side_scores(entry, side)}
        for name, entry in result["models"].items()
        for side in evaluation.SIDES
        if side in entry
    ]
    return pd.DataFrame(rows).set_index(["model", "set"]) if rows else pd.DataFrame()


def _format_side_scores(entry: Mapping[str, Any], side: str) -> dict[str, str]:
    loss = entry[side]["loss"]
    cells = {"loss": _format_number(math.nan if loss is None else loss, 3, NO_VALUE)}
    for score in results.INTERVAL_SCORES:
        value, ends = entry[side][score], [math.nan if end is None else end for end in entry["ci95"][score]]
        row = {score: value, f"{score}_low": ends[0], f"{score}_high": ends[1]}
        text = format_with_interval(row, score) if side == "test" else _format_number(value, 3, NO_VALUE)
        cells[f"{DISPLAY_NAMES[score]} [95% CI]"] = text
    return cells


def format_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Format what `results.results_table` returns: numbered runs, the parameters that differ, and the test scores."""
    last = table.columns.get_loc("model") + 1
    varied = [name for name in table.columns[len(results.RUN_COLUMNS) : last] if table[name].map(str).nunique() > 1]
    rows = table.to_dict("records")
    scores = {
        f"{DISPLAY_NAMES[score]} [95% CI]": [format_with_interval(row, score) for row in rows]
        for score in results.INTERVAL_SCORES
    }
    return table[varied].assign(**scores).set_index(pd.Index(pd.factorize(table["run"])[0], name="run"))


def format_cells(cells: pd.DataFrame, scores: Sequence[str] = results.INTERVAL_SCORES) -> pd.DataFrame:
    """Format what `evaluation.score_by` returns: each score in one column with its interval, and short notes.

    The numbers of rows and speakers explain the notes. For one speaker the interval is omitted: it covers clips
    (Wilson's) and would be mistaken for one over speakers.
    """
    single = cells["speakers"] == 1
    table = cells[["rows", "speakers"]].copy()
    for score in scores:
        rows = cells.assign(**{f"{score}_low": cells[f"{score}_low"].mask(single)}).to_dict("records")
        table[f"{DISPLAY_NAMES[score]} [95% CI]"] = [format_with_interval(row, score) for row in rows]
    notes = cells["note"].str.partition(":")[0].map(keep_together).mask(single, "one speaker: no interval")
    return table.assign(note=notes) if (notes != "").any() else table


def format_split_sizes(sizes: pd.DataFrame) -> pd.DataFrame:
    """Format what `evaluation.split_sizes` returns: one column per set and, with several folds, one row per fold."""
    if sizes.index.nlevels == 1:
        return sizes.rename(index=DISPLAY_NAMES).T.rename_axis("", axis=1)
    emotions = sizes.drop(columns=["rows", "clips", "speakers"])
    texts = [
        f"{row.rows} rows{f' ({row.clips} clips)' * (row.rows != row.clips)}, "
        f"{row.speakers} speaker{'s' * (row.speakers != 1)}, {least}{f' to {most}' * (most > least)} per emotion"
        for row, least, most in zip(sizes.itertuples(), emotions.min(axis=1), emotions.max(axis=1), strict=True)
    ]
    by_side = pd.Series(texts, sizes.index).unstack()
    present = [side for side in evaluation.SIDES if side in by_side]
    return by_side[present].rename(columns=DISPLAY_NAMES).rename_axis("", axis=1)


def describe_unused(table: pd.DataFrame, cuts: Mapping[int, pd.DataFrame], tested: str = "") -> str:
    """Return a sentence on the clips that are in no set of a run; empty where all clips are used.

    Args:
        table: The clips that were split.
        cuts: The splits by fold (`evaluation.make_splits`).
        tested: The name of the other corpus that the run is tested on, if there is one.
    """
    unused = table[~table["clip"].isin(pd.concat(cuts.values())["clip"])]
    speakers = unused["speaker"].nunique()
    reason = f"the run is tested on `{tested}` instead" if tested else "the protocol assigns them to no set"
    text = f"**Not used:** {len(unused)} of {len(table)} clips, from {speakers} speaker{'s' * (speakers != 1)}"
    return f"{text}; {reason}." if len(unused) else ""


def interpret_split(result: Mapping[str, Any]) -> str:
    """Return what a run's score measures, and with which other run to compare it."""
    split = result["split"]
    leaks = split.get("test_leaks", split["leaks"])
    if any(leaks[kind] for kind in evaluation.LEAK_FAULTS):
        return (
            "This split leaks: the score shows how well the network recognises *speakers and clips that it was trained "
            'on*, and says little about new speakers. Run it again with `PROTOCOL = "speaker"` and '
            '`AUGMENT = "train-only"`: the difference estimates the effect of the leak.'
        )
    if "tested" in split:
        return (
            f"The score is for the speakers, rooms and microphones of `{split['tested']['name']}`, none of which "
            'are in the training data. Run it again with `TEST_CORPUS = ""`: the difference estimates the effect of '
            "changing the corpus."
        )
    return (
        "No test speaker is in the training set: the score estimates performance on new speakers. Run it again with "
        '`PROTOCOL = "random"` and `AUGMENT = "before-split"`, as in the paper: the increase in the score estimates '
        "the effect of the leak (plus chance variation when there are few test speakers)."
    )


# many runs


def format_pooled(steps: pd.DataFrame) -> pd.DataFrame:
    """Format what `results.pool_runs` returns: scores with their intervals, and their ranges over seeds, if several."""
    table = pd.DataFrame(index=steps.index)
    for score in results.INTERVAL_SCORES if len(steps) else ():
        rows = steps.to_dict("records")
        table[f"{score} [95% CI]"] = [format_with_interval(row, score) for row in rows]
        ranges = [(row["seeds"], row[f"{score}_least"], row[f"{score}_most"]) for row in rows]
        table[f"{score}, by seed"] = [
            keep_together(f"{least:.3f} to {most:.3f}") if seeds > 1 else "one seed" for seeds, least, most in ranges
        ]
    return table.join(steps[["train_accuracy"]].round(3)).join(steps[["seeds", "speakers", "rows"]])


def compare_with_base(pool: pd.DataFrame, base: str) -> pd.DataFrame:
    """Compare groups of runs with one of them, and their validation accuracy with their test accuracy.

    Args:
        pool: What `results.pool_runs` returns for runs whose `val_accuracy` is their `results.final_val_accuracy`.
        base: The row to compare the others with.

    Returns:
        For each row, UAR and accuracy with their intervals and their differences from `base` in percentage points, the
        final validation accuracy, and its difference from the test accuracy.
    """
    rows, columns = pool.to_dict("records"), {}
    for score in ("uar", "accuracy"):
        columns[f"{score} [95% CI]"] = [format_with_interval(row, score) for row in rows]
        columns[f"{score}, points"] = (100 * (pool[score] - pool.loc[base, score])).round(1).to_numpy()
    columns["validation"] = pool["val_accuracy"].round(3).to_numpy()
    columns["validation above test, points"] = (100 * (pool["val_accuracy"] - pool["accuracy"])).round(1).to_numpy()
    return pd.DataFrame(columns, index=pool.index)


def scores_side_by_side(tables: Mapping[str, pd.DataFrame], score: str) -> pd.DataFrame:
    """Return one score with its interval from several tables of `results.pool_runs`, one column per table."""
    columns = {
        name: pd.Series([format_with_interval(row, score) for row in pool.to_dict("records")], pool.index)
        for name, pool in tables.items()
    }
    return pd.DataFrame(columns)


def describe_epochs(curves: Sequence[pd.DataFrame], level: float) -> str:
    """Describe when the curves of several seeds reach a level: the mean epoch, or how many of them reach it at all."""
    epochs = [results.epochs_to_reach(curve, level) for curve in curves]
    reached = [epoch for epoch in epochs if not math.isnan(epoch)]
    if len(reached) < len(epochs) or not epochs:
        return f"reached by {len(reached)} of {len(epochs)} seeds" if reached else "not reached"
    return f"epoch {np.mean(reached):.0f}"


def redact(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Withhold the columns of a table that would identify people, if its clips are private and a page is built.

    Args:
        frame: The table to display; an index of clips or speakers becomes row numbers.
        table: The clip table whose clips it describes.
    """
    if not corpora.must_redact(table):
        return frame
    hidden = frame.reset_index(drop=True) if set(frame.index.names) & set(corpora.PRIVATE_COLUMNS) else frame.copy()
    for column in set(corpora.PRIVATE_COLUMNS) & set(hidden):
        hidden[column] = corpora.WITHHELD
    return hidden


def format_verdicts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Format `studies.verdict_table` without its reasons: three decimals, a dash where nothing was measured."""
    return format_decimals(verdicts.set_index(["corpus", "claim"]).drop(columns="why"))


def describe_reasons(verdicts: pd.DataFrame) -> str:
    """Return a Markdown list of what each verdict of `studies.verdict_table` is based on."""
    reasons = verdicts.groupby(["corpus", "why"], sort=False)["claim"].agg(list)
    n_claims = verdicts.groupby("corpus").size()
    lines = []
    for (corpus, why), claims in reasons.items():
        names = "all claims" if len(claims) == n_claims[corpus] else ", ".join(claims)
        lines.append(f"- {corpus}, {names}: {why}.")
    return "\n".join(lines)


def describe_waterfall(steps: pd.DataFrame) -> str:
    """Return the waterfall as a Markdown list: the score of each step, and its change in percentage points.

    Args:
        steps: What `results.pool_runs` returns for the steps of the waterfall, in order.
    """
    if len(steps) < 2:
        return "The waterfall has not been measured yet."
    lines = [f"**{steps.index[0][0].upper()}{steps.index[0][1:]}**: {_format_step_score(steps.iloc[0])}."]
    for i in range(1, len(steps)):
        change = evaluation.format_points(steps["accuracy"].iloc[i] - steps["accuracy"].iloc[i - 1])
        lines.append(f"**Then {steps.index[i]}**: {_format_step_score(steps.iloc[i])}, {change} points.")
    return "\n".join(f"- {line}" for line in lines)


def _format_step_score(step: pd.Series) -> str:
    seeds = f"{step['seeds']:.0f} seed{'s' * int(step['seeds'] > 1)}"
    return f"{format_with_interval(step)} ({seeds}, {step['speakers']:.0f} speakers tested)"


def describe_settings(accuracies: pd.DataFrame, claim: float) -> str:
    """Return a sentence with the mean accuracy over the paper's settings, with and without ReLU.

    Args:
        accuracies: One row per split, one column per output activation.
        claim: The mean that the paper reports.
    """
    without = accuracies.drop(columns="relu", errors="ignore")
    return (
        f"**The mean over the {accuracies.size} settings is {accuracies.mean(axis=None):.3f}, and "
        f"{without.mean(axis=None):.3f} without ReLU** (one seed per setting); the paper reports {claim:.3f}."
    )


def describe_provenance(sweeps: Mapping[str, pd.DataFrame]) -> str:
    """Return a Markdown list of sweeps: runs, seeds, training times, fingerprints, revisions, machines and commands.

    Args:
        sweeps: Rows of `results.read_sweep` by the sweep's name.
    """
    return "\n".join(f"- `{name}`: {_describe_origin(name, runs)}" for name, runs in sweeps.items())


def _describe_origin(name: str, runs: pd.DataFrame) -> str:
    finished = runs[runs["status"] == "finished"]
    total, failures = runs["run"].nunique(), runs["run"].nunique() - finished["run"].nunique()
    count = f"{total} run{'s' * (total != 1)}{f' ({failures} failed)' * bool(failures)}"
    if finished.empty:
        return count
    environments = [results.read_metrics(folder)["environment"] for folder in finished["folder"].unique()]
    origin = {
        "seed": finished["SEED"],
        "corpus fingerprint": finished["fingerprint"],
        "revision": finished["revision"].str.replace("+", " with changes"),
        "machine": [environment.get("machine", "unknown") for environment in environments],
    }
    texts = [_describe_values(kind, sorted(set(values))) for kind, values in origin.items()]
    times = keep_together(_describe_times(finished["seconds"].min(), finished["seconds"].max()))
    return (
        f"{count}, {times} of training per model and run; {'; '.join(texts)}; command `sernb sweep sweeps/{name}.yml`"
    )


def _describe_values(kind: str, values: Sequence[Any]) -> str:
    separator = " and " if kind == "machine" else ", "  # the name of a machine contains a comma
    return f"{kind}{'s' * (len(values) != 1)} {separator.join(map(str, values))}"


def _describe_times(shortest: float, longest: float) -> str:
    size, unit = (60, "minute") if longest >= 60 else (1, "second")
    low, high = f"{shortest / size:.0f}", f"{longest / size:.0f}"
    times = high if low == high else f"up to {high}" if low == "0" else f"{low} to {high}"
    return f"{times} {unit}{'s' * (high != '1')}"


def format_robustness(curves: pd.DataFrame, score: str = "uar") -> pd.DataFrame:
    """Format `results.score_distortions`: one row per distortion and level, one column per model."""
    cells = curves.assign(
        distortion=[f"{row.distortion} {row.level:g} {row.unit}".replace(" -", " \N{MINUS SIGN}")
                    if np.isfinite(row.level) else row.distortion for row in curves.itertuples()],
        text=[format_with_interval(row, score) for row in curves.to_dict("records")],
    )  # fmt: skip
    table = cells.pivot(index="distortion", columns="model", values="text")
    return table.loc[cells["distortion"].unique(), curves["model"].unique()].rename_axis(None, axis=1)


def describe_verdict_rule() -> str:
    """Return the sentences that explain the verdicts of `studies.verdict_table`."""
    return (
        f"A claim *holds* if the measured value is at most {100 * studies.TOLERANCE:.0f} points below it, or if any "
        "single seed reaches it. It *holds only with the leak* if this is so, but the value on unseen speakers is more "
        f"than {100 * studies.TOLERANCE:.0f} points below the claim. "
        "*Not reached*: the measured value is further below the claim, and no seed reaches it. "
        "*Cannot be checked*: the recordings were never published."
    )


# a notebook's own sentences


def describe_corpus(clips: pd.DataFrame) -> str:
    """Return one sentence on a corpus: its size, licence, source and fingerprint."""
    corpus = corpora.get_corpus(clips["corpus"].iloc[0])
    speakers = clips["speaker"].nunique()
    return (
        f"**{corpus.title}**: {len(clips):,} clips, {speakers} speaker{'s' * (speakers != 1)}; "
        f"licence: {corpus.licence}; source: {corpus.source}; "
        f"fingerprint of the clips: `{corpora.corpus_fingerprint(clips)}`."
    )


def describe_balance(clips: pd.DataFrame) -> str:
    """Return one sentence on whether the emotions of a clip table are equally frequent, and what follows for scores."""
    if clips.empty:
        return "There are no clips."
    fewest, most = clips["emotion"].value_counts().agg(["min", "max"])
    if fewest == most:
        return f"{most} per emotion, so always predicting the same emotion does no better than chance."
    return f"{fewest} to {most} per emotion, so always predicting the most frequent one raises accuracy; see UAR."


def describe_snr(snr: pd.Series) -> str:
    """Return one sentence on the highest and the lowest SNR (dB) of some noisy clips, by emotion, if there are two."""
    ranked = snr.dropna().sort_values()
    if len(ranked) < 2:
        return ""
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
        advice = f"Chance is {1 / classes:.3f}, so the network has learned little so far."
    elif train > val + 0.1:
        advice = "Where the two lines diverge, the network memorises its training clips."
    else:
        advice = f"The two lines end {100 * abs(train - val):.0f} points apart."
    return f"**Final accuracy: {train:.3f} in training, {val:.3f} in validation.** {advice}"


def describe_ranking(cells: pd.DataFrame, baselines: Sequence[str]) -> str:
    """Return a caption for `scores_with_intervals`: every UAR in descending order, and what the marks mean.

    Args:
        cells: What `evaluation.score_by` returns, one row per model.
        baselines: The rows that are baselines, drawn as diamonds.
    """
    if cells["uar"].isna().all():
        return "No model has a UAR."
    ranked, speakers = cells["uar"].dropna().sort_values(ascending=False), int(cells["speakers"].max())
    scores = ", ".join(f"{name} {uar:.3f}" for name, uar in ranked.items())
    circles = "Circles mark models" + ", diamonds baselines" * bool(baselines)
    marks = circles if len(baselines) < len(cells) else "All are baselines"
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
    elif shortened := _describe_shortening(result["parameters"]):
        text += f" **Not comparable:** this run was shortened ({shortened}); the claims are for complete runs."
    return f"{text} A dash means that nothing was claimed or measured."


def _describe_shortening(parameters: Mapping[str, Any]) -> str:
    """Return which parameters of a run of 03 use fewer clips or epochs than the paper's method; empty for none."""
    texts = []
    if clips := parameters.get("MAX_CLIPS"):
        texts.append(f"at most {clips} clips")
    if emotions := parameters.get("EMOTIONS"):
        texts.append(f"{len(emotions)} emotion{'s' * (len(emotions) != 1)}")
    if parameters.get("CHANNEL", "all") != "all":
        texts.append(f"{parameters['CHANNEL']} only")
    epochs, usual = parameters.get("EPOCHS") or 0, models.get_recipe(parameters.get("RECIPE", "plain")).epochs
    if 0 < epochs < usual:
        texts.append(f"{epochs} epochs instead of {usual}")
    return ", ".join(texts)


def describe_confusion(confusion: np.ndarray, labels: Sequence[str]) -> str:
    """Return a sentence on the most frequent confusion.

    Args:
        confusion: Counts, shape (n_labels, n_labels); rows are the truth, columns the prediction.
        labels: The names of rows and columns.
    """
    errors = np.array(confusion) * (1 - np.eye(len(labels), dtype=int))
    if not errors.any():
        return "No clip is misclassified."
    truth, prediction = np.unravel_index(errors.argmax(), errors.shape)
    clips = errors[truth, prediction]
    return (
        f"The most frequent confusion is {labels[truth]} predicted as {labels[prediction]} "
        f"({clips} clip{'s' * int(clips != 1)})."
    )


def describe_verdicts(verdicts: pd.DataFrame) -> str:
    """Return a list with one line per verdict of `studies.verdict_table`, which names its claims."""
    claims = verdicts["claim"] + " (" + verdicts["corpus"] + ")"
    by_verdict = claims.groupby(verdicts["verdict"], sort=False).agg(", ".join)
    return "\n".join(f"- **{verdict or 'not measured yet'}**: {names}" for verdict, names in by_verdict.items())


def describe_robustness(curves: pd.DataFrame) -> str:
    """Return which distortion lowers UAR most, or that the undistorted score is not above chance.

    Args:
        curves: What `results.score_distortions` returns, of one model.
    """
    plain = curves[curves["distortion"] == "none"].iloc[0]
    if math.isnan(plain["uar_low"]):
        return (
            f"**The undistorted UAR is {plain['uar']:.3f} and chance {plain['chance']:.3f}. There is no interval: it "
            f"needs at least {evaluation.MIN_SPEAKERS} test speakers whose scores differ.**"
        )
    if not plain["uar_low"] > plain["chance"]:
        return (
            f"**The undistorted UAR of {format_with_interval(plain, 'uar')} is not reliably above chance "
            f"({plain['chance']:.3f}), so the effect of distortions cannot be measured.**"
        )
    distorted = curves[curves["distortion"] != "none"].sort_values("uar", kind="stable")
    if distorted.empty:
        return f"The undistorted UAR is {format_with_interval(plain, 'uar')}; no distortion was measured."
    lowest = distorted["uar"].iloc[0]
    if not lowest < plain["uar"]:
        return f"No distortion lowers the undistorted UAR of {format_with_interval(plain, 'uar')}."
    equally_low = distorted[distorted["uar"] < lowest + 0.0005]
    names = [
        f"with {row.distortion}" + f" at {row.level:g} {row.unit}" * pd.notna(row.level)
        for row in equally_low.itertuples()
    ]
    return f"**UAR falls from {plain['uar']:.3f} to {lowest:.3f}, its lowest value, {utils.join_words(names)}.**"


def describe_probabilities(probabilities: pd.Series) -> str:
    """Return what the probabilities of one clip show: the predicted class, or that all are nearly equal."""
    label, highest, lowest = probabilities.idxmax(), probabilities.max(), probabilities.min()
    if highest < 1.5 / len(probabilities):
        return (
            f"**All probabilities are nearly equal, from {lowest:.2f} to {highest:.2f}: the model cannot tell.** It "
            f"still returns a prediction: {label}."
        )
    return (
        f"**The model always returns a prediction, here {label} with a probability of {highest:.2f}.** A high bar "
        "shows how certain the model is, not how often it is right."
    )


def describe_moments(moments: pd.DataFrame) -> str:
    """Return how much the probabilities of `results.predict_windows` change over a recording."""
    change = (moments.max() - moments.min()).max()
    if change < 0.1:
        return f"No probability changes by more than {change:.3f}: the model hardly distinguishes the moments."
    return f"Over the recording, the probability of an emotion varies by up to {change:.2f}."
