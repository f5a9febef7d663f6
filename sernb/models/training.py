"""Floor 3: fit a model, score it, and leave the run's files."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pandas as pd

from sernb import audit
from sernb import corpora
from sernb import features
from sernb import large
from sernb import limits
from sernb import metrics
from sernb import models
from sernb import splits
from sernb.progress import progress

if TYPE_CHECKING:
    import keras

SCHEMA = 1
HISTORY = ["model", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]


@dataclass
class Trained:
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
    models.wake_backend()
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
) -> Trained:
    """Fit a compiled model on the training rows and predict every row with it.

    Args:
        model: Compiled; its name is the model's name in every file.
        x: Inputs, one for each row, without the channel axis: shape (n, ...). Where they lie on disk (see `large`)
            a batch at a time is read.
        rows: What `splits.prepare` returns.
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
    how = recipe_of(recipe)
    x, y = x[..., None], one_hot(rows["emotion"], labels)
    train, val = rows["split"].isin(fitted).to_numpy(), (rows["split"] == "val").to_numpy()
    callbacks = [_bar(model.name, epochs), *_schedule(how, model, epochs, -(-train.sum() // how.batch_size))]
    start = time.perf_counter()
    _make_variables(model, np.zeros((1, *x.shape[1:]), np.float32), y[:1])
    with _untuned():
        history = model.fit(
            **_fed(x, y, train, how.batch_size),
            validation_data=_held_out(x, y, val) if val_x is None else (val_x[..., None], y[val]),
            epochs=epochs,
            verbose=0,
            callbacks=callbacks,
        )
    seconds = time.perf_counter() - start
    curves = _curves(model.name, history.history)
    failed = list(curves.loc[~np.isfinite(curves[["train_loss", "val_loss"]]).all(axis=1), "epoch"])
    predictions, losses = predict(model, x, y, rows, labels)
    if not np.isfinite(list(losses.values())).all():  # the clips of one side may do what no batch did
        failed.append(len(curves))
    return Trained(model, curves, predictions, seconds, losses, int(failed[0]) if failed else 0, large.large(x))


def _make_variables(model: keras.Model, x: np.ndarray, y: np.ndarray) -> None:
    """Make the variables of optimizer and metrics: if the first step makes them, TensorFlow traces it a second time.

    What the metrics are told here, Keras forgets when an epoch begins.
    """
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(x, y, model(x, training=False))


@contextmanager
def _untuned() -> Iterator[None]:
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


def _fed(x: np.ndarray, y: np.ndarray, train: np.ndarray, batch_size: int) -> dict[str, Any]:
    """What Keras is given to fit on."""
    if large.large(x):
        return {"x": _batches(x, y, np.flatnonzero(train), batch_size, shuffled=True)}
    return {"x": x[train], "y": y[train], "batch_size": batch_size}


def _held_out(x: np.ndarray, y: np.ndarray, val: np.ndarray) -> Any:
    return _batches(x, y, np.flatnonzero(val), 32) if large.large(x) else (x[val], y[val])


def _batches(
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


def _bar(name: str, epochs: int) -> keras.callbacks.Callback:
    import keras

    bar = progress(total=epochs, desc=name, unit="epoch")

    def step(epoch: int, logs: dict) -> None:
        bar.set_postfix(val=f"{logs['val_accuracy']:.3f}")
        bar.update()
        if not np.isfinite(logs["loss"] + logs["val_loss"]):
            callback.model.stop_training = True

    callback = keras.callbacks.LambdaCallback(on_epoch_end=step, on_train_end=lambda logs: bar.close())
    return callback


def recipe_of(name: str) -> models.Recipe:
    """The recipe of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in models.RECIPES:
        raise ValueError(f"RECIPE is {name!r}; give one of {', '.join(models.RECIPES)}.")
    return models.RECIPES[name]


def _schedule(recipe: models.Recipe, model: keras.Model, epochs: int, steps: int) -> list:
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


def _curves(name: str, history: Mapping[str, list[float]]) -> pd.DataFrame:
    names = {"loss": "train_loss", "accuracy": "train_accuracy"}
    curves = pd.DataFrame(history).rename(columns=names)
    return curves.assign(model=name, epoch=np.arange(1, len(curves) + 1))[HISTORY]


def predict(
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
    return table, {side: float(loss[(rows["split"] == side).to_numpy()].mean()) for side in splits.SIDES}


def evaluate(trained: Trained, labels: list[str]) -> dict[str, Any]:
    """One model's entry in `metrics.json`: weights, epochs, seconds, scores of each side, interval, confusion.

    A run that failed has no scores, but `failed` with the epoch.
    """
    entry: dict[str, Any] = {
        "weights": trained.model.count_params(),
        "epochs": len(trained.history),
        "seconds": round(trained.seconds, 1),
    }
    if trained.from_disk:  # the batches then have another order, and the figures other digits
        entry["from_disk"] = True
    if trained.failed_epoch:
        return {**entry, "failed": f"loss became NaN in epoch {trained.failed_epoch}"}
    return {**entry, **_scores(trained.predictions, trained.losses, labels)}


def _scores(predictions: pd.DataFrame, losses: Mapping[str, float], labels: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for side in splits.SIDES:
        part = predictions[predictions["split"] == side]
        matrix = metrics.confusion(part["truth"].to_numpy(), part["prediction"].to_numpy(), labels)
        entry[side] = {"loss": float(losses[side]), **metrics.scores(matrix)}
    # The loop ends with test: its rows carry the interval and the confusion.
    return {**entry, "ci95": metrics.interval(part, labels), "confusion": matrix.tolist()}


def save(
    output_dir: str | Path,
    trained: Mapping[str, Trained],
    *,
    notebook: str,
    parameters: Mapping[str, Any],
    table: pd.DataFrame,
    rows: pd.DataFrame,
    labels: list[str],
    protocol: str,
    fitted: tuple[str, ...] = ("train",),
    inputs: Mapping[str, features.Inputs] | None = None,
) -> dict[str, Any]:
    """Write `metrics.json`, `predictions.csv`, `history.csv` and the models, and return what `metrics.json` holds.

    Args:
        output_dir: Made where it is missing.
        trained: By model name.
        notebook: Its file's name.
        parameters: As the notebook ran with them.
        table: The clip table trained from; test rows of another corpus get facts of their own, `split.tested`.
        rows: What `splits.prepare` returned.
        labels: The run's label list.
        protocol: The protocol in force, faults considered.
        fitted: The sides fitted on.
        inputs: How each model's inputs were made, by its name: written to `inputs.json`, so that `prediction` can
            prepare a new clip.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "schema": SCHEMA,
        "notebook": notebook,
        "parameters": dict(parameters),
        "corpus": _corpus_facts(table),
        "split": _split_facts(rows, table, protocol, fitted),
        "labels": labels,
        "models": {name: evaluate(one, labels) for name, one in trained.items()},
        "environment": environment(parameters.get("SEED")),
    }
    pd.concat([one.predictions for one in trained.values()]).to_csv(folder / "predictions.csv", index=False)
    pd.concat([one.history for one in trained.values()]).to_csv(folder / "history.csv", index=False)
    for name, one in trained.items():
        models.without_optimizer(one.model).save(folder / f"{name}.keras")
    if inputs:
        told = {name: asdict(one) for name, one in inputs.items()}
        (folder / "inputs.json").write_text(json.dumps(told, default=np.ndarray.tolist) + "\n")
    # Last, because its presence says that the run is whole. NaN is no JSON: a missing interval is null.
    (folder / "metrics.json").write_text(json.dumps(_no_nan(result), indent=1) + "\n")
    return result


def pool(output_dir: str | Path, folds: Iterable[int], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Put the finished runs of some folds together as one, scored over the rows of all of them.

    Each fold's run lies in `fold-<k>` of the folder. Beside these come `predictions.csv` (the test rows of all folds)
    and `history.csv`, each with a column `fold`, and `metrics.json`: `split.folds` tells of each fold, and the counts
    of `split` are sums over folds. There is no network to load but those of the folds.

    Args:
        output_dir: The folder above those of the folds.
        folds: Their numbers.
        parameters: As the notebook ran with them.

    Returns:
        What `metrics.json` holds.
    """
    folder = Path(output_dir)
    runs = {fold: json.loads((folder / f"fold-{fold}" / "metrics.json").read_text(encoding="utf-8")) for fold in folds}
    told, curves = (_of_folds(folder, runs, name) for name in ("predictions.csv", "history.csv"))
    first = next(iter(runs.values()))
    result = {
        **first,
        "parameters": dict(parameters),
        "split": _pooled_split({fold: run["split"] for fold, run in runs.items()}, told),
        "models": {name: _pooled_model(runs, told[told["model"] == name], name) for name in first["models"]},
    }
    (folder / "inputs.json").unlink(missing_ok=True)  # of a single run that lay here: its network is not this run's
    told[told["split"] == "test"].to_csv(folder / "predictions.csv", index=False)
    curves.to_csv(folder / "history.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(_no_nan(result), indent=1) + "\n")
    return result


def _of_folds(folder: Path, folds: Iterable[int], name: str) -> pd.DataFrame:
    """One file of each fold's run, to the last digit, below one another, with a first column `fold`."""
    files = {fold: folder / f"fold-{fold}" / name for fold in folds}
    text = {"speaker": str, "clip": str}
    read = {fold: pd.read_csv(file, dtype=text, float_precision="round_trip") for fold, file in files.items()}
    return pd.concat(read, names=["fold"]).reset_index("fold").reset_index(drop=True)


def _pooled_split(parts: Mapping[int, dict[str, Any]], told: pd.DataFrame) -> dict[str, Any]:
    each = list(parts.values())
    return {
        **each[0],
        **{side: sum(part[side] for part in each) for side in splits.SIDES},
        **{name: _summed([part[name] for part in each]) for name in ("leaks", "test_leaks")},
        "speakers": told.groupby("split")["speaker"].nunique().to_dict(),
        "folds": [{"fold": fold, **part} for fold, part in parts.items()],
    }


def _summed(each: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(one[key] for one in each) for key in each[0]}


def _pooled_model(runs: Mapping[int, dict[str, Any]], told: pd.DataFrame, name: str) -> dict[str, Any]:
    """One model's entry: scores over the rows of all folds, epochs of the longest fold, seconds of all together."""
    each = {fold: run["models"][name] for fold, run in runs.items()}
    entry = {
        "weights": next(iter(each.values()))["weights"],
        "epochs": max(one["epochs"] for one in each.values()),
        "seconds": round(sum(one["seconds"] for one in each.values()), 1),
    }
    if failed := [f"fold {fold}: {one['failed']}" for fold, one in each.items() if "failed" in one]:
        return {**entry, "failed": "; ".join(failed)}
    rows = {side: np.array([run["split"][side] for run in runs.values()]) for side in splits.SIDES}
    losses = {side: np.average([one[side]["loss"] for one in each.values()], weights=rows[side]) for side in rows}
    return {**entry, **_scores(told, losses, next(iter(runs.values()))["labels"])}


def _corpus_facts(table: pd.DataFrame) -> dict[str, Any]:
    return {
        "name": table["corpus"].iloc[0],
        "clips": len(table),
        "speakers": int(table["speaker"].nunique()),
        "fingerprint": corpora.fingerprint(table),
    }


def _split_facts(rows: pd.DataFrame, table: pd.DataFrame, protocol: str, fitted: tuple[str, ...]) -> dict[str, Any]:
    sides = {side: rows[rows["split"] == side] for side in splits.SIDES}
    # By path: two corpora may both be called `local`.
    elsewhere = {} if sides["test"]["path"].isin(table["path"]).all() else {"tested": _corpus_facts(sides["test"])}
    return {
        **elsewhere,
        "protocol": protocol,
        **{side: len(part) for side, part in sides.items()},
        "speakers": {side: int(part["speaker"].nunique()) for side, part in sides.items()},
        "fitted": list(fitted),
        "leaks": audit.counts(rows, fitted),
        "test_leaks": audit.counts(rows, fitted, ("test",)),
    }


def _no_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _no_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_no_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def environment(seed: int | None) -> dict[str, Any]:
    """Versions, git revision and seed: what one needs to know to run it again."""
    import keras

    packages = ("sernb", "numpy", "librosa", "keras", "tensorflow", "nlpaug", "scikit-learn")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {package: _version(package) for package in packages},
        "backend": keras.backend.backend(),
        "revision": revision(),
        "seed": seed,
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def revision() -> str:
    """The git revision of the code, with `+` if it was changed since; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook's parameters: its UPPER_CASE names, as far as they are plain values.

    Raises:
        ParameterError: One is out of range (see `limits`), so that no work is begun in vain.
    """
    return limits.check_here(namespace)
