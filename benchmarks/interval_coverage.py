"""Measure how often the 95% intervals over speakers contain the true score, and how often the paired test errs.

    python benchmarks/interval_coverage.py                    # writes book/results/coverage/coverage.csv
    python benchmarks/interval_coverage.py --experiments 100  # quicker and rougher

In a simulated experiment, speakers are drawn from a population in which the true score is known: each speaker, and each
speaker's way of expressing each emotion, is easier or harder to recognise. The interval that `sernb` computes from the
experiment should contain the true score in 95% of the experiments.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit
from scipy.special import logit
from scipy.stats import binomtest

from sernb.evaluation import intervals
from sernb.evaluation import uar

ROOT = Path(__file__).parents[1]
SPEAKERS = (4, 6, 12, 24, 91)
RESAMPLES = 1000  # of the percentile bootstrap


@dataclass(frozen=True)
class Population:
    """Speakers from whom an experiment draws.

    `recalls` is the model's mean recall of each emotion, `clips` the mean number of clips of a speaker and emotion,
    `uneven` whether that number varies, and `speaker_sd` and `emotion_sd` are the standard deviations of the log odds
    between speakers, and between the emotions of one speaker.
    """

    recalls: tuple[float, ...]
    clips: int
    speaker_sd: float = 0.5
    emotion_sd: float = 0.8
    uneven: bool = False


POPULATIONS = {
    "UAR 0.65, 8 emotions, 8 clips each": Population(tuple(np.linspace(0.45, 0.85, 8)), 8),
    "UAR 0.45, 8 emotions, 8 clips each": Population(tuple(np.linspace(0.25, 0.65, 8)), 8),
    "UAR 0.45, 6 emotions, 1 clip each": Population(tuple(np.linspace(0.25, 0.65, 6)), 1),
    "UAR 0.75, 7 emotions, uneven": Population(tuple(np.linspace(0.6, 0.9, 7)), 8, uneven=True),
    "UAR 0.93, 8 emotions, 8 clips each": Population(tuple(np.linspace(0.88, 0.98, 8)), 8, speaker_sd=0.8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "book" / "results" / "coverage" / "coverage.csv")
    options = parser.parse_args()
    rows = []
    for row in measure_all(options.experiments, options.seed):
        rows.append(row)
        print({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}, flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(options.output, index=False, float_format="%.4f")


def measure_all(experiments: int, seed: int) -> Iterator[dict]:
    """Yield one row per population and number of speakers, with the fraction of intervals that contain the truth."""
    for index, (name, population) in enumerate(POPULATIONS.items()):
        for speakers in SPEAKERS:
            rng = np.random.default_rng([seed, index, speakers])
            hits = np.array([run_experiment(population, speakers, rng) for _ in range(experiments)])
            row = {"population": name, "speakers": speakers, "experiments": experiments}
            for column, values in zip(("jackknife", "bootstrap", "difference", "false_positives"), hits.T, strict=True):
                known = values[~np.isnan(values)]
                row[column] = float(known.mean())
            ends = binomtest(int(np.nansum(hits[:, 0])), experiments).proportion_ci()
            yield row | {"jackknife_low": float(ends.low), "jackknife_high": float(ends.high)}


def run_experiment(population: Population, speakers: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Draw speakers; return whether each interval contains the truth, and whether the test finds a false difference.

    Returns:
        For the UAR of one model: the jackknife's interval, the percentile bootstrap's. For a second model that is 10
        points of recall worse where that is possible: the interval of the difference. For a second model that is
        equally good: 1 if p is below 0.05.
    """
    truth = float(np.mean(population.recalls))
    counts = draw_counts(population, speakers, rng)
    shared = rng.standard_normal((speakers, 1))
    first, equal = (draw_answers(population.recalls, population, counts, shared, rng) for _ in range(2))
    low, high = intervals.jackknife_interval(first, uar)
    weights = rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=RESAMPLES)
    ends = np.quantile(uar(np.tensordot(weights, first, axes=1)), (0.025, 0.975))
    worse_recalls = tuple(max(recall - 0.1, 0.05) for recall in population.recalls)
    worse = draw_answers(worse_recalls, population, counts, shared, rng)
    difference = intervals.compare_score(np.stack([first, worse], axis=1), uar)
    gap = truth - float(np.mean(worse_recalls))
    null = intervals.compare_score(np.stack([first, equal], axis=1), uar)
    return (
        float(low <= truth <= high),
        float(ends[0] <= truth <= ends[1]),
        float(difference["low"] <= gap <= difference["high"]),
        float(null["p"] < 0.05),
    )


def draw_counts(population: Population, speakers: int, rng: np.random.Generator) -> np.ndarray:
    """Return the number of clips of each speaker and emotion."""
    shape = (speakers, len(population.recalls))
    if not population.uneven:
        return np.full(shape, population.clips)
    spread = rng.gamma(3, 1 / 3, (speakers, 1)) * rng.gamma(2, 1 / 2, shape)
    counts = rng.poisson(population.clips * spread)
    counts[0, counts.sum(axis=0) == 0] = 1  # no emotion is missing altogether
    return counts


def draw_answers(
    recalls: tuple[float, ...],
    population: Population,
    counts: np.ndarray,
    shared: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return a confusion matrix for each speaker; models share what makes a speaker easy or hard, not the emotions."""
    effects = population.speaker_sd * shared + population.emotion_sd * rng.standard_normal(counts.shape)
    spread = np.hypot(population.speaker_sd, population.emotion_sd)
    right = rng.binomial(counts, expit(np.array([_mean_log_odds(recall, spread) for recall in recalls]) + effects))
    matrices = np.zeros((*counts.shape, counts.shape[1]))
    emotions = np.arange(counts.shape[1])
    matrices[:, emotions, emotions] = right
    matrices[:, emotions, (emotions + 1) % len(emotions)] += counts - right
    return matrices


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)  # to integrate over a normal distribution


@cache
def _mean_log_odds(recall: float, spread: float) -> float:
    """Return the mean of the log odds for which the mean recall over speakers is `recall`."""

    def gap(mean: float) -> float:
        return float(expit(mean + spread * NODES) @ WEIGHTS / WEIGHTS.sum()) - recall

    return brentq(gap, logit(recall) - 5, logit(recall) + 5)


if __name__ == "__main__":
    main()
