"""Baselines for a network: random predictions, and a support vector machine on a few statistics of each clip."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from sernb import features

RANDOM_MODEL = "guess"
BASELINES = {"mfcc": "mfcc-svm", "egemaps": "egemaps-svm"}
N_MFCC = 40


def baseline_predictions(
    parts: pd.DataFrame | Iterable[pd.DataFrame], labels: Sequence[str], *, seed: int = 0, **options: Any
) -> pd.DataFrame:
    """Predict the test rows of a network by every baseline; `evaluation.score_by(predictions, "model")` scores them.

    Args:
        parts: The rows of a split, or of several (folds), whose test rows are concatenated.
        labels: The run's label list.
        seed: Seed of the random predictions and, as for the run, of the augmented copies.
        **options: `sample_rate`, `augmentation` and `sides` of `svm_predictions`.

    Returns:
        The test rows of `svm_predictions` with each feature (eGeMAPS if opensmile is installed) and of
        `random_predictions` among the emotions that are tested.
    """
    parts = [parts] if isinstance(parts, pd.DataFrame) else list(parts)
    kinds = [kind for kind in BASELINES if kind != "egemaps" or find_spec("opensmile")]
    tested = {emotion for part in parts for emotion in part.loc[part["split"] == "test", "emotion"]}
    tested = [label for label in labels if label in tested]
    tables = [svm_predictions(part, labels, kind, seed=seed, **options) for kind in kinds for part in parts]
    # Drawn for all folds at once: with one seed per fold, the folds would share their predictions.
    tables.append(random_predictions(pd.concat(parts, ignore_index=True), labels, seed, tested=tested))
    predictions = pd.concat(tables, ignore_index=True)
    return predictions[predictions["split"] == "test"]


def random_predictions(
    rows: pd.DataFrame,
    labels: Sequence[str],
    seed: int = 0,
    *,
    tested: Sequence[str] | None = None,
    draws: int = 100,
) -> pd.DataFrame:
    """Draw predictions at random, each tested emotion as often as another, whatever the clip.

    This is the random categorical model of audeering's ser-tests. Its UAR is at chance: 1 divided by the number of
    emotions tested. Each test row is predicted many times, so that the score is stable; `evaluation` counts a clip
    once, however often it is predicted.

    Args:
        rows: Split clips as `evaluation.make_split` returns them; the test rows are predicted.
        labels: The run's label list.
        seed: Seed of the predictions.
        tested: The emotions to draw from; those of the test rows if not given.
        draws: Number of predictions per row.

    Returns:
        A table as `predictions.csv`, model `guess`, with `draws` rows for each test row.
    """
    test = rows[rows["split"] == "test"]
    tested = [label for label in labels if label in set(test["emotion"])] if tested is None else list(tested)
    test = test.loc[test.index.repeat(draws)]
    prediction = np.random.default_rng(seed).choice(np.array(tested, dtype=object), size=len(test))
    probabilities = np.tile(np.isin(labels, tested) / len(tested), (len(test), 1))
    return _prediction_table(RANDOM_MODEL, test, prediction, probabilities, labels)


def svm_predictions(
    rows: pd.DataFrame,
    labels: Sequence[str],
    feature: str = "mfcc",
    *,
    sample_rate: int = 16000,
    augmentation: str = "noise",
    seed: int = 0,
    sides: Sequence[str] = ("train",),
) -> pd.DataFrame:
    """Fit a support vector machine to statistics of each training clip and predict every row with it.

    RBF kernel, C = 1, statistics standardised on the training rows, all emotions weighted equally. C is scikit-learn's
    default: chosen on the validation rows (0.1 to 100) it did no better on the folds of RAVDESS.

    Args:
        rows: Split clips as `evaluation.make_split` returns them.
        labels: The run's label list.
        feature: `mfcc`: mean and standard deviation over the clip's frames of 40 MFCC, shape (n, 80). `egemaps`: the
            88 functionals of eGeMAPSv02 (Eyben et al. 2016, doi 10.1109/TAFFC.2015.2457417), which need the optional
            package opensmile.
        sample_rate: In Hz.
        augmentation: Effect of the augmented copies, see `audio.augment`.
        seed: Seed of the augmentation.
        sides: The sets to fit on, those of the network.

    Returns:
        A table as `predictions.csv`, model `mfcc-svm` or `egemaps-svm`, of every row. The probabilities are the
        softmax of the decision values: they order the emotions, but are not calibrated.

    Raises:
        ValueError: There is no such feature.
        ImportError: `egemaps` without opensmile.
        AudioError: A clip cannot be decoded.
    """
    if feature not in BASELINES:
        raise ValueError(f"feature must be one of {', '.join(BASELINES)} (got {feature!r})")
    options = {"sample_rate": sample_rate, "augmentation": augmentation, "seed": seed}
    x = mfcc_statistics(rows, **options) if feature == "mfcc" else features.extract(rows, "egemaps", **options)
    return fit_svm(x, rows, labels, BASELINES[feature], sides)


def fit_svm(
    x: np.ndarray, rows: pd.DataFrame, labels: Sequence[str], name: str, sides: Sequence[str] = ("train",)
) -> pd.DataFrame:
    """Fit the support vector machine of `svm_predictions` to any statistics, shape (n, d), and predict every row."""
    from scipy.special import softmax
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    train = rows["split"].isin(sides).to_numpy()
    # `break_ties`: the prediction is the emotion with the largest decision value, as for a network.
    svm = make_pipeline(StandardScaler(), SVC(class_weight="balanced", break_ties=True))
    svm.fit(x[train], rows.loc[train, "emotion"])
    values = svm.decision_function(x)
    if values.ndim == 1:  # for two emotions there is one value, that of the second
        values = np.stack([-values, values], axis=1)
    probabilities = pd.DataFrame(softmax(values, axis=1), columns=svm.classes_)
    probabilities = probabilities.reindex(columns=list(labels), fill_value=0.0).to_numpy()
    return _prediction_table(name, rows, svm.predict(x), probabilities, labels)


def _prediction_table(
    name: str, rows: pd.DataFrame, prediction: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]
) -> pd.DataFrame:
    table = rows[["clip", "copy", "speaker", "split"]].assign(truth=rows["emotion"], prediction=prediction)
    table.insert(0, "model", name)
    table[list(labels)] = probabilities.round(6)
    return table


def mfcc_statistics(
    rows: pd.DataFrame, *, sample_rate: int = 16000, augmentation: str = "noise", seed: int = 0, n_mfcc: int = N_MFCC
) -> np.ndarray:
    """Compute mean and standard deviation of each MFCC over the clip's own frames, without padding.

    The coefficients are the first of the 100 MFCC that notebook 03 keeps in the feature store, so that a clip is
    decoded once for both.

    Returns:
        float32, shape (n, 2 n_mfcc).
    """
    options = {"sample_rate": sample_rate, "augmentation": augmentation, "seed": seed}
    mfccs = features.extract(rows, "mfcc", **options)
    lengths = features.count_frames(rows, "mfcc", **options)
    statistics = np.empty((len(rows), 2 * n_mfcc), dtype=np.float32)
    for i, (mfcc, length) in enumerate(zip(mfccs, lengths, strict=True)):
        frames = mfcc[:n_mfcc, :length]
        statistics[i] = [*frames.mean(axis=1), *frames.std(axis=1)]
    return statistics
