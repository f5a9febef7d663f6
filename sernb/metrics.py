"""Floor 2: scores from predictions, each with the interval that its speakers allow."""

from __future__ import annotations

import numpy as np
import pandas as pd


def confusion(truth: np.ndarray, prediction: np.ndarray, labels: list[str]) -> np.ndarray:
    """Counts, rows the truth and columns the prediction, both in the order of `labels`; shape (k, k)."""
    place = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(matrix, ([place[t] for t in truth], [place[p] for p in prediction]), 1)
    return matrix


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """The share of rows predicted right, from confusion matrices of shape (..., k, k)."""
    return np.trace(matrix, axis1=-2, axis2=-1) / matrix.sum(axis=(-2, -1))


def uar(matrix: np.ndarray) -> np.ndarray:
    """Unweighted average recall (balanced accuracy) from confusion matrices of shape (..., k, k).

    Classes that do not occur are left out. The field's standard measure since the INTERSPEECH 2009 challenge.
    """
    hits, occurring = np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1)
    recall = np.divide(hits, occurring, out=np.zeros(hits.shape), where=occurring > 0)
    return recall.sum(axis=-1) / (occurring > 0).sum(axis=-1)


def f1(matrix: np.ndarray) -> np.ndarray:
    """F1 of each class from one confusion matrix, 0 where a class is neither true nor predicted; shape (k,)."""
    hits, either = np.diagonal(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    return np.divide(2 * hits, either, out=np.zeros(len(matrix)), where=either > 0)


def scores(matrix: np.ndarray) -> dict[str, float]:
    """`accuracy`, `uar`, `macro_f1` (over the classes that occur) and `weighted_f1` of one confusion matrix."""
    support, each = matrix.sum(axis=1), f1(matrix)
    return {
        "accuracy": float(accuracy(matrix)),
        "uar": float(uar(matrix)),
        "macro_f1": float(each[support > 0].mean()),
        "weighted_f1": float(np.average(each, weights=support)),
    }


def report(matrix: np.ndarray, labels: list[str]) -> pd.DataFrame:
    """Recall, precision, F1 and number of rows of each class, in the order of `labels`."""
    hits, predicted, support = np.diagonal(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    divide = lambda by: np.divide(hits, by, out=np.zeros(len(labels)), where=by > 0)  # noqa: E731
    columns = {"recall": divide(support), "precision": divide(predicted), "f1": f1(matrix), "rows": support}
    return pd.DataFrame(columns, index=pd.Index(labels, name="emotion"))


def interval(predictions: pd.DataFrame, labels: list[str], *, resamples: int = 2000, seed: int = 0) -> dict[str, list]:
    """95 % bootstrap intervals of accuracy and UAR that resample speakers, not clips.

    Clips of one voice succeed or fail together, so resampling clips would promise too much. With one speaker there is
    nothing to resample and the interval is [nan, nan].

    Args:
        predictions: Rows of one model and one side with `speaker`, `truth` and `prediction`.
        labels: The run's label list.
        resamples: Bootstrap samples.
        seed: Of the resampling.

    Returns:
        `accuracy` and `uar`, each [low, high].
    """
    voices = [part for _, part in predictions.groupby("speaker")]
    if len(voices) < 2:
        return {"accuracy": [float("nan")] * 2, "uar": [float("nan")] * 2}
    each = np.stack([confusion(v["truth"].to_numpy(), v["prediction"].to_numpy(), labels) for v in voices])
    drawn = np.random.default_rng(seed).multinomial(len(voices), np.full(len(voices), 1 / len(voices)), size=resamples)
    matrices = np.einsum("rs,sij->rij", drawn, each)
    return {
        name: [float(q) for q in np.quantile(score(matrices), (0.025, 0.975))]
        for name, score in (("accuracy", accuracy), ("uar", uar))
    }


def wilson(share: float, rows: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of rows: what so few allow one to say, even if each were another voice."""
    from scipy.stats import binomtest

    found = binomtest(round(share * rows), rows).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
