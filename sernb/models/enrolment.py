"""The discriminant for a speaker of whom some clips are known, without their emotions (speaker enrolment).

Every clip is centred on its speaker's mean before it is classified. The mean of a new speaker is estimated from k
enrolment clips and shrunk towards the mean of the training speakers, which counts as n further clips:
(x_1 + ... + x_k + n prior) / (k + n). The prior suits speakers who were recorded like the training speakers: a
fraction n / (k + n) of the difference that another microphone, room or language makes remains.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from sernb.models.discriminant import DEFAULT_SHRINKAGE
from sernb.models.discriminant import FIT_SIDES
from sernb.models.discriminant import SplitFeatures
from sernb.models.discriminant import class_statistics
from sernb.models.discriminant import solve_discriminant

ENROLLED = "discriminant-enrolled"
DEFAULT_ENROL_CLIPS = 8
DEFAULT_PRIOR_CLIPS = 4
MIN_AVAILABLE = 0.7  # least fraction of the tested clips for which there are as many enrolment clips
ENROLMENT_SOURCES = ("any", "other sentences", "one emotion", "neutral")


def speaker_mean(x: np.ndarray, prior: np.ndarray, prior_clips: int) -> np.ndarray:
    """Estimate a speaker's mean from k enrolment clips; with none it is the prior.

    Args:
        x: The clips' features, shape (..., k, d).
        prior: The mean of the training speakers, shape (d,).
        prior_clips: The number of clips that the prior counts as, at least 1.
    """
    return (x.sum(axis=-2) + prior_clips * prior) / (x.shape[-2] + prior_clips)


def training_mean(split: SplitFeatures) -> np.ndarray:
    """Return the mean over the training speakers of each speaker's mean, shape (d,)."""
    train = split.side("train")
    speakers = split.rows.loc[train, "speaker"].to_numpy()
    return pd.DataFrame(split.x[train]).groupby(speakers).mean().mean().to_numpy()


def enrol_speakers(
    split: SplitFeatures,
    clips: int = DEFAULT_ENROL_CLIPS,
    *,
    prior_clips: int = DEFAULT_PRIOR_CLIPS,
    seed: int = 0,
) -> SplitFeatures:
    """Centre each row on its speaker's mean.

    For a row to predict, the mean is estimated from other clips; for a row to fit on, it is that of all the speaker's
    rows to fit on.

    Args:
        split: The result of `extract_split_features`.
        clips: Number of enrolment clips of each row, drawn as by `draw_enrolment`.
        prior_clips: As for `speaker_mean`.
        seed: Seed of the choice of clips.
    """
    prior = training_mean(split)
    drawn = draw_enrolment(split.rows, clips, seed=seed)
    means = np.stack([speaker_mean(split.x[others], prior, prior_clips) for others in drawn])
    return replace(split, x=(split.x - means).astype(np.float32), fit_x=_centre_speakers(split.fit_x, split.fit_rows))


def _centre_speakers(x: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Subtract from each row the mean of all rows of its speaker."""
    out = np.empty_like(x)
    for at in rows.groupby("speaker").indices.values():
        out[at] = x[at] - x[at].mean(axis=0)
    return out


def draw_enrolment(rows: pd.DataFrame, clips: int, source: str = "any", *, seed: int = 0) -> list[np.ndarray]:
    """Draw enrolment clips for each row: other clips of the same speaker, never the row itself.

    Args:
        rows: `corpus`, `speaker`, `emotion` and `statement` of each clip.
        clips: How many; all there are if that is fewer.
        source: One of `ENROLMENT_SOURCES`: any clip, only other sentences than that of the row, only one emotion (drawn
            for each row), or only neutral clips.
        seed: Seed of the choice.

    Returns:
        For each row the positions of its enrolment clips.
    """
    rng = np.random.default_rng(seed)
    by_speaker = rows.groupby(["corpus", "speaker"]).indices  # two corpora may use the same ids
    emotions, statements = (rows[name].to_numpy(dtype=str) for name in ("emotion", "statement"))
    drawn = []
    for row, speaker in enumerate(zip(rows["corpus"], rows["speaker"], strict=True)):
        others = by_speaker[speaker][by_speaker[speaker] != row]
        if source == "other sentences":
            others = others[statements[others] != statements[row]]
        elif source == "neutral":
            others = others[emotions[others] == "neutral"]
        elif source == "one emotion" and len(others):
            others = others[emotions[others] == rng.choice(np.unique(emotions[others]))]
        drawn.append(rng.choice(others, min(clips, len(others)), replace=False))
    return drawn


def enrolment_predictions(
    splits: Iterable[SplitFeatures],
    labels: Sequence[str],
    numbers: Sequence[int] = (0, 1, 2, 4, 8, 16, 32),
    *,
    sources: Sequence[str] = ("any",),
    side: str = "test",
    prior_clips: int = DEFAULT_PRIOR_CLIPS,
    shrinkage: int = DEFAULT_SHRINKAGE,
    draws: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict clips with each of several numbers of enrolment clips; without any, by the discriminant that needs none.

    Args:
        splits: One or several splits.
        labels: The run's label list.
        numbers: Numbers of enrolment clips; one that is not available for at least 70% of the clips is left out.
        sources: Where the enrolment clips come from, see `draw_enrolment`.
        side: `test`, or `val` for discriminants fitted on the training set alone.
        prior_clips: As for `speaker_mean`.
        shrinkage: As for `solve_discriminant`.
        draws: How often the enrolment clips are drawn.
        seed: Seed of the first draw; the next ones have the seeds that follow.

    Returns:
        One row per source, number, draw and clip of the set, with `clip`, `copy`, `speaker`, `truth`, `prediction`,
        `source`, `enrolment clips` and `draw`. `evaluation.score_by` of the rows of one source, by `enrolment clips`,
        is its learning curve.
    """
    splits = list(splits)
    available = {source: _available_numbers(splits, numbers, source, side, seed) for source in sources}
    predictions = []
    for split in splits:
        predict = _fit_side(split, labels, side, prior_clips, shrinkage)
        for source, number, draw in itertools.product(sources, numbers, range(draws)):
            if number in available[source]:
                drawn = draw_enrolment(split.rows[split.side(side)], number, source, seed=seed + draw)
                columns = {"source": source, "enrolment clips": number, "draw": draw}
                predictions.append(predict(drawn).assign(**columns))
    return pd.concat(predictions, ignore_index=True)


def _available_numbers(
    splits: Sequence[SplitFeatures], numbers: Sequence[int], source: str, side: str, seed: int
) -> list[int]:
    """Return the numbers of enrolment clips that are available for most clips of a set."""
    drawn = [draw_enrolment(split.rows[split.side(side)], max(numbers), source, seed=seed) for split in splits]
    counts = np.array([len(others) for rows in drawn for others in rows])
    return [number for number in numbers if (counts >= number).mean() >= MIN_AVAILABLE]


def _fit_side(
    split: SplitFeatures, labels: Sequence[str], side: str, prior_clips: int, shrinkage: int
) -> Callable[[list[np.ndarray]], pd.DataFrame]:
    """Solve both discriminants and return a function from the enrolment clips of a set's rows to its predictions.

    The logits are linear: the weights are applied to each clip once, and to the mean of clips by taking the mean.
    """
    fit_sides = ("train",) if side == "val" else FIT_SIDES
    centred = replace(split, fit_x=_centre_speakers(split.fit_x, split.fit_rows))
    plain, enrolled = (
        solve_discriminant(class_statistics(*part.training_data(fit_sides), labels), shrinkage)
        for part in (split, centred)
    )
    inside, (weights, biases) = split.side(side), enrolled
    x, prior = split.x[inside] @ weights, training_mean(split) @ weights
    rows = split.rows.loc[inside, ["clip", "speaker", "emotion"]].rename(columns={"emotion": "truth"}).assign(copy=0)

    def predict(drawn: list[np.ndarray]) -> pd.DataFrame:
        """Predict the rows of the set with these enrolment clips."""
        if any(map(len, drawn)):
            logits = x - [speaker_mean(x[clips], prior, prior_clips) for clips in drawn] + biases
        else:
            logits = split.x[inside] @ plain[0] + plain[1]
        return rows.assign(prediction=np.array(labels, dtype=object)[logits.argmax(axis=1)])

    return predict
