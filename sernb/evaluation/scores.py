"""Scores from predictions, each with the interval that its speakers allow."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
import pandas as pd

UNKNOWN_SPEAKER = "not said"


# counts and scores


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Counts, rows the truth and columns the prediction, both in the order of `labels`; shape (k, k).

    Raises:
        ValueError: A truth or prediction is none of the labels.

    Example:
        >>> confusion(["sad", "sad", "calm"], ["sad", "calm", "calm"], ["calm", "sad"])
        array([[1, 0],
               [1, 1]])
    """
    matrix = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(matrix, (label_indices(truth, labels), label_indices(prediction, labels)), 1)
    return matrix


def label_indices(values: Iterable, labels: Sequence[str]) -> np.ndarray:
    places = pd.Index(list(labels), dtype=object).get_indexer(pd.Index(values, dtype=object))
    if (places < 0).any():
        stranger = list(values)[int(np.argmin(places))]
        raise ValueError(
            f"{stranger!r} is none of the labels {', '.join(labels)}; `evaluation.labels_in` finds them all."
        )
    return places


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """The share of rows predicted right, from confusion matrices of shape (..., k, k)."""
    return np.trace(matrix, axis1=-2, axis2=-1) / matrix.sum(axis=(-2, -1))


def uar(matrix: np.ndarray) -> np.ndarray:
    """Unweighted average recall (balanced accuracy) from confusion matrices of shape (..., k, k).

    Classes that do not occur are left out. The field's standard measure since the INTERSPEECH 2009 challenge.

    Example:
        Of 90 calm clips all are named right, of 10 sad ones none: answering "calm" always gains nothing by UAR.

        >>> always_calm = np.array([[90, 0], [10, 0]])
        >>> float(accuracy(always_calm)), float(uar(always_calm))
        (0.9, 0.5)
    """
    hits, occurring = np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1)
    recall = np.divide(hits, occurring, out=np.zeros(hits.shape), where=occurring > 0)
    return recall.sum(axis=-1) / (occurring > 0).sum(axis=-1)


def f1_per_class(matrix: np.ndarray) -> np.ndarray:
    """F1 of each class from one confusion matrix, 0 where a class is neither true nor predicted; shape (k,)."""
    hits, either = np.diagonal(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    return np.divide(2 * hits, either, out=np.zeros(len(matrix)), where=either > 0)


def compute_scores(matrix: np.ndarray) -> dict[str, float]:
    """`accuracy`, `uar`, `macro_f1` (over the classes that occur) and `weighted_f1` of one confusion matrix."""
    support, each = matrix.sum(axis=1), f1_per_class(matrix)
    return {
        "accuracy": float(accuracy(matrix)),
        "uar": float(uar(matrix)),
        "macro_f1": float(each[support > 0].mean()),
        "weighted_f1": float(np.average(each, weights=support)),
    }


def class_report(matrix: np.ndarray, labels: list[str]) -> pd.DataFrame:
    """Recall, precision, F1 and number of rows of each class, in the order of `labels`."""
    hits, predicted, support = np.diagonal(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    divide = lambda by: np.divide(hits, by, out=np.zeros(len(labels)), where=by > 0)  # noqa: E731
    columns = {"recall": divide(support), "precision": divide(predicted), "f1": f1_per_class(matrix), "rows": support}
    return pd.DataFrame(columns, index=pd.Index(labels, name="emotion"))


# tables of predictions


def select_test_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """The test rows of a table of predictions, ready to be scored; one without a column `split` is taken whole.

    Args:
        predictions: `truth`, `prediction` and `speaker`, and whatever else `predictions.csv` has.

    Returns:
        The rows with `copy` (0 where there was none), speakers as text, and `""` where no answer was given. Rows whose
        speaker is not said (None, NaN or empty) count as one voice, `not said`: they may be one.

    Raises:
        ValueError: A column is missing, a truth is missing, or there is no test row.
    """
    if missing := [name for name in ("truth", "prediction", "speaker") if name not in predictions]:
        raise ValueError(f"the predictions have no column {', '.join(missing)}; they have {', '.join(predictions)}.")
    told = predictions[predictions["split"] == "test"] if "split" in predictions else predictions
    if told.empty:
        raise ValueError("there is no row to score: none, or none whose `split` is `test`.")
    if unknown := int(told["truth"].isna().sum()):
        raise ValueError(f"{unknown} of {len(told)} rows have no truth; leave them out.")
    copies = told["copy"] if "copy" in told else 0
    return told.assign(copy=copies, speaker=speaker_ids(told["speaker"]), prediction=told["prediction"].fillna(""))


def speaker_ids(speakers: pd.Series) -> pd.Series:
    return speakers.astype(object).where(speakers.notna() & (speakers != ""), UNKNOWN_SPEAKER).astype(str)


def labels_in(*tables: pd.DataFrame) -> list[str]:
    """Every emotion that is true or predicted in some tables, in alphabetical order."""
    return sorted({emotion for table in tables for name in ("truth", "prediction") for emotion in table[name].unique()})
