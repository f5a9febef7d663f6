"""Train the network of Zisad et al. (2020) on a GPU by Keras on JAX, an epoch as one compiled loop.

    python tools/train_on_gpu.py export DATA_DIR                       # where sernb is installed
    KERAS_BACKEND=jax python tools/train_on_gpu.py train DATA_DIR OUT_DIR JOBS.json   # on the GPU; needs no sernb
    python tools/train_on_gpu.py collect DATA_DIR OUT_DIR book/results/paper-gpu.csv

`JOBS.json` lists dictionaries such as `{"split": "75:15:10", "seed": 42, "activation": "softmax", "recipe": "plain",
"epochs": 120}`; `initializer`, `loss` and `precision` are optional. Network, recipes and splits are those of `sernb`.
What differs from its runs: features are stored in float16, the noisy copies are those of seed 42 whatever the seed, and
batches are drawn by JAX.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

COEFFICIENTS = 100
RECIPES = {"plain": {"batch": 32, "peak": 0.0}, "quick": {"batch": 16, "peak": 4e-3}}
WARMUP = 3  # epochs


def export(data_dir: Path) -> None:
    """Write the MFCC of all RAVDESS clips and their noisy copies, their labels, and the splits of ten seeds."""
    import pandas as pd

    from sernb import corpora
    from sernb import evaluation
    from sernb import features

    data_dir.mkdir(parents=True, exist_ok=True)
    clips = corpora.drop_unknown(corpora.load("ravdess"))
    options = {"augment": "before-split"}
    rows = evaluation.make_split(clips, "random", seed=42, **options).sort_values(["clip", "copy"])
    x = features.extract(rows, "mfcc", sample_rate=16000, seed=42, n_mfcc=COEFFICIENTS)
    frames = np.array([1 + np.flatnonzero((row != row[:, -1:]).any(0)).max(initial=-1) + 1 for row in x])
    frames = np.minimum(frames, x.shape[2])
    flat = [row[:, :length].ravel() for row, length in zip(x, frames, strict=True)]
    np.save(data_dir / "features.npy", np.concatenate(flat).astype(np.float16))
    np.save(data_dir / "frames.npy", frames)
    columns = ["clip", "copy", "speaker", "emotion"]
    rows[columns].to_csv(data_dir / "rows.csv", index=False)
    position = pd.Series(range(len(rows)), index=pd.MultiIndex.from_frame(rows[["clip", "copy"]]))
    splits = {}
    for ratio in ("70:20:10", "75:15:10", "80:10:10"):
        for seed in range(42, 52):
            one = evaluation.make_split(clips, "random", ratio=ratio, seed=seed, **options)
            names = np.empty(len(rows), "U5")
            names[position[pd.MultiIndex.from_frame(one[["clip", "copy"]])]] = one["split"]
            splits[f"{ratio}|{seed}"] = names
    np.savez_compressed(data_dir / "splits.npz", **splits)


def collect(data_dir: Path, out_dir: Path, table: Path) -> None:
    """Write one row per run with its scores and intervals, and each run's curves beside the table."""
    import pandas as pd

    from sernb import evaluation

    rows = pd.read_csv(data_dir / "rows.csv", dtype=str, keep_default_na=False)
    splits, lines, curves = np.load(data_dir / "splits.npz"), [], []
    for file in sorted(out_dir.glob("*.json")):
        run = json.loads(file.read_text())
        outputs = np.load(file.with_suffix(".npz"))["probabilities"]
        test = rows[splits[f"{run['split']}|{run['seed']}"] == "test"]
        labels = sorted(rows["emotion"].unique())
        predictions = pd.DataFrame(
            {
                "clip": test["clip"],
                "speaker": test["speaker"],
                "truth": test["emotion"],
                "prediction": np.array(labels)[outputs.argmax(1)],
            }
        )
        matrix = evaluation.confusion_matrix(predictions["truth"], predictions["prediction"], labels)
        settings = {
            "SPLIT": run["split"],
            "OUTPUT_ACTIVATION": run["activation"],
            "RECIPE": run["recipe"],
            "EPOCHS": run["epochs"],
            "SEED": run["seed"],
            "INITIALIZER": run.get("initializer", "glorot_uniform"),
            "LOSS": run.get("loss", "keras"),
        }
        scores = evaluation.compute_scores(matrix)
        scores |= {"train_accuracy": run["train"], "val_accuracy": run["val"]}
        lines.append(
            {
                "run": "_".join(str(value).replace(":", "-") for value in settings.values()),
                "status": "finished",
                "label": f"{run['recipe']}, {run['epochs']} epochs, on a GPU",
            }
            | settings
            | {"model": "paper-cnn"}
            | scores
            | {"epochs": run["epochs_run"], "seconds": run["seconds"]}
        )
        curve = pd.DataFrame(run["curves"], columns=["train_loss", "train_accuracy", "val_accuracy", "test_accuracy"])
        curves.append(pd.DataFrame([settings] * len(curve)).join(curve).assign(epoch=range(1, len(curve) + 1)))
    pd.DataFrame(lines).sort_values(list(settings)).to_csv(table, index=False)
    table.with_suffix("").mkdir(exist_ok=True)
    pd.concat(curves).round(4).to_csv(table.with_suffix("") / "history.csv", index=False)


def train(data_dir: Path, out_dir: Path, jobs: list[dict]) -> None:
    """Run the jobs one after another and write `NAME.json` (curves, scores) and `NAME.npz` (test probabilities)."""
    out_dir.mkdir(parents=True, exist_ok=True)
    x, emotions, splits = load(data_dir)
    for job in jobs:
        name = "_".join(str(value).replace(":", "-") for value in job.values())
        begin = time.time()
        result, probabilities = run(job, x, emotions, splits[f"{job['split']}|{job['seed']}"])
        result["seconds"] = time.time() - begin
        (out_dir / f"{name}.json").write_text(json.dumps(job | result))
        np.savez_compressed(out_dir / f"{name}.npz", probabilities=probabilities)
        print(name, {k: round(result[k], 4) for k in ("train", "val", "test", "seconds")}, flush=True)


def load(data_dir: Path) -> tuple[jnp.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the padded features (rows, coefficients, frames), the emotions as integers, and the splits by name."""
    flat = np.load(data_dir / "features.npy")
    frames = np.load(data_dir / "frames.npy")
    x = np.zeros((len(frames), COEFFICIENTS, frames.max()), np.float32)
    start = 0
    for i, length in enumerate(frames):
        row = flat[start : start + COEFFICIENTS * length].reshape(COEFFICIENTS, length)
        x[i, :, :length] = row
        x[i, :, length:] = row[:, -1:]
        start += COEFFICIENTS * length
    lines = (data_dir / "rows.csv").read_text().splitlines()
    column = lines[0].split(",").index("emotion")
    _, emotions = np.unique([line.split(",")[column] for line in lines[1:]], return_inverse=True)
    return jnp.asarray(x), emotions, dict(np.load(data_dir / "splits.npz"))


def network(shape: tuple[int, int, int], activation: str, initializer: str) -> keras.Model:
    """Build the paper's network; `initializer` is Keras's default, `glorot_uniform`, unless a job names another."""
    stack = [keras.Input(shape)]
    for filters in (16, 32, 64, 128):
        convolution = layers.Conv2D(filters, 2, activation="relu", kernel_initializer=initializer)
        stack += [convolution, layers.MaxPooling2D(2), layers.Dropout(0.2)]
    stack += [layers.GlobalAveragePooling2D(), layers.Dense(8, activation=activation, dtype="float32")]
    return keras.Sequential(stack)


def cross_entropy(outputs: jnp.ndarray, truth: jnp.ndarray, loss: str) -> jnp.ndarray:
    """Return the categorical cross-entropy of each row, shape (n,).

    `keras` divides each row by its sum and clips to [1e-7, 1 - 1e-7], as Keras did in 2020 and does today (but for
    sigmoid, whose logits today's Keras remembers); `undivided` clips only, as Theano's did; `offset` adds 1e-7 before
    it divides, so that a row of zeros has a gradient.
    """
    if loss == "offset":
        outputs = outputs + 1e-7
    if loss != "undivided":
        outputs = outputs / outputs.sum(-1, keepdims=True)
    outputs = jnp.clip(outputs, 1e-7, 1 - 1e-7)
    return -jnp.log(jnp.take_along_axis(outputs, truth[:, None], axis=-1)[:, 0])


def run(job: dict, x: jnp.ndarray, emotions: np.ndarray, sides: np.ndarray) -> tuple[dict, np.ndarray]:
    """Train one network; return its curves and final accuracies, and the probabilities of its test rows."""
    keras.mixed_precision.set_global_policy(job.get("precision", "float32"))
    keras.utils.set_random_seed(job["seed"])
    recipe, epochs = RECIPES[job["recipe"]], job["epochs"]
    rows = {side: jnp.asarray(np.flatnonzero(sides == side)) for side in ("train", "val", "test")}
    truth = jnp.asarray(emotions)
    mean = x[rows["train"]].mean((0, 2))[:, None]
    deviation = x[rows["train"]].std((0, 2))[:, None]
    data = (x, mean, deviation, truth)  # arguments of the compiled functions: as constants they would be compiled in
    model = network((*x.shape[1:], 1), job["activation"], job.get("initializer", "glorot_uniform"))
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)
    groups = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = tuple([variable.value for variable in group] for group in groups)
    rate_at = next(i for i, variable in enumerate(optimizer.variables) if variable.path.endswith("learning_rate"))
    batch = recipe["batch"]
    steps = -(-len(rows["train"]) // batch)

    def inputs(data, index):
        x, mean, deviation, _ = data
        return ((x[index] - mean) / deviation)[..., None]

    def learning_rate(number):
        if not recipe["peak"]:
            return 1e-3
        epoch, warmup = number / steps, min(WARMUP, epochs / 2)
        rising = recipe["peak"] * (epoch + 1 / steps) / warmup
        falling = recipe["peak"] * 0.5 * (1 + jnp.cos(jnp.pi * (epoch - warmup) / (epochs - warmup)))
        return jnp.where(epoch < warmup, rising, falling)

    def loss_of(trainable, fixed, data, index, weight):
        outputs, fixed = model.stateless_call(trainable, fixed, inputs(data, index), training=True)
        truth = data[3][index]
        losses = cross_entropy(outputs, truth, job.get("loss", "keras"))
        hits = (outputs.argmax(-1) == truth) * weight
        return (losses * weight).sum() / weight.sum(), (fixed, hits.sum())

    @jax.jit
    def epoch_of(state, data, train, key, number):
        order = jax.random.permutation(key, train)
        padded = jnp.resize(order, (steps * batch,)).reshape(steps, batch)
        weights = (jnp.arange(steps * batch) < len(order)).astype(jnp.float32).reshape(steps, batch)

        def step(state, item):
            (trainable, fixed, moments), (index, weight, number) = state, item
            gradient_of = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (fixed, hits)), gradient = gradient_of(trainable, fixed, data, index, weight)
            moments[rate_at] = jnp.asarray(learning_rate(number), moments[rate_at].dtype)
            trainable, moments = optimizer.stateless_apply(moments, gradient, trainable)
            return (trainable, fixed, moments), (loss * weight.sum(), hits)

        numbers = number * steps + jnp.arange(steps)
        state, (losses, hits) = jax.lax.scan(step, state, (padded, weights, numbers))
        return state, losses.sum() / len(order), hits.sum() / len(order)

    @jax.jit
    def predict(state, data, index):
        chunks = -(-len(index) // 128)
        padded = jnp.resize(index, (chunks * 128,)).reshape(chunks, 128)

        def predict_chunk(part):
            return model.stateless_call(state[0], state[1], inputs(data, part), training=False)[0]

        return jax.lax.map(predict_chunk, padded).reshape(chunks * 128, -1)[: len(index)]

    def accuracy(state, side):
        return float((predict(state, data, rows[side]).argmax(-1) == truth[rows[side]]).mean())

    key, curves = jax.random.PRNGKey(job["seed"]), []
    for number in range(epochs):
        key, part = jax.random.split(key)
        state, loss, hits = epoch_of(state, data, rows["train"], part, number)
        curves.append([float(loss), float(hits), accuracy(state, "val"), accuracy(state, "test")])
        if not np.isfinite(curves[-1][0]):
            break
    scores = {side: accuracy(state, side) for side in ("train", "val", "test")}
    return scores | {"epochs_run": len(curves), "curves": curves}, np.asarray(predict(state, data, rows["test"]))


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    if command == "train":
        import jax
        import jax.numpy as jnp
        import keras
        from keras import layers

        train(Path(paths[0]), Path(paths[1]), json.loads(Path(paths[2]).read_text()))
    else:
        {"export": export, "collect": collect}[command](*map(Path, paths))
