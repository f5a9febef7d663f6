"""Fit any estimator with scikit-learn's `fit` and `predict_proba`, and use it like a network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd

from sernb.models.keras_tools import init_backend
from sernb.models.keras_tools import strip_optimizer
from sernb.models.training import FitResult
from sernb.models.training import one_epoch_history
from sernb.models.training import one_hot
from sernb.models.training import predict_rows

if TYPE_CHECKING:
    import keras

KERAS_SUFFIX, ESTIMATOR_SUFFIX = ".keras", ".joblib"


class EstimatorModel:
    """A fitted estimator, called like a Keras model: inputs of shape (n, ..., 1) give probabilities, shape (n, k).

    Its columns are in the order of the run's labels; an emotion that the estimator was not fitted on has probability 0.
    """

    def __init__(self, estimator: Any, name: str, labels: Sequence[str]) -> None:
        self.estimator, self.name, self.labels = estimator, name, list(labels)

    def __call__(self, x: np.ndarray, *, training: bool = False) -> np.ndarray:
        """Return the probabilities of some inputs; `training` is there for Keras's signature."""
        values = np.asarray(self.estimator.predict_proba(np.asarray(x).reshape(len(x), -1)))
        classes = list(getattr(self.estimator, "classes_", self.labels))
        if values.ndim != 2 or values.shape[1] != len(classes) or not set(classes) <= set(self.labels):
            raise ValueError(
                f"predict_proba of {self.name} returns an array of shape {values.shape} for the classes "
                f"{', '.join(map(str, classes))}; expected one column for each of {', '.join(self.labels)}."
            )
        return pd.DataFrame(values, columns=classes).reindex(columns=self.labels, fill_value=0.0).to_numpy()

    def count_params(self) -> None:
        """Return None: an estimator has no count of weights that could be compared with a network's."""


def fit_estimator(
    estimator: Any,
    x: np.ndarray,
    rows: pd.DataFrame,
    labels: Sequence[str],
    *,
    name: str,
    fitted: tuple[str, ...] = ("train",),
) -> FitResult:
    """Fit an estimator on the training rows of a split and predict every row with it.

    Args:
        estimator: Any object with `fit(x, y)` and `predict_proba(x)`, such as scikit-learn's classifiers and
            pipelines; the emotions are given as text. It is fitted in place.
        x: One input per row, shape (n, ...); more than one dimension per row is flattened.
        rows: Split clips as `evaluation.make_split` returns them.
        labels: The run's label list.
        name: The model's name in every result file.
        fitted: The sets of the split that the estimator is fitted on.

    Returns:
        The result as of `models.fit`, for `results.save_run`; the history has one epoch.

    Raises:
        ValueError: The estimator lacks a method, or its probabilities have another shape.
    """
    if missing := [method for method in ("fit", "predict_proba") if not hasattr(estimator, method)]:
        raise ValueError(
            f"{type(estimator).__name__} has no {' and no '.join(missing)}: wrap it in scikit-learn's "
            "CalibratedClassifierCV, or use an estimator with both."
        )
    init_backend()  # the losses are computed by Keras
    start = time.perf_counter()
    train = rows["split"].isin(fitted).to_numpy()
    estimator.fit(x[train].reshape(train.sum(), -1), rows.loc[train, "emotion"].to_numpy(dtype=str))
    seconds = time.perf_counter() - start
    model, labels = EstimatorModel(estimator, name, labels), list(labels)
    predictions, losses = predict_rows(model, x[..., None], one_hot(rows["emotion"], labels), rows, labels)
    return FitResult(model, one_epoch_history(predictions, losses, name), predictions, seconds, losses)


def model_file(folder: str | Path, model: Any, name: str) -> Path:
    """Return the file that a model is saved to: `<name>.keras`, or `<name>.joblib` of an estimator."""
    return Path(folder) / f"{name}{ESTIMATOR_SUFFIX if isinstance(model, EstimatorModel) else KERAS_SUFFIX}"


def save_model(model: keras.Model | EstimatorModel, file: Path) -> None:
    """Save a network without its optimizer, or an estimator, to the file that `model_file` names."""
    if isinstance(model, EstimatorModel):
        import joblib

        joblib.dump(model, file)
    else:
        strip_optimizer(model).save(file)
