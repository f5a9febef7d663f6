"""Floor 3: what Zisad, Hossain and Andersson (2020) claim, beside what was measured, and a verdict for each claim."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from sernb import splits
from sernb import wording

# No test set of this size tells figures apart that are nearer; a claim counts as reached from so far below it.
TOLERANCE = 0.02


def claimed(corpus: str) -> pd.Series:
    """The accuracies that the paper claims for a corpus (or its demo), by quantity: `mean test` and the like.

    Empty for a corpus that the paper does not treat.
    """
    table = pd.read_csv(files("sernb").joinpath("data/claims.csv"))
    return table[table["corpus"] == corpus.removeprefix("demo-")].set_index("quantity")["value"]


def against(result: Mapping[str, Any]) -> pd.DataFrame:
    """The paper's accuracies for a run's corpus beside the run's own, by side; NaN where either is mute."""
    known = claimed(result["corpus"]["name"])
    if "tested" in result["split"]:  # the paper tested on the corpus that it trained on
        known = known.drop([name for name in known.index if name.endswith("test")])
    measured = next(iter(result["models"].values()))
    rows = {
        side: {
            "claimed, mean of its runs": known.get(f"mean {side}", np.nan),
            "claimed, best": known.get(f"best {side}", np.nan),
            "this run": measured.get(side, {}).get("accuracy", np.nan),
        }
        for side in splits.SIDES
    }
    return pd.DataFrame(rows).T


def table(tries: pd.DataFrame, published: pd.DataFrame, unseen: pd.DataFrame) -> pd.DataFrame:
    """Each claim of the paper, what the paper's way gives, what is left of it on unseen speakers, and a verdict.

    A claimed best is held against the best of all `tries`, a claimed mean against the seeds of the best setting. The
    paper's mean is over its settings, but a mean in which an output activation that never learnt weighs as much as the
    others would judge the activation and not the recipe. Nobody can check the claims about the local corpus, which was
    never published.

    Args:
        tries: Every run in the paper's way (split by clip, copies before the split), as rows of `results.swept`.
        published: Those of them with the paper's best setting, one a seed, as `best_training` picks them.
        unseen: Runs with no speaker on two sides and no copies, one a seed.

    Returns:
        `corpus`, `claim` (`best train` and the like), `claimed`, `measured`, `unseen` (mean over seeds; NaN where
        nothing was measured, or where the claim is about training clips), `verdict` and `why`.
    """
    rows = [
        {"corpus": "RAVDESS", "claim": quantity, "claimed": value, **_judged(quantity, value, tries, published, unseen)}
        for quantity, value in claimed("ravdess").items()
    ]
    lost = {"measured": np.nan, "unseen": np.nan, "verdict": "cannot be checked"}
    why = "never published"
    rows += [
        {"corpus": "local", "claim": quantity, "claimed": value, **lost, "why": why}
        for quantity, value in claimed("local").items()
    ]
    return pd.DataFrame(rows)


def best_training(runs: pd.DataFrame) -> pd.DataFrame:
    """Of runs of one setting, those trained the way that does best on validation, one a seed.

    The paper says neither how nor for how long it trained, so its mean is held against the best way known here; ways
    with fewer seeds than another has are left out.

    Args:
        runs: Rows of `results.swept` with `RECIPE`, `epochs` and `val_accuracy`.
    """
    ways = [way for _, way in runs[runs["status"] == "finished"].groupby(["RECIPE", "epochs"])]
    most = max(map(len, ways), default=0)
    return max((way for way in ways if len(way) == most), key=lambda way: way["val_accuracy"].mean(), default=runs[:0])


def _judged(
    quantity: str, value: float, tries: pd.DataFrame, published: pd.DataFrame, unseen: pd.DataFrame
) -> dict[str, Any]:
    how, side = quantity.split()
    column = "accuracy" if side == "test" else f"{side}_accuracy"
    found = (tries if how == "best" else published)[column].astype(float).dropna()
    measured = found.max() if how == "best" else found.mean()
    honest = np.nan if side == "train" else unseen[column].astype(float).mean()
    verdict, why = judge(value, measured, honest, most=found.max(), of_training=side == "train")
    if how == "best":
        told = f"best of {len(found)} runs"
    else:
        told = f"{len(found)} seeds: {found.min():.3f} to {found.max():.3f}"
    return {"measured": measured, "unseen": honest, "verdict": verdict, "why": f"{told}{why}" if verdict else why}


def shown(verdicts: pd.DataFrame) -> pd.DataFrame:
    """What `table` returns, for people: three digits, a dash where nothing was measured, ranges in one line."""
    said = verdicts.set_index(["corpus", "claim"])
    said = said.map(lambda value: f"{value:.3f}" if isinstance(value, float) else value).replace("nan", "\N{EN DASH}")
    return said.replace(r"(\d) to (\d)", "\\1\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}\\2", regex=True)


def judge(
    value: float, measured: float, honest: float, *, most: float = np.nan, of_training: bool = False
) -> tuple[str, str]:
    """`holds`, `holds only with the leak` or `not reached`, and what else to know of it.

    Where a measurement is missing, the verdict is empty; of what nobody can measure, `table` says `cannot be checked`.

    Args:
        value: The claimed accuracy.
        measured: The accuracy that the paper's way gives.
        honest: The accuracy on unseen speakers.
        most: That of the best seed: a claim that one seed reaches is reached.
        of_training: Whether the claim is about the clips trained on: then unseen speakers have no part in it.
    """
    if np.isnan(measured) or (np.isnan(honest) and not of_training):
        return "", "not measured yet"
    measured, most = round(measured, 3), round(most, 3)  # the claims have three digits
    if not (measured >= round(value - TOLERANCE, 3) or most >= value):
        return "not reached", ""
    if of_training:
        return "holds", ", known clips"
    if honest < value - TOLERANCE:
        return "holds only with the leak", ""
    return "holds", ", unseen speakers too"


def story(steps: pd.DataFrame) -> str:
    """The waterfall in words, for a page: where it begins, what each step costs, and what is left.

    Args:
        steps: What `results.pooled` returns for the steps of the waterfall, in order.
    """
    if len(steps) < 2:
        return "The waterfall has not been measured yet."
    words = [f"**{steps.index[0][0].upper()}{steps.index[0][1:]}**: {_score(steps.iloc[0])}."]
    for i in range(1, len(steps)):
        change = f"{100 * (steps['accuracy'].iloc[i] - steps['accuracy'].iloc[i - 1]):+.1f}"
        change = change.replace("-", "\N{MINUS SIGN}")
        words.append(f"**Then {steps.index[i]}**: {_score(steps.iloc[i])}, {change} points.")
    return "\n".join(f"- {line}" for line in words)


def _score(step: pd.Series) -> str:
    seeds = f"{step['seeds']:.0f} seed{'s' * int(step['seeds'] > 1)}"
    return f"{wording.with_interval(step)} ({seeds}, {step['speakers']:.0f} speakers tested)"


def provenance(sweeps: Mapping[str, pd.DataFrame]) -> str:
    """For a page: how many runs of each sweep there are, on which clips, at which revisions, and how long they took."""
    return "\n".join(f"- `{name}`: {_origin(runs)}" for name, runs in sweeps.items())


def _origin(runs: pd.DataFrame) -> str:
    finished = runs[runs["status"] == "finished"]
    minutes = f"{finished['seconds'].min() / 60:.0f} to {finished['seconds'].max() / 60:.0f} minutes of training each"
    failed = f", {len(runs) - len(finished)} of them failed" if len(runs) > len(finished) else ""
    prints, revisions = (", ".join(sorted(set(finished[what].astype(str)))) for what in ("fingerprint", "revision"))
    return f"{len(runs)} runs{failed}, {minutes}; fingerprint of the clips {prints}, revision {revisions}"
