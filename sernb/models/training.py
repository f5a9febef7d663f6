"""Fit a model, score it, and leave the run's files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd

from sernb import evaluation
from sernb import utils
from sernb.models.keras_tools import init_backend

if TYPE_CHECKING:
    import keras

HISTORY_COLUMNS = ["model", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]


@dataclass
class FitResult:
    """What came of fitting one model."""

    model: keras.Model
    history: pd.DataFrame
    predictions: pd.DataFrame
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)
    failed_epoch: int = 0
    from_disk: bool = False


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and the Keras backend, and ask TensorFlow for repeatable operations."""
    init_backend()
    import keras

    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def one_hot(emotions: pd.Series, labels: list[str]) -> np.ndarray:
    """Labels as rows of zeros and a one, in the order of `labels`; shape (n, k), float32."""
    place = {label: i for i, label in enumerate(labels)}
    return np.eye(len(labels), dtype=np.float32)[emotions.map(place).to_numpy()]


def fit(
    model: keras.Model,
    x: np.ndarray,
    rows: pd.DataFrame,
    labels: list[str],
    *,
    epochs: int,
    fitted: tuple[str, ...] = ("train",),
    val_x: np.ndarray | None = None,
    recipe: str = "plain",
) -> FitResult:
    """Fit a compiled model on the training rows and predict every row with it.

    Args:
        model: Compiled; its name is the model's name in every file.
        x: Inputs, one for each row, without the channel axis: shape (n, ...). Where they lie on disk (see `large`)
            a batch at a time is read.
        rows: What `evaluation.make_split` returns.
        labels: The run's label list.
        epochs: Passes over the training rows.
        fitted: The sides fitted on; `validation-in-train` fits on train and val.
        val_x: Inputs of the validation rows where a fault replaces them.
        recipe: `plain` (batches of 32, Adam at its default rate) or `quick` (batches of 16, 3 epochs of warm-up to
            0.004, then cosine decay to 0).

    Returns:
        The fitted model, its history and the predictions of every row. A loss of NaN ends the fit and sets
        `failed_epoch`; nothing is raised, so that the other models of a run go on.
    """
    how = get_recipe(recipe)
    x, y = x[..., None], one_hot(rows["emotion"], labels)
    train, val = rows["split"].isin(fitted).to_numpy(), (rows["split"] == "val").to_numpy()
    callbacks = [_epoch_bar(model.name, epochs), *_schedule(how, model, epochs, -(-train.sum() // how.batch_size))]
    start = time.perf_counter()
    _make_variables(model, np.zeros((1, *x.shape[1:]), np.float32), y[:1])
    with _without_autotune():
        history = model.fit(
            **_fit_arguments(x, y, train, how.batch_size),
            validation_data=_validation_data(x, y, val) if val_x is None else (val_x[..., None], y[val]),
            epochs=epochs,
            verbose=0,
            callbacks=callbacks,
        )
    seconds = time.perf_counter() - start
    curves = _history_table(model.name, history.history)
    failed = list(curves.loc[~np.isfinite(curves[["train_loss", "val_loss"]]).all(axis=1), "epoch"])
    predictions, losses = predict_rows(model, x, y, rows, labels)
    if not np.isfinite(list(losses.values())).all():  # the clips of one side may do what no batch did
        failed.append(len(curves))
    return FitResult(model, curves, predictions, seconds, losses, int(failed[0]) if failed else 0, utils.is_memmap(x))


def _make_variables(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    """Make the variables of optimizer and metrics: if the first step makes them, TensorFlow traces it a second time.

    What the metrics are told here, Keras forgets when an epoch begins.
    """
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(x, y, model(x, training=False))


@contextmanager
def _without_autotune() -> Iterator[None]:
    """Let TensorFlow read batches without tuning how it reads them; one fit at a time.

    Its tuner sleeps 10 ms, 20 ms, 40 ms and so on, and often the end of an epoch waits until it wakes: up to as long
    as the epoch took. In the bench that is between nothing and a fifth of a training. About arrays there is little to
    tune, in memory or on disk. Keras makes its datasets itself, so that none of them can be given the option but on its
    way to be read.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    read = tf.data.Dataset.__iter__
    tf.data.Dataset.__iter__ = lambda dataset: read(dataset.with_options(options))
    try:
        yield
    finally:
        tf.data.Dataset.__iter__ = read


def _fit_arguments(x: np.ndarray, y: np.ndarray, train: np.ndarray, batch_size: int) -> dict[str, Any]:
    """What Keras is given to fit on."""
    if utils.is_memmap(x):
        return {"x": _batch_generator(x, y, np.flatnonzero(train), batch_size, shuffled=True)}
    return {"x": x[train], "y": y[train], "batch_size": batch_size}


def _validation_data(x: np.ndarray, y: np.ndarray, val: np.ndarray) -> Any:
    return _batch_generator(x, y, np.flatnonzero(val), 32) if utils.is_memmap(x) else (x[val], y[val])


def _batch_generator(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, size: int, *, shuffled: bool = False
) -> keras.utils.PyDataset:
    """Some rows of arrays that do not fit in memory, a batch at a time, in another order each epoch."""
    import keras

    # From NumPy's own generator, which `seed_everything` has seeded, as Keras's own shuffling is.
    chance = np.random.default_rng(np.random.randint(2**31))

    class Batches(keras.utils.PyDataset):
        order = chance.permutation(rows) if shuffled else rows

        def __len__(self) -> int:
            return -(-len(rows) // size)

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
            some = self.order[i * size : (i + 1) * size]
            return np.asarray(x[some]), y[some]

        def on_epoch_end(self) -> None:
            self.order = chance.permutation(rows) if shuffled else rows

    return Batches()


def _epoch_bar(name: str, epochs: int) -> keras.callbacks.Callback:
    import keras

    bar = utils.progress_bar(total=epochs, desc=name, unit="epoch")

    def step(epoch: int, logs: dict) -> None:
        bar.set_postfix(val=f"{logs['val_accuracy']:.3f}")
        bar.update()
        if not np.isfinite(logs["loss"] + logs["val_loss"]):
            callback.model.stop_training = True

    callback = keras.callbacks.LambdaCallback(on_epoch_end=step, on_train_end=lambda logs: bar.close())
    return callback


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in RECIPES:
        raise ValueError(f"RECIPE is {name!r}; give one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def _schedule(recipe: Recipe, model: keras.Model, epochs: int, steps: int) -> list:
    """Warm-up and cosine decay, step by step; nothing where the recipe leaves Adam its own rate."""
    if not recipe.peak:
        return []
    import keras

    warmup = min(recipe.warmup, epochs / 2)

    def rate(step: int) -> float:
        epoch = step / steps
        if epoch < warmup:
            return recipe.peak * (epoch + 1 / steps) / warmup
        return recipe.peak * 0.5 * (1 + np.cos(np.pi * (epoch - warmup) / (epochs - warmup)))

    done = iter(range(epochs * steps))
    set_rate = lambda batch, logs=None: setattr(model.optimizer, "learning_rate", rate(next(done)))  # noqa: E731
    return [keras.callbacks.LambdaCallback(on_train_batch_begin=set_rate)]


def _history_table(name: str, history: Mapping[str, list[float]]) -> pd.DataFrame:
    names = {"loss": "train_loss", "accuracy": "train_accuracy"}
    curves = pd.DataFrame(history).rename(columns=names)
    return curves.assign(model=name, epoch=np.arange(1, len(curves) + 1))[HISTORY_COLUMNS]


def predict_rows(
    model: keras.Model, x: np.ndarray, y: np.ndarray, rows: pd.DataFrame, labels: list[str]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Predict every row, and the loss of each side.

    Returns:
        `predictions.csv`'s table (probabilities are the outputs divided by their sum, NaN where all are zero), and
        the mean categorical cross-entropy of train, val and test.
    """
    import keras

    numpy = keras.ops.convert_to_numpy
    outputs = np.concatenate([numpy(model(x[i : i + 64], training=False)) for i in range(0, len(x), 64)])
    loss = numpy(keras.losses.categorical_crossentropy(y, outputs))
    with np.errstate(invalid="ignore", divide="ignore"):
        probabilities = outputs / outputs.sum(axis=1, keepdims=True)
    # Of outputs that are all zero, or NaN, no emotion is the largest.
    answer = np.where(np.isfinite(probabilities).all(axis=1), np.array(labels)[outputs.argmax(axis=1)], "")
    table = rows[["clip", "copy", "speaker", "split"]].assign(truth=rows["emotion"], prediction=answer)
    table.insert(0, "model", model.name)
    table[labels] = probabilities.round(6)
    return table, {side: float(loss[(rows["split"] == side).to_numpy()].mean()) for side in evaluation.SIDES}


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted: `epochs` is what the paper's network gets by default, `peak` 0 is Adam's own rate."""

    epochs: int
    batch_size: int
    peak: float = 0.0
    warmup: int = 0


RECIPES = {"plain": Recipe(120, 32), "quick": Recipe(80, 16, peak=4e-3, warmup=3)}
