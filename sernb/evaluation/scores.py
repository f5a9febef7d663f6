"""Accuracy, unweighted average recall and F1 from confusion matrices, and the test rows of a table of predictions."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
import pandas as pd

UNKNOWN_SPEAKER = "not said"


# counts and scores


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Count the rows by true label (rows) and predicted label (columns), in the order of `labels`; shape (k, k).

    Raises:
        ValueError: A truth or prediction is not among the labels.

    Example:
        >>> confusion_matrix(["sad", "sad", "calm"], ["sad", "calm", "calm"], ["calm", "sad"])
        array([[1, 0],
               [1, 1]])
    """
    matrix = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(matrix, (label_indices(truth, labels), label_indices(prediction, labels)), 1)
    return matrix


def label_indices(values: Iterable, labels: Sequence[str]) -> np.ndarray:
    """Return the index of each value in `labels`, shape (n,); raise ValueError for a value that is not among them."""
    indices = pd.Index(list(labels), dtype=object).get_indexer(pd.Index(values, dtype=object))
    if (indices < 0).any():
        unlisted = list(values)[int(np.argmin(indices))]
        raise ValueError(
            f"{unlisted!r} is not among the labels {', '.join(labels)}; `evaluation.labels_in` lists all that occur"
        )
    return indices


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """Compute the fraction of rows classified correctly from confusion matrices of shape (..., k, k)."""
    return np.trace(matrix, axis1=-2, axis2=-1) / matrix.sum(axis=(-2, -1))


def uar(matrix: np.ndarray) -> np.ndarray:
    """Compute the unweighted average recall (balanced accuracy) from confusion matrices of shape (..., k, k).

    It is the mean recall over the classes that are tested. It has been the field's standard measure since the
    INTERSPEECH 2009 challenge.

    Example:
        All 90 calm clips are classified correctly, none of the 10 sad ones: always predicting "calm" gains nothing.

        >>> always_calm = np.array([[90, 0], [10, 0]])
        >>> float(accuracy(always_calm)), float(uar(always_calm))
        (0.9, 0.5)
    """
    hits, rows = np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1)
    recall = np.divide(hits, rows, out=np.zeros(hits.shape), where=rows > 0)
    return recall.sum(axis=-1) / (rows > 0).sum(axis=-1)


def reliability(probabilities: np.ndarray, is_correct: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Compare a model's confidence with its accuracy: the reliability diagram.

    Args:
        probabilities: Of each emotion, shape (n, k); the largest one of a row is its confidence.
        is_correct: Whether each row is classified correctly, shape (n,).
        bins: Number of equally wide bins of confidence.

    Returns:
        One row per bin that has rows, with `rows` and the means `confidence` and `accuracy`. The expected calibration
        error is the mean of their absolute difference, weighted by `rows` (Guo et al. 2017, arXiv 1706.04599).
    """
    confidence = np.max(probabilities, axis=1)
    table = pd.DataFrame({"rows": 1, "confidence": confidence, "accuracy": is_correct})
    bin_of_row = np.minimum((confidence * bins).astype(int), bins - 1)
    means = {"rows": "sum", "confidence": "mean", "accuracy": "mean"}
    return table.groupby(bin_of_row).agg(means).reset_index(drop=True)


def calibration_error(table: pd.DataFrame) -> float:
    """Compute the expected calibration error from what `reliability` returns.

    Example:
        >>> always_sure = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
        >>> calibration_error(reliability(always_sure, np.array([True, True, True, False])))
        0.25
    """
    return float(np.average(np.abs(table["accuracy"] - table["confidence"]), weights=table["rows"]))


def chance_level(truth: Iterable[str]) -> float:
    """Return the UAR of predictions that ignore the clip: one over the number of classes that are tested."""
    return 1 / len(set(truth))


def f1_per_class(matrix: np.ndarray) -> np.ndarray:
    """Compute the F1 of each class from one confusion matrix, 0 for a class neither true nor predicted; shape (k,)."""
    hits, total = np.diagonal(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    return np.divide(2 * hits, total, out=np.zeros(len(matrix)), where=total > 0)


def compute_scores(matrix: np.ndarray) -> dict[str, float]:
    """Compute `accuracy`, `uar`, `macro_f1` and `weighted_f1` of one confusion matrix, over the classes tested."""
    rows, f1 = matrix.sum(axis=1), f1_per_class(matrix)
    return {
        "accuracy": float(accuracy(matrix)),
        "uar": float(uar(matrix)),
        "macro_f1": float(f1[rows > 0].mean()),
        "weighted_f1": float(np.average(f1, weights=rows)),
    }


def class_report(matrix: np.ndarray, labels: list[str]) -> pd.DataFrame:
    """Return recall, precision, F1 and number of rows of each class, in the order of `labels`.

    Recall and F1 of a class that is not tested are NaN, precision of a class that is never predicted is 0.
    """
    hits, predicted, rows = np.diagonal(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    recall = np.divide(hits, rows, out=np.full(len(labels), np.nan), where=rows > 0)
    precision = np.divide(hits, predicted, out=np.zeros(len(labels)), where=predicted > 0)
    f1 = np.where(rows > 0, f1_per_class(matrix), np.nan)
    columns = {"recall": recall, "precision": precision, "f1": f1, "rows": rows}
    return pd.DataFrame(columns, index=pd.Index(labels, name="emotion"))


# tables of predictions


def select_test_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the test rows of a table of predictions, ready to be scored; all rows if it has no column `split`.

    Args:
        predictions: `truth`, `prediction` and `speaker`, and any other columns of `predictions.csv`.

    Returns:
        The rows with `copy` (0 if missing), speakers as text, and `""` where there is no prediction. Rows whose speaker
        is unknown (None, NaN or empty) count as one speaker, `not said`, because they may be one.

    Raises:
        ValueError: A column is missing, a truth is missing, there is no test row, or the predictions spell the emotions
            differently from the truth.
    """
    if missing := [name for name in ("truth", "prediction", "speaker") if name not in predictions]:
        raise ValueError(f"the predictions have no column {', '.join(missing)}; they have {', '.join(predictions)}")
    rows = predictions[predictions["split"] == "test"] if "split" in predictions else predictions
    if rows.empty:
        raise ValueError("there is no row to score: the table is empty, or no row has the split `test`")
    if unlabelled := int(rows["truth"].isna().sum()):
        raise ValueError(f"{unlabelled} of {len(rows)} rows have no truth; leave them out")
    truth, prediction = (rows[name].astype(object) for name in ("truth", "prediction"))  # they may be categories
    _check_spelling(set(truth), set(prediction.dropna()))
    copies = rows["copy"] if "copy" in rows else 0
    return rows.assign(copy=copies, speaker=speaker_ids(rows["speaker"]), truth=truth, prediction=prediction.fillna(""))


def _check_spelling(truths: set, predictions: set) -> None:
    """Raise ValueError if a predicted emotion differs from a true one only in capitals or spaces."""
    normalised = {str(truth).strip().casefold(): truth for truth in truths}
    for prediction in sorted(predictions - truths, key=str):
        truth = normalised.get(str(prediction).strip().casefold())
        if truth is not None:
            raise ValueError(
                f"the predictions contain {prediction!r}, the truth {truth!r}: spell the emotions in the same way, for "
                "example with `table['prediction'].str.strip().str.lower()`"
            )


def speaker_ids(speakers: pd.Series) -> pd.Series:
    """Return speakers as text, `not said` where they are unknown."""
    return speakers.astype(object).where(speakers.notna() & (speakers != ""), UNKNOWN_SPEAKER).astype(str)


def labels_in(*tables: pd.DataFrame) -> list[str]:
    """Return every emotion that is true or predicted in some tables, in alphabetical order."""
    return sorted({emotion for table in tables for name in ("truth", "prediction") for emotion in table[name].unique()})
