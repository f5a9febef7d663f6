"""Fit a network on the training rows of a split and predict every row with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import evaluation
from sernb import utils
from sernb.models.keras_tools import init_backend

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from tqdm.auto import tqdm

HISTORY_COLUMNS = ["model", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted: `epochs` by default, `batch_size`, and the learning rate.

    `peak` is the highest learning rate, reached after `warmup` epochs; 0 leaves Adam at its default rate.
    """

    epochs: int
    batch_size: int
    peak: float = 0.0
    warmup: int = 0


RECIPES = {"plain": Recipe(120, 32), "quick": Recipe(80, 16, peak=4e-3, warmup=3)}


@dataclass
class FitResult:
    """A fitted model with its history, its predictions of every row, and the loss of each set of the split.

    `history` has the columns `HISTORY_COLUMNS`. `seconds` is the time of the fit, `failed_epoch` the epoch in which a
    loss became NaN (0 if none did), and `from_disk` whether batches were read from a memory-mapped array.
    """

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


def get_recipe(name: str) -> Recipe:
    """Return a training recipe by its name.

    Raises:
        ValueError: There is no recipe of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"RECIPE must be one of {', '.join(RECIPES)} (got {name!r})")
    return RECIPES[name]


def one_hot(emotions: pd.Series, labels: list[str]) -> np.ndarray:
    """Encode emotions as one-hot vectors in the order of `labels`; float32, shape (n, k)."""
    index = {label: i for i, label in enumerate(labels)}
    return np.eye(len(labels), dtype=np.float32)[emotions.map(index).to_numpy()]


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
        model: Compiled model; its name is used in every result file.
        x: One input per row, without the channel axis, shape (n, ...). A memory-mapped array is read one batch at a
            time.
        rows: Split clips as `evaluation.make_split` returns them.
        labels: The run's label list.
        epochs: Number of passes over the training rows.
        fitted: The sets that the model is fitted on; the fault `validation-in-train` fits on train and val.
        val_x: Inputs to use for the validation rows instead of their own, for the fault `constant-validation`.
        recipe: `plain` (batches of 32, Adam at its default rate) or `quick` (batches of 16, 3 epochs of warm-up to
            a rate of 0.004, then cosine decay to 0).

    Returns:
        The fitted model, its history and the predictions of every row. A loss of NaN ends the fit and sets
        `failed_epoch`; nothing is raised, so that a run goes on with its other models.

    Raises:
        ValueError: There is no recipe of that name.
    """
    settings = get_recipe(recipe)
    x, y = x[..., None], one_hot(rows["emotion"], labels)
    train, val = (np.flatnonzero(rows["split"].isin(sides)) for sides in (fitted, ("val",)))
    start = time.perf_counter()
    train_data = _make_batches(x, y, train, settings.batch_size, shuffle=True)
    val_size = 32 if utils.is_memmap(x) else settings.batch_size
    if val_x is None:
        val_data = _make_batches(x, y, val, val_size)
    else:
        val_data = _make_batches(val_x[..., None], y[val], np.arange(len(val)), val_size)
    _build_variables(model, np.zeros((1, *x.shape[1:]), np.float32), y[:1])
    options = {"epochs": epochs, "shuffle": False, "verbose": 0}  # the batches are shuffled
    with utils.progress_bar(total=epochs, desc=model.name, unit="epoch") as bar:
        callbacks = [_progress(bar), *_schedule(settings, model, epochs, len(train_data))]
        history = model.fit(train_data, validation_data=val_data, callbacks=callbacks, **options)
    seconds = time.perf_counter() - start
    curves = _history_table(model.name, history.history)
    failed = list(curves.loc[~np.isfinite(curves[["train_loss", "val_loss"]]).all(axis=1), "epoch"])
    predictions, losses = predict_rows(model, x, y, rows, labels)
    if not np.isfinite(list(losses.values())).all():  # the loss may be NaN on the test set alone
        failed.append(len(curves))
    return FitResult(model, curves, predictions, seconds, losses, int(failed[0]) if failed else 0, utils.is_memmap(x))


def _build_variables(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    """Create the variables of optimizer and metrics: if the first step does, TensorFlow traces it a second time.

    Keras resets the metrics when an epoch begins.
    """
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(x, y, model(x, training=False))


def _make_batches(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, batch_size: int, *, shuffle: bool = False
) -> tf.data.Dataset:
    """Return the inputs and labels of some rows in batches, in a new order each epoch if they are shuffled.

    The orders follow from the seed of `seed_everything`. Keras's shuffle of plain arrays is not
    used: once a seed is set, it repeats one order in every epoch.

    TensorFlow's autotuner is off: it sleeps for 10 ms, then doubles the wait each time, and the end of an epoch often
    waits for it, for up to as long as the epoch took. With plain arrays there is little to tune.
    """
    import tensorflow as tf

    seed = np.random.randint(2**31)
    if utils.is_memmap(x):
        batches = _batches_from_disk(x, y, rows, batch_size, np.random.default_rng(seed) if shuffle else None)
    else:
        indices = tf.data.Dataset.from_tensor_slices(rows)
        if shuffle:
            indices = indices.shuffle(len(rows), seed=seed, reshuffle_each_iteration=True)
        arrays = tf.data.Dataset.from_tensors((x, y)).repeat()
        gather = lambda batch, arrays: tuple(tf.gather(array, batch) for array in arrays)  # noqa: E731
        batches = tf.data.Dataset.zip((indices.batch(batch_size), arrays)).map(gather, tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False  # as in Keras: they cost more than they save
    steps = tf.data.experimental.assert_cardinality(-(-len(rows) // batch_size))
    return batches.apply(steps).prefetch(tf.data.AUTOTUNE).with_options(options)


def _batches_from_disk(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, batch_size: int, rng: np.random.Generator | None
) -> tf.data.Dataset:
    """Read one batch at a time, in a new order each epoch if there is a generator of random numbers."""
    import tensorflow as tf

    def read() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the batches of one epoch."""
        order = rows if rng is None else rng.permutation(rows)
        for start in range(0, len(rows), batch_size):
            batch = order[start : start + batch_size]
            yield np.asarray(x[batch]), y[batch]

    signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in (x, y))
    return tf.data.Dataset.from_generator(read, output_signature=signature)


def _progress(bar: tqdm) -> keras.callbacks.Callback:
    """Return a callback that advances a progress bar and ends the fit when a loss is not finite."""
    import keras

    def step(epoch: int, logs: dict) -> None:
        """Advance the progress bar, and stop the training at a loss of NaN."""
        bar.set_postfix(val=f"{logs['val_accuracy']:.3f}")
        bar.update()
        if not np.isfinite(logs["loss"] + logs["val_loss"]):
            callback.model.stop_training = True

    callback = keras.callbacks.LambdaCallback(on_epoch_end=step)
    return callback


def _schedule(recipe: Recipe, model: keras.Model, epochs: int, steps: int) -> list:
    """Return the callback for warm-up and cosine decay, step by step; none where Adam keeps its default rate."""
    if not recipe.peak:
        return []
    import keras

    warmup = min(recipe.warmup, epochs / 2)

    def rate(step: int) -> float:
        """Return the learning rate of one step."""
        epoch = step / steps
        if epoch < warmup:
            return recipe.peak * (epoch + 1 / steps) / warmup
        return recipe.peak * 0.5 * (1 + np.cos(np.pi * (epoch - warmup) / (epochs - warmup)))

    all_steps = iter(range(epochs * steps))
    set_rate = lambda batch, logs=None: setattr(model.optimizer, "learning_rate", rate(next(all_steps)))  # noqa: E731
    return [keras.callbacks.LambdaCallback(on_train_batch_begin=set_rate)]


def _history_table(name: str, history: Mapping[str, list[float]]) -> pd.DataFrame:
    curves = pd.DataFrame(history).rename(columns={"loss": "train_loss", "accuracy": "train_accuracy"})
    return curves.assign(model=name, epoch=np.arange(1, len(curves) + 1))[HISTORY_COLUMNS]


def one_epoch_history(predictions: pd.DataFrame, losses: Mapping[str, float], name: str) -> pd.DataFrame:
    """Return the history of a model that is fitted in one step, with the columns of `HISTORY_COLUMNS`."""
    accuracy = (predictions["truth"] == predictions["prediction"]).groupby(predictions["split"]).mean()
    row = {"model": name, "epoch": 1}
    for side in ("train", "val"):
        row |= {f"{side}_loss": losses[side], f"{side}_accuracy": accuracy.get(side, np.nan)}
    return pd.DataFrame([row])[HISTORY_COLUMNS]


def predict_rows(
    model: keras.Model, x: np.ndarray, y: np.ndarray, rows: pd.DataFrame, labels: list[str]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Predict every row and compute the loss of each set of the split.

    Args:
        model: Fitted model: inputs in, one output per label.
        x: Inputs with their channel axis, shape (n, ..., 1).
        y: One-hot labels, shape (n, k).
        rows: Split clips.
        labels: The run's label list.

    Returns:
        The table of `predictions.csv` (probabilities are the outputs divided by their sum, NaN where all are zero),
        and the mean categorical cross-entropy of each set that has rows.
    """
    import keras

    numpy = keras.ops.convert_to_numpy
    outputs = np.concatenate([numpy(model(x[i : i + 64], training=False)) for i in range(0, len(x), 64)])
    loss = numpy(keras.losses.categorical_crossentropy(y, outputs))
    with np.errstate(invalid="ignore", divide="ignore"):
        probabilities = outputs / outputs.sum(axis=1, keepdims=True)
    # There is no prediction where all outputs are zero or one is NaN.
    finite = np.isfinite(probabilities).all(axis=1)
    prediction = np.where(finite, np.array(labels)[outputs.argmax(axis=1)], "")
    table = rows[["clip", "copy", "speaker", "split"]].assign(truth=rows["emotion"], prediction=prediction)
    table.insert(0, "model", model.name)
    table[labels] = probabilities.round(6)
    in_side = {side: (rows["split"] == side).to_numpy() for side in evaluation.SIDES}
    return table, {side: float(loss[chosen].mean()) for side, chosen in in_side.items() if chosen.any()}
