"""Floor 3: a linear discriminant on a clip's functionals: small, solved rather than trained, good on unseen speakers.

Its weights have a closed form (Fisher's discriminant with a shrunken covariance), so that it has no epochs, no rate
and no initial weights to choose. What it is taught beside the clips is that they can be said by other voices: each
recording is played at several speeds. It ends as a Keras model like any other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import audio
from sernb import features
from sernb import functionals
from sernb import metrics
from sernb import training

if TYPE_CHECKING:
    import keras

NAME, TRANSDUCTIVE = "discriminant", "discriminant-transductive"
COPIES = 8
SHRINKAGE = 15  # per cent
FITTED = ("train", "val")


@dataclass(frozen=True)
class Part:
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


def prepare(rows: pd.DataFrame, *, sample_rate: int = 16000, copies: int = COPIES, seed: int = 0) -> Part:
    """The functionals of a split: steady ones to answer from, and those of other voices too to learn from.

    Args:
        rows: What `splits.prepare` returns, without copies.
        sample_rate: In Hz.
        copies: Other voices for each clip outside the test side: `audio.augment` by `voice`.
        seed: Of their speeds.
    """
    outside = rows[rows["split"] != "test"]
    taught = pd.concat([outside.assign(copy=copy) for copy in range(copies + 1)], ignore_index=True)
    made = {"sample_rate": sample_rate, "augmentation": audio.VOICE, "seed": seed}
    x = features.extract(rows, "functionals", **made)
    return Part(rows, x, taught, features.extract(taught, "functionals", **made, speeds=1))


def only(part: Part, numbers: np.ndarray) -> Part:
    """A split that knows some of the numbers alone; `numbers` is boolean, one value each."""
    return replace(part, x=part.x[:, numbers], taught_x=part.taught_x[:, numbers])


def by_speaker(part: Part) -> Part:
    """Each speaker's numbers in units of that speaker's own mean and deviation, the test speakers' too.

    That looks at the test clips of a speaker together, though not at their labels: a transductive setting, for where
    one has many clips of one voice before one must answer.
    """
    return replace(part, x=_own_units(part.x, part.rows), taught_x=_own_units(part.taught_x, part.taught))


def _own_units(x: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    out = np.empty_like(x)
    for at in rows.groupby(["speaker", "copy"]).indices.values():
        deviation = x[at].std(axis=0)
        out[at] = (x[at] - x[at].mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1)
    return out


def solve(
    x: np.ndarray, emotions: Iterable[str], labels: Sequence[str], shrinkage: int = SHRINKAGE
) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's linear discriminant, its covariance shrunken towards equal variances, every emotion equally likely.

    Args:
        x: Shape (n, numbers).
        emotions: Of each row.
        labels: The run's label list.
        shrinkage: Per cent: 0 trusts the covariance, 100 the variances alone.

    Returns:
        Weights, shape (numbers, labels), and biases, shape (labels,), that make logits of a row as it was measured.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    equal = np.full(len(labels), 1 / len(labels))
    machine = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage / 100, priors=equal)
    machine.fit(scaler.transform(x), pd.Categorical(emotions, categories=list(labels)).codes)
    weights, biases = machine.coef_.T, machine.intercept_
    if len(labels) == 2:  # scikit-learn gives one value, for the second of them
        weights, biases = weights * [-0.5, 0.5], biases * [-0.5, 0.5]
    weights = weights / scaler.scale_[:, None]
    return weights, biases - scaler.mean_ @ weights


def model(weights: np.ndarray, biases: np.ndarray, name: str = NAME) -> keras.Model:
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


def fit(part: Part, labels: Sequence[str], *, shrinkage: int = SHRINKAGE, name: str = NAME) -> training.Trained:
    """Solve a discriminant for one split, and predict every row with it.

    Two are solved. The first is taught the training side alone and answers for the validation rows: that is the figure
    to choose by. The second is taught both sides, answers for all other rows, and is the one that is kept.

    Args:
        part: What `prepare` returns.
        labels: The run's label list.
        shrinkage: Of `solve`.
        name: Of the model in every file.

    Returns:
        As `training.fit`; the history has one epoch.
    """
    start = time.perf_counter()
    first, kept = (model(*solve(*part.learnt(sides), labels, shrinkage), name) for sides in (("train",), FITTED))
    seconds = time.perf_counter() - start
    x, y = part.x[..., None], training.one_hot(part.rows["emotion"], list(labels))
    (told, losses), (chosen, before) = (training.predict(one, x, y, part.rows, list(labels)) for one in (kept, first))
    val = (part.rows["split"] == "val").to_numpy()
    told[val] = chosen[val]
    losses["val"] = before["val"]
    return training.Trained(kept, _history(told, losses, name), told, seconds, losses)


def _history(told: pd.DataFrame, losses: Mapping[str, float], name: str) -> pd.DataFrame:
    right = (told["truth"] == told["prediction"]).groupby(told["split"]).mean()
    row = {
        f"{side}_{what}": value
        for side in FITTED
        for what, value in (("loss", losses[side]), ("accuracy", right[side]))
    }
    return pd.DataFrame([{"model": name, "epoch": 1, **row}])[training.HISTORY]


def validate(parts: Iterable[Part], labels: Sequence[str], *, shrinkage: int = SHRINKAGE) -> pd.DataFrame:
    """Answers for the validation rows of some splits, each by a discriminant of its training side alone.

    Returns:
        `clip`, `speaker`, `truth` and `prediction`, for `metrics.by` and `metrics.compare`; a speaker that is
        validation in two splits is there twice.
    """
    return pd.concat([_validated(part, labels, shrinkage) for part in parts], ignore_index=True)


def _validated(part: Part, labels: Sequence[str], shrinkage: int) -> pd.DataFrame:
    weights, biases = solve(*part.learnt(("train",)), labels, shrinkage)
    val = (part.rows["split"] == "val").to_numpy()
    answers = np.array(labels, dtype=object)[(part.x[val] @ weights + biases).argmax(axis=1)]
    rows = part.rows.loc[val, ["clip", "speaker", "emotion"]].rename(columns={"emotion": "truth"})
    return rows.assign(prediction=answers)


def ablation(parts: Sequence[Part], labels: Sequence[str], *, shrinkage: int = SHRINKAGE) -> pd.DataFrame:
    """What each ingredient is worth, on the validation speakers: one after another is left out.

    Args:
        parts: One or several splits.
        labels: The run's label list.
        shrinkage: Of `solve`.

    Returns:
        One row a setting, `all of it` first: `numbers`, and the columns of `metrics.by`.
    """
    group = functionals.groups()
    told = {"all of it": (parts, shrinkage)}
    told |= {
        f"without {name}": ([only(part, group != name) for part in parts], shrinkage) for name in dict.fromkeys(group)
    }
    told["without other voices"] = ([_alone(part) for part in parts], shrinkage)
    told["without shrinkage"] = (parts, 1)
    answers = {name: validate(those, labels, shrinkage=percent) for name, (those, percent) in told.items()}
    cells = metrics.by(pd.concat(one.assign(model=name) for name, one in answers.items()), "model")
    cells.insert(0, "numbers", [those[0].x.shape[1] for those, _ in told.values()])
    return cells


def _alone(part: Part) -> Part:
    own = (part.taught["copy"] == 0).to_numpy()
    return replace(part, taught=part.taught[own], taught_x=part.taught_x[own])


def evidence(part: Part, labels: Sequence[str], kept: keras.Model) -> pd.DataFrame:
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
    usual = part.learnt(FITTED)[0].mean(axis=0)
    answer = (part.x[test] @ weights + kept.layers[-1].get_weights()[1]).argmax(axis=1)
    above = weights - (weights.sum(axis=1, keepdims=True) - weights) / (len(labels) - 1)
    each = (part.x[test] - usual) * above.T[answer]
    group = functionals.groups()
    told = pd.DataFrame({name: each[:, group == name].sum(axis=1) for name in dict.fromkeys(group)})
    told.insert(0, "prediction", np.array(labels, dtype=object)[answer])
    told.insert(0, "truth", part.rows.loc[test, "emotion"].to_numpy())
    return told.set_index(part.rows.index[test])
