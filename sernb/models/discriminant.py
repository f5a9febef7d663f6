"""A linear discriminant on a clip's functionals: small, solved rather than trained, good on unseen speakers.

Its weights have a closed form (Fisher's discriminant with a shrunken covariance), so that it has no epochs, no rate
and no initial weights to choose. What it is taught beside the clips is that they can be said by other voices: each
recording is played at several speeds. It ends as a Keras model like any other.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import audio
from sernb import evaluation
from sernb import features
from sernb.models.training import HISTORY_COLUMNS
from sernb.models.training import FitResult
from sernb.models.training import one_hot
from sernb.models.training import predict_rows

if TYPE_CHECKING:
    import keras

DISCRIMINANT, TRANSDUCTIVE = "discriminant", "discriminant-transductive"
DEFAULT_COPIES = 8
DEFAULT_SHRINKAGE = 15  # per cent
FIT_SIDES = ("train", "val")


@dataclass(frozen=True)
class SplitFeatures:
    """One split: its rows with the numbers to answer from, and what may be learnt from, other voices included.

    `x` has shape (n, numbers), `taught_x` a row for each of `taught`.
    """

    rows: pd.DataFrame
    x: np.ndarray
    taught: pd.DataFrame
    taught_x: np.ndarray

    def learnt(self, sides: Sequence[str]) -> tuple[np.ndarray, pd.Series]:
        """Numbers and emotions of what is taught of some sides."""
        inside = self.taught["split"].isin(sides).to_numpy()
        return self.taught_x[inside], self.taught.loc[inside, "emotion"]


def extract_split_features(
    rows: pd.DataFrame, *, sample_rate: int = 16000, copies: int = DEFAULT_COPIES, seed: int = 0
) -> SplitFeatures:
    """The functionals of a split: steady ones to answer from, and those of other voices too to learn from.

    Args:
        rows: What `evaluation.make_split` returns, without copies.
        sample_rate: In Hz.
        copies: Other voices for each clip outside the test side: `audio.augment` by `voice`.
        seed: Of their speeds.
    """
    outside = rows[rows["split"] != "test"]
    taught = pd.concat([outside.assign(copy=copy) for copy in range(copies + 1)], ignore_index=True)
    made = {"sample_rate": sample_rate, "augmentation": audio.SPEED_PERTURBATION, "seed": seed}
    x = features.extract(rows, "functionals", **made)
    return SplitFeatures(rows, x, taught, features.extract(taught, "functionals", **made, speeds=1))


def normalise_by_speaker(part: SplitFeatures) -> SplitFeatures:
    """Each speaker's numbers in units of that speaker's own mean and deviation, the test speakers' too.

    That looks at the test clips of a speaker together, though not at their labels: a transductive setting, for where
    one has many clips of one voice before one must answer.
    """
    return replace(part, x=_in_speaker_units(part.x, part.rows), taught_x=_in_speaker_units(part.taught_x, part.taught))


def _in_speaker_units(x: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    out = np.empty_like(x)
    for at in rows.groupby(["speaker", "copy"]).indices.values():
        deviation = x[at].std(axis=0)
        out[at] = (x[at] - x[at].mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1)
    return out


@dataclass(frozen=True)
class ClassStatistics:
    """What a discriminant learns from: the numbers' means and deviations, shape (numbers,), and in their units each
    emotion's means, shape (labels, numbers), and the covariance within emotions, shape (numbers, numbers).
    """

    mean: np.ndarray
    deviation: np.ndarray
    centres: np.ndarray
    covariance: np.ndarray


def class_statistics(x: np.ndarray, emotions: pd.Series, labels: Sequence[str]) -> ClassStatistics:
    """The moments of rows, shape (n, numbers), every emotion counting the same however many rows it has."""
    mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    deviation = np.where(deviation > 0, deviation, 1)
    rows = (x - mean) / deviation
    each = [rows[(emotions == label).to_numpy()] for label in labels]
    centres = np.stack([one.mean(axis=0) for one in each])
    inner = [one - centre for one, centre in zip(each, centres, strict=True)]
    return ClassStatistics(mean, deviation, centres, sum(one.T @ one / len(one) for one in inner) / len(labels))


def solve_discriminant(
    known: ClassStatistics, shrinkage: int = DEFAULT_SHRINKAGE, numbers: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's linear discriminant, its covariance shrunken towards equal variances, every emotion equally likely.

    The same as scikit-learn's `LinearDiscriminantAnalysis` with `lsqr`, which does not keep the covariance, and so
    would count it anew for each setting of `ablation`.

    Args:
        known: What `moments` returns.
        shrinkage: Per cent: 0 trusts the covariance, 100 the variances alone.
        numbers: Boolean, one value each: those that it may use; all if not given.

    Returns:
        Weights, shape (numbers, labels), and biases, shape (labels,), that make logits of a row as it was measured.
    """
    from scipy.linalg import solve

    use = np.ones(len(known.mean), dtype=bool) if numbers is None else numbers
    covariance, centres = known.covariance[np.ix_(use, use)], known.centres[:, use]
    level = shrinkage / 100 * np.trace(covariance) / use.sum()
    shrunken = (1 - shrinkage / 100) * covariance + (level + 1e-9) * np.eye(use.sum())
    weights = np.zeros((len(use), len(centres)))
    weights[use] = solve(shrunken, centres.T, assume_a="pos")
    biases = -0.5 * (centres.T * weights[use]).sum(axis=0)
    weights /= known.deviation[:, None]
    return weights, biases - known.mean @ weights


def discriminant_model(weights: np.ndarray, biases: np.ndarray, name: str = DISCRIMINANT) -> keras.Model:
    """A solved discriminant as a Keras model: one dense layer and a softmax on (numbers, 1) inputs."""
    import keras
    from keras import layers

    built = keras.Sequential(
        [
            keras.Input((len(weights), 1)),
            layers.Flatten(),
            layers.Dense(len(biases), activation="softmax", dtype="float32"),
        ],
        name=name,
    )
    built.layers[-1].set_weights([weights, biases])
    return built


def fit_discriminant(
    part: SplitFeatures, labels: Sequence[str], *, shrinkage: int = DEFAULT_SHRINKAGE, name: str = DISCRIMINANT
) -> FitResult:
    """Solve a discriminant for one split, and predict every row with it.

    Two are solved. The first is taught the training side alone and answers for the validation rows: that is the figure
    to choose by. The second is taught both sides, answers for all other rows, and is the one that is kept.

    Args:
        part: What `prepare` returns.
        labels: The run's label list.
        shrinkage: Of `solve`.
        name: Of the model in every file.

    Returns:
        As `models.fit`; the history has one epoch.
    """
    start = time.perf_counter()
    first, kept = (
        solve_discriminant(class_statistics(*part.learnt(sides), labels), shrinkage)
        for sides in (("train",), FIT_SIDES)
    )
    softer = _fit_temperature(part, labels, *first)
    first, kept = (discriminant_model(weights / softer, biases / softer, name) for weights, biases in (first, kept))
    seconds = time.perf_counter() - start
    x, y = part.x[..., None], one_hot(part.rows["emotion"], list(labels))
    (told, losses), (chosen, before) = (predict_rows(one, x, y, part.rows, list(labels)) for one in (kept, first))
    val = (part.rows["split"] == "val").to_numpy()
    told[val] = chosen[val]
    losses["val"] = before["val"]
    return FitResult(kept, _history_table(told, losses, name), told, seconds, losses)


def _fit_temperature(part: SplitFeatures, labels: Sequence[str], weights: np.ndarray, biases: np.ndarray) -> float:
    """By what to divide the logits so that the validation speakers' probabilities mean what they say.

    The formula takes the numbers for normally distributed, and is far too sure of itself. No answer changes. Guo et
    al. 2017, arXiv 1706.04599.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    val = (part.rows["split"] == "val").to_numpy()
    logits = part.x[val] @ weights + biases
    truth = one_hot(part.rows.loc[val, "emotion"], list(labels)).astype(bool)
    loss = lambda power: -log_softmax(logits / np.exp(power), axis=1)[truth].mean()  # noqa: E731
    return float(np.exp(minimize_scalar(loss, bounds=(0, 6), method="bounded").x))


def _history_table(told: pd.DataFrame, losses: Mapping[str, float], name: str) -> pd.DataFrame:
    right = (told["truth"] == told["prediction"]).groupby(told["split"]).mean()
    row = {
        f"{side}_{what}": value
        for side in FIT_SIDES
        for what, value in (("loss", losses[side]), ("accuracy", right[side]))
    }
    return pd.DataFrame([{"model": name, "epoch": 1, **row}])[HISTORY_COLUMNS]


def ablate(
    parts: Sequence[SplitFeatures], labels: Sequence[str], *, shrinkage: int = DEFAULT_SHRINKAGE
) -> pd.DataFrame:
    """What each ingredient is worth: without it, a discriminant of the training side answers for validation speakers.

    Args:
        parts: One or several splits.
        labels: The run's label list.
        shrinkage: Of `solve`.

    Returns:
        One row a setting, `all of it` first, with `numbers` and the columns of `evaluation.score_by`. A speaker who is
        validation in two splits counts in both.
    """
    group = features.feature_groups()
    without = {name: group != name for name in dict.fromkeys(group)}
    told, numbers = [], {}
    for part in parts:
        known = class_statistics(*part.learnt(("train",)), labels)
        alone = class_statistics(*_without_copies(part).learnt(("train",)), labels)
        solved = {"all of it": solve_discriminant(known, shrinkage)}
        solved |= {f"without {name}": solve_discriminant(known, shrinkage, use) for name, use in without.items()}
        solved |= {
            "without other voices": solve_discriminant(alone, shrinkage),
            "without shrinkage": solve_discriminant(known, 0),
        }
        told += [_validation_score(part, labels, *one).assign(model=name) for name, one in solved.items()]
        numbers |= {name: int((weights != 0).any(axis=1).sum()) for name, (weights, _) in solved.items()}
    cells = evaluation.score_by(pd.concat(told), "model")
    cells.insert(0, "numbers", pd.Series(numbers))
    return cells


def _without_copies(part: SplitFeatures) -> SplitFeatures:
    own = (part.taught["copy"] == 0).to_numpy()
    return replace(part, taught=part.taught[own], taught_x=part.taught_x[own])


def _validation_score(
    part: SplitFeatures, labels: Sequence[str], weights: np.ndarray, biases: np.ndarray
) -> pd.DataFrame:
    val = (part.rows["split"] == "val").to_numpy()
    answers = np.array(labels, dtype=object)[(part.x[val] @ weights + biases).argmax(axis=1)]
    rows = part.rows.loc[val, ["clip", "speaker", "emotion"]].rename(columns={"emotion": "truth"})
    return rows.assign(prediction=answers)


def logit_contributions(part: SplitFeatures, labels: Sequence[str], kept: keras.Model) -> pd.DataFrame:
    """What speaks for each test clip's answer: the exact share of each group of numbers in its logit.

    A linear model hides nothing: its logit is a sum over the numbers. Counted is how far a clip lies from the mean of
    the fitted rows, weighed by what the answer's weights have above those of the other emotions on average.

    Args:
        part: The split that the model was fitted on.
        labels: The run's label list.
        kept: `fit`'s model.

    Returns:
        One row a test row, with its index in `part.rows`; `truth`, `prediction`, and a column a group, in nats.
    """
    weights, _ = kept.layers[-1].get_weights()
    test = (part.rows["split"] == "test").to_numpy()
    usual = part.learnt(FIT_SIDES)[0].mean(axis=0)
    answer = (part.x[test] @ weights + kept.layers[-1].get_weights()[1]).argmax(axis=1)
    above = weights - (weights.sum(axis=1, keepdims=True) - weights) / (len(labels) - 1)
    each = (part.x[test] - usual) * above.T[answer]
    group = features.feature_groups()
    told = pd.DataFrame({name: each[:, group == name].sum(axis=1) for name in dict.fromkeys(group)})
    told.insert(0, "prediction", np.array(labels, dtype=object)[answer])
    told.insert(0, "truth", part.rows.loc[test, "emotion"].to_numpy())
    return told.set_index(part.rows.index[test])
