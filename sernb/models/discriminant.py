"""A linear discriminant on a clip's functionals: small, solved in closed form, good on unseen speakers.

Its weights have a closed form (Fisher's discriminant with a shrunken covariance), so that there are no epochs, no
learning rate and no initial weights to choose. It is fitted on the clips and on copies of them at several playback
speeds (speed perturbation). The result is a Keras model like any other. The features of a frozen speech encoder can
take the place of the functionals, or be used beside them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd

from sernb import audio
from sernb import evaluation
from sernb import features
from sernb.models.training import FitResult
from sernb.models.training import one_epoch_history
from sernb.models.training import one_hot
from sernb.models.training import predict_rows

if TYPE_CHECKING:
    import keras

FUNCTIONALS = "functionals"
DISCRIMINANT, TRANSDUCTIVE = "discriminant", "discriminant-transductive"
DEFAULT_COPIES = 8
DEFAULT_SHRINKAGE = 15  # per cent
FIT_SIDES = ("train", "val")
COMPLETE = "complete model"


# the inputs


@dataclass(frozen=True)
class SplitFeatures:
    """One split: its rows and their features, and the rows that may be fitted on, with speed-perturbed copies.

    `x` has shape (n, d), `fit_x` one row for each of `fit_rows`; `groups` names the group of each feature, shape (d,).
    """

    rows: pd.DataFrame
    x: np.ndarray
    fit_rows: pd.DataFrame
    fit_x: np.ndarray
    groups: np.ndarray

    def training_data(self, sides: Sequence[str]) -> tuple[np.ndarray, pd.Series]:
        """Return the features and the emotions of the rows of some sets, copies included."""
        inside = self.fit_rows["split"].isin(sides).to_numpy()
        return self.fit_x[inside], self.fit_rows.loc[inside, "emotion"]

    def side(self, name: str) -> np.ndarray:
        """Return which rows are in a set; boolean, shape (n,)."""
        return (self.rows["split"] == name).to_numpy()


def select_features(
    encoder: str = "", *, layer: int = features.ALL_LAYERS, functionals: bool = False
) -> dict[str, dict[str, int | str]]:
    """Return the features of a discriminant and their parameters: the functionals, a speech encoder, or both.

    Args:
        encoder: A model for `features.encode`, checked here; without one, the functionals alone.
        layer: The layer of the encoder; 0 for the mean of all.
        functionals: With an encoder: whether to use the functionals too.

    Raises:
        EncoderError: The encoder cannot be used, or has no such layer.
    """
    if not encoder:
        return {FUNCTIONALS: {}}
    parameters = {features.ENCODER: features.encoder_parameters(encoder, layer)}
    return {FUNCTIONALS: {}, **parameters} if functionals else parameters


def extract_split_features(
    rows: pd.DataFrame,
    parameters: Mapping[str, Mapping[str, int | str]] | None = None,
    *,
    sample_rate: int = 16000,
    copies: int = DEFAULT_COPIES,
    seed: int = 0,
) -> SplitFeatures:
    """Extract the features of a split and of speed-perturbed copies of its training and validation rows.

    Args:
        rows: Split clips as `evaluation.make_split` returns them, without copies.
        parameters: The result of `select_features`; the functionals if not given.
        sample_rate: In Hz.
        copies: Number of copies of each clip outside the test set, see `audio.augment`.
        seed: Seed of their speeds.
    """
    outside = rows[rows["split"] != "test"]
    fit_rows = pd.concat([outside.assign(copy=copy) for copy in range(copies + 1)], ignore_index=True)
    options = {"sample_rate": sample_rate, "augmentation": audio.SPEED_PERTURBATION, "seed": seed}
    parameters = parameters or select_features()
    # The copies have a speed of their own.
    fit_parameters = {
        name: parts | ({"speeds": 1} if name == FUNCTIONALS else {}) for name, parts in parameters.items()
    }
    x, fit_x = _extract_all(rows, parameters, options), _extract_all(fit_rows, fit_parameters, options)
    return SplitFeatures(rows, x, fit_rows, fit_x, _feature_groups(parameters, x.shape[1]))


def _extract_all(rows: pd.DataFrame, parameters: Mapping[str, Mapping], options: Mapping[str, Any]) -> np.ndarray:
    arrays = [features.extract(rows, name, **options, **parts) for name, parts in parameters.items()]
    return arrays[0] if len(arrays) == 1 else np.hstack(arrays)


def _feature_groups(names: Iterable[str], size: int) -> np.ndarray:
    """Return the group of each feature: those of the functionals, and means and deviations of an encoder's frames."""
    groups = features.feature_groups() if FUNCTIONALS in names else np.array([], dtype=str)
    return np.concatenate([groups, np.repeat(("encoder mean", "encoder deviation"), (size - len(groups)) // 2)])


def normalise_by_speaker(split: SplitFeatures) -> SplitFeatures:
    """Standardise the features of each speaker by that speaker's own mean and deviation, test speakers included.

    This uses all test clips of a speaker, though not their labels: a transductive setting, for applications with many
    clips of a speaker before a prediction is needed.
    """
    x, fit_x = _standardise_speakers(split.x, split.rows), _standardise_speakers(split.fit_x, split.fit_rows)
    return replace(split, x=x, fit_x=fit_x)


def _standardise_speakers(x: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    out = np.empty_like(x)
    for at in rows.groupby(["corpus", "speaker", "copy"]).indices.values():
        deviation = x[at].std(axis=0)
        out[at] = (x[at] - x[at].mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1)
    return out


# the closed form


@dataclass(frozen=True)
class ClassStatistics:
    """The statistics that a discriminant is solved from.

    `mean` and `deviation` of each feature, shape (d,); and of the features standardised by them, the means of each
    emotion, `centres`, shape (k, d), and the `covariance` within emotions, shape (d, d).
    """

    mean: np.ndarray
    deviation: np.ndarray
    centres: np.ndarray
    covariance: np.ndarray


def class_statistics(x: np.ndarray, emotions: pd.Series, labels: Sequence[str]) -> ClassStatistics:
    """Compute the class statistics of rows, shape (n, d), each emotion weighted equally."""
    mean, deviation = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    deviation = np.where(deviation > 0, deviation, 1)
    z = (x - mean) / deviation
    groups = [z[(emotions == label).to_numpy()] for label in labels]
    centres = np.stack([group.mean(axis=0) for group in groups])
    residuals = [group - centre for group, centre in zip(groups, centres, strict=True)]
    covariance = sum(residual.T @ residual / len(residual) for residual in residuals) / len(labels)
    return ClassStatistics(mean, deviation, centres, covariance)


def solve_discriminant(
    statistics: ClassStatistics, shrinkage: int = DEFAULT_SHRINKAGE, use: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Solve Fisher's linear discriminant with a shrunken covariance and equally likely emotions.

    It equals scikit-learn's `LinearDiscriminantAnalysis` with `lsqr`, which does not keep the covariance and so would
    compute it again for each setting of `ablate`.

    Args:
        statistics: The result of `class_statistics`.
        shrinkage: Per cent: 0 uses the covariance as it is, 100 only the mean variance.
        use: Which features to use, boolean, shape (d,); all if not given.

    Returns:
        Weights, shape (d, k), and biases, shape (k,), that turn a row of features into logits.
    """
    from scipy.linalg import solve

    use = np.ones(len(statistics.mean), dtype=bool) if use is None else use
    covariance, centres = statistics.covariance[np.ix_(use, use)], statistics.centres[:, use]
    variance = shrinkage / 100 * np.trace(covariance) / use.sum()
    shrunken = (1 - shrinkage / 100) * covariance + (variance + 1e-9) * np.eye(use.sum())
    weights = np.zeros((len(use), len(centres)))
    weights[use] = solve(shrunken, centres.T, assume_a="pos")
    biases = -0.5 * (centres.T * weights[use]).sum(axis=0)
    weights /= statistics.deviation[:, None]
    return weights, biases - statistics.mean @ weights


def discriminant_model(weights: np.ndarray, biases: np.ndarray, name: str = DISCRIMINANT) -> keras.Model:
    """Build a Keras model from a solved discriminant: one dense layer with softmax on inputs of shape (d, 1)."""
    import keras
    from keras import layers

    dense = layers.Dense(len(biases), activation="softmax", dtype="float32")
    model = keras.Sequential([keras.Input((len(weights), 1)), layers.Flatten(), dense], name=name)
    dense.set_weights([weights, biases])
    return model


# one split


def fit_discriminant(
    split: SplitFeatures, labels: Sequence[str], *, shrinkage: int = DEFAULT_SHRINKAGE, name: str = DISCRIMINANT
) -> FitResult:
    """Solve a discriminant for one split and predict every row with it.

    Two are solved. The first is fitted on the training set alone and predicts the validation rows: that is the score
    to choose settings by. The second is fitted on training and validation set, predicts all other rows, and is the one
    that is returned.

    Args:
        split: The result of `extract_split_features`.
        labels: The run's label list.
        shrinkage: As for `solve_discriminant`.
        name: The model's name in every result file.

    Returns:
        The result as of `models.fit`; the history has one epoch.
    """
    start = time.perf_counter()
    first, model = _solve_calibrated(split, labels, shrinkage, name)
    seconds = time.perf_counter() - start
    x, y, labels = split.x[..., None], one_hot(split.rows["emotion"], list(labels)), list(labels)
    predictions, losses = predict_rows(model, x, y, split.rows, labels)
    val_predictions, val_losses = predict_rows(first, x, y, split.rows, labels)
    predictions[split.side("val")] = val_predictions[split.side("val")]
    losses["val"] = val_losses["val"]
    return FitResult(model, one_epoch_history(predictions, losses, name), predictions, seconds, losses)


def fit_final_discriminant(
    split: SplitFeatures, labels: Sequence[str], *, shrinkage: int = DEFAULT_SHRINKAGE, name: str = DISCRIMINANT
) -> keras.Model:
    """Solve the discriminant of a split without test rows: its score is that of the models of the folds.

    Args:
        split: The result of `extract_split_features` for the rows of `evaluation.make_final_split`; its validation
            rows calibrate the probabilities.
        labels: The run's label list.
        shrinkage: As for `solve_discriminant`.
        name: The model's name.
    """
    return _solve_calibrated(split, labels, shrinkage, name)[1]


def _solve_calibrated(
    split: SplitFeatures, labels: Sequence[str], shrinkage: int, name: str
) -> tuple[keras.Model, keras.Model]:
    """Return a model fitted on the training set, and one fitted on the validation set too."""
    solved = [
        solve_discriminant(class_statistics(*split.training_data(sides), labels), shrinkage)
        for sides in (("train",), FIT_SIDES)
    ]
    temperature = _fit_temperature(split, labels, *solved[0])
    first, model = (discriminant_model(w / temperature, b / temperature, name) for w, b in solved)
    return first, model


def _fit_temperature(split: SplitFeatures, labels: Sequence[str], weights: np.ndarray, biases: np.ndarray) -> float:
    """Return the temperature: divided by it, the logits give calibrated probabilities on the validation speakers.

    The discriminant assumes normally distributed features and is far too confident. No prediction changes. Guo et al.
    2017, arXiv 1706.04599.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    val = split.side("val")
    logits = split.x[val] @ weights + biases
    truth = one_hot(split.rows.loc[val, "emotion"], list(labels)).astype(bool)
    loss = lambda power: -log_softmax(logits / np.exp(power), axis=1)[truth].mean()  # noqa: E731
    return float(np.exp(minimize_scalar(loss, bounds=(0, 6), method="bounded").x))


# what it is made of


def ablate(
    splits: Sequence[SplitFeatures], labels: Sequence[str], *, shrinkage: int = DEFAULT_SHRINKAGE
) -> pd.DataFrame:
    """Score discriminants without one ingredient each, fitted on the training set, on the validation speakers.

    Args:
        splits: One or several splits.
        labels: The run's label list.
        shrinkage: As for `solve_discriminant`.

    Returns:
        One row per setting, `complete model` first, with `features` (how many are used) and the columns
        of `evaluation.score_by`. A speaker who is in the validation set of two splits counts in both.
    """
    predictions, used = [], {}
    for split in splits:
        solved = _solve_without(split, labels, shrinkage)
        for name, (weights, biases) in solved.items():
            predictions.append(_validation_predictions(split, labels, weights, biases).assign(model=name))
            used[name] = int((weights != 0).any(axis=1).sum())
    cells = evaluation.score_by(pd.concat(predictions), "model")
    cells.insert(0, "features", pd.Series(used))
    return cells


def _solve_without(
    split: SplitFeatures, labels: Sequence[str], shrinkage: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Solve the discriminant of the training set, complete and without each ingredient."""
    statistics = class_statistics(*split.training_data(("train",)), labels)
    recordings = class_statistics(*_without_copies(split).training_data(("train",)), labels)
    group = split.groups
    solved = {COMPLETE: solve_discriminant(statistics, shrinkage)}
    for name in dict.fromkeys(group):
        solved[f"without {name}"] = solve_discriminant(statistics, shrinkage, group != name)
    solved["without speed perturbation"] = solve_discriminant(recordings, shrinkage)
    solved["without shrinkage"] = solve_discriminant(statistics, 0)
    return solved


def _without_copies(split: SplitFeatures) -> SplitFeatures:
    recordings = (split.fit_rows["copy"] == 0).to_numpy()
    return replace(split, fit_rows=split.fit_rows[recordings], fit_x=split.fit_x[recordings])


def _validation_predictions(
    split: SplitFeatures, labels: Sequence[str], weights: np.ndarray, biases: np.ndarray
) -> pd.DataFrame:
    val = split.side("val")
    prediction = np.array(labels, dtype=object)[(split.x[val] @ weights + biases).argmax(axis=1)]
    rows = split.rows.loc[val, ["clip", "speaker", "emotion"]].rename(columns={"emotion": "truth"})
    return rows.assign(prediction=prediction)


def logit_contributions(split: SplitFeatures, labels: Sequence[str], model: keras.Model) -> pd.DataFrame:
    """Compute how much each group of features contributes to the logit of the predicted emotion of each test clip.

    The logit of a linear model is a sum over its features, so the contributions are exact. A feature contributes its
    difference from the mean of the fitted rows, times the difference between the weight of the predicted emotion and
    the mean weight of the others.

    Args:
        split: The split that the model was fitted on.
        labels: The run's label list.
        model: The model of `fit_discriminant`.

    Returns:
        One row per test row, with its index in `split.rows`; `truth`, `prediction`, and one column per group, in nats.
    """
    weights, biases = model.layers[-1].get_weights()
    test = split.side("test")
    predicted = (split.x[test] @ weights + biases).argmax(axis=1)
    margin = weights - (weights.sum(axis=1, keepdims=True) - weights) / (len(labels) - 1)
    mean = split.training_data(FIT_SIDES)[0].mean(axis=0)
    contributions = (split.x[test] - mean) * margin.T[predicted]
    group = split.groups
    table = pd.DataFrame({name: contributions[:, group == name].sum(axis=1) for name in dict.fromkeys(group)})
    table.insert(0, "prediction", np.array(labels, dtype=object)[predicted])
    table.insert(0, "truth", split.rows.loc[test, "emotion"].to_numpy())
    return table.set_index(split.rows.index[test])
