"""What to hold a network against: a guess, and a support vector machine on a few statistics of each clip."""

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
    """What a network is held against, on the very rows that it is tested on: `evaluation.score_by(told, "model")` scores it.

    Args:
        parts: The rows of a split, or those of several (folds), whose test rows are put together.
        labels: The run's label list.
        seed: Of the guesses and, as the run's, of the augmented copies.
        **options: `sample_rate`, `augmentation` and `sides` of `simple`.

    Returns:
        The test rows of `simple` by each feature (eGeMAPS where opensmile is installed) and of `guess`.
    """
    parts = [parts] if isinstance(parts, pd.DataFrame) else list(parts)
    kinds = [kind for kind in BASELINES if kind != "egemaps" or find_spec("opensmile")]
    told = [svm_predictions(part, labels, kind, seed=seed, **options) for kind in kinds for part in parts]
    told = pd.concat([*told, *(random_predictions(part, labels, seed) for part in parts)], ignore_index=True)
    return told[told["split"] == "test"]


def random_predictions(rows: pd.DataFrame, labels: Sequence[str], seed: int = 0, *, draws: int = 100) -> pd.DataFrame:
    """A model that guesses: each emotion as often as another, whatever the clip.

    That is the random categorical model of audeering's ser-tests. Each test row is guessed many times, so that the
    score is stable; every function of `metrics` counts a clip once, however often it is guessed.

    Args:
        rows: What `evaluation.make_split` returns; the test rows are guessed.
        labels: The run's label list.
        seed: Of the guesses.
        draws: Guesses a row.

    Returns:
        A table as `predictions.csv`, model `guess`, with `draws` rows for each test row.
    """
    test = rows[rows["split"] == "test"]
    test = test.loc[test.index.repeat(draws)]
    answer = np.random.default_rng(seed).choice(np.array(labels, dtype=object), size=len(test))
    return _prediction_table(RANDOM_MODEL, test, answer, np.full((len(test), len(labels)), 1 / len(labels)), labels)


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
    """A support vector machine on statistics of each clip, fitted on the rows that a network would be fitted on.

    RBF kernel, C = 1, statistics standardised on the training rows, all emotions weighed alike. C stays at
    scikit-learn's default: chosen on the validation rows (0.1 to 100) it did no better on RAVDESS's folds.

    Args:
        rows: What `evaluation.make_split` returns.
        labels: The run's label list.
        feature: `mfcc`: mean and standard deviation over the clip's frames of 40 MFCC, shape (n, 80). `egemaps`: the
            88 functionals of eGeMAPSv02 (Eyben et al. 2016, doi 10.1109/TAFFC.2015.2457417), which take the optional
            package opensmile.
        sample_rate: In Hz.
        augmentation: What was done to augmented copies, see `audio.augment`.
        seed: Of the augmentation.
        sides: Those fitted on, as the network was.

    Returns:
        A table as `predictions.csv`, model `mfcc-svm` or `egemaps-svm`, of every row. The probabilities are the
        softmax of the machine's decision values: they order the emotions, and are not calibrated.

    Raises:
        ValueError: There is no such feature.
        ImportError: `egemaps` without opensmile.
        AudioError: A clip cannot be decoded.
    """
    if feature not in BASELINES:
        raise ValueError(f"feature is {feature!r}; give one of {', '.join(BASELINES)}.")
    options = {"sample_rate": sample_rate, "augmentation": augmentation, "seed": seed}
    x = mfcc_statistics(rows, **options) if feature == "mfcc" else features.extract(rows, "egemaps", **options)
    return fit_svm(x, rows, labels, BASELINES[feature], sides)


def fit_svm(
    x: np.ndarray, rows: pd.DataFrame, labels: Sequence[str], name: str, sides: Sequence[str] = ("train",)
) -> pd.DataFrame:
    """The support vector machine of `simple` on any numbers of each row, shape (n, numbers); returns as `simple`."""
    from scipy.special import softmax
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    train = rows["split"].isin(sides).to_numpy()
    # `break_ties`: the answer is the emotion of the largest decision value, as with a network.
    machine = make_pipeline(StandardScaler(), SVC(class_weight="balanced", break_ties=True))
    machine.fit(x[train], rows.loc[train, "emotion"])
    values = machine.decision_function(x)
    if values.ndim == 1:  # of two emotions there is one value, for the second of them
        values = np.stack([-values, values], axis=1)
    known = pd.DataFrame(softmax(values, axis=1), columns=machine.classes_)
    probabilities = known.reindex(columns=list(labels), fill_value=0.0).to_numpy()
    return _prediction_table(name, rows, machine.predict(x), probabilities, labels)


def _prediction_table(
    name: str, rows: pd.DataFrame, answer: np.ndarray, probabilities: np.ndarray, labels: Sequence[str]
) -> pd.DataFrame:
    told = rows[["clip", "copy", "speaker", "split"]].assign(truth=rows["emotion"], prediction=answer)
    told.insert(0, "model", name)
    told[list(labels)] = probabilities.round(6)
    return told


# numbers of a clip


def mfcc_statistics(
    rows: pd.DataFrame, *, sample_rate: int = 16000, augmentation: str = "noise", seed: int = 0, n_mfcc: int = N_MFCC
) -> np.ndarray:
    """Mean and standard deviation of each MFCC over a clip's own frames, padding left out; shape (n, 2 n_mfcc).

    The first `n_mfcc` of the 100 that notebook 03 keeps in the feature store, so that a clip is decoded once for both.
    """
    options = {"sample_rate": sample_rate, "augmentation": augmentation, "seed": seed}
    pictures = features.extract(rows, "mfcc", **options)
    frames = features.count_frames(rows, "mfcc", **options)
    out = np.empty((len(rows), 2 * n_mfcc), dtype=np.float32)
    for i, (picture, own) in enumerate(zip(pictures, frames, strict=True)):
        part = picture[:n_mfcc, :own]
        out[i] = [*part.mean(axis=1), *part.std(axis=1)]
    return out
