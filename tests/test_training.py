import concurrent.futures
import io
import json
import shutil
import threading

import keras
import numpy as np
import pandas as pd
import pytest
from tqdm import tqdm

from sernb import display
from sernb import evaluation
from sernb import models
from sernb import results
from sernb import studies
from sernb.models import training
from sernb.results import saving

LABELS = ["angry", "happy", "sad"]


@pytest.fixture(scope="module")
def rows():
    clips = pd.DataFrame(
        [(f"{s}-{i}", s, LABELS[i % 3]) for s in "abcdefgh" for i in range(9)], columns=["clip", "speaker", "emotion"]
    )
    clips = clips.assign(corpus="local", sha256=clips["clip"], path=clips["clip"], sex="")
    return evaluation.make_split(clips, "speaker", ratio="60:20:20", seed=0)


@pytest.fixture(scope="module")
def inputs(rows):
    """Two numbers per clip that roughly determine the emotion."""
    index = rows["emotion"].map(LABELS.index).to_numpy()[:, None]
    return (index + np.random.default_rng(0).normal(0, 0.4, (len(rows), 2))).astype(np.float32)


def train(inputs, rows, *, seed=1, epochs=12, **options):
    models.seed_everything(seed)
    return models.fit(studies.study_a_network("conv1d-b", (2, 1), 3), inputs, rows, LABELS, epochs=epochs, **options)


def save(folder, fit_result, rows):
    return results.save_run(
        folder, {"conv1d-b": fit_result}, notebook="x", parameters={"SEED": 1}, table=rows, rows=rows, labels=LABELS,
        protocol="speaker",
    )  # fmt: skip


def test_a_test_corpus_of_the_same_name_is_recorded(rows):
    """Both corpora may be called `local`: their clips would be searched in the wrong folder."""
    other = rows.assign(path=rows["path"].where(rows["split"] != "test", "elsewhere/" + rows["path"]))
    assert "tested" not in saving._split_facts(rows, rows, "speaker", ("train",))
    facts = saving._split_facts(other, rows, "speaker", ("train",))
    assert facts["tested"]["clips"] == (rows["split"] == "test").sum()


@pytest.fixture(scope="module")
def trained(inputs, rows):
    return train(inputs, rows)


def test_the_files_of_a_run_agree(tmp_path, trained, inputs, rows):
    save(tmp_path, trained, rows)
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["corpus"] | {"fingerprint": ""} == {"name": "local", "clips": 72, "speakers": 8, "fingerprint": ""}
    assert result["split"]["leaks"] == {"speaker": 0, "twin": 0, "content": 0, "statement": 0}
    entry = result["models"]["conv1d-b"]
    assert entry["test"]["accuracy"] > 0.6
    predictions = results.read_predictions(tmp_path)
    test = predictions[predictions["split"] == "test"]
    matrix = evaluation.confusion_matrix(test["truth"], test["prediction"], LABELS)
    assert matrix.tolist() == entry["confusion"]
    assert evaluation.compute_scores(matrix)["uar"] == entry["test"]["uar"]
    np.testing.assert_allclose(predictions[LABELS].sum(axis=1), 1, atol=1e-5)
    assert (predictions[LABELS].idxmax(axis=1) == predictions["prediction"]).all()
    history = pd.read_csv(tmp_path / "history.csv")
    assert list(history) == models.HISTORY_COLUMNS and len(history) == 12
    reloaded = keras.saving.load_model(tmp_path / "conv1d-b.keras")
    assert not reloaded.compiled, "the optimizer's moments are saved with the model"
    np.testing.assert_allclose(reloaded.predict(inputs[:5, :, None], verbose=0), predictions[LABELS][:5], atol=1e-5)


@pytest.mark.slow
def test_two_runs_with_one_seed_give_the_same_scores(inputs, rows):
    first, again, other = (train(inputs, rows, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.history, again.history)
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
    assert not first.history.equals(other.history)


def load_memmap(folder, x):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def keras_batches(x, y, rows, epochs):
    """The batches of some epochs, as a `keras.utils.PyDataset`."""
    dataset = training._make_batches(x, y, rows, 32, shuffle=True)
    batches = [list(dataset.as_numpy_iterator()) for _ in range(epochs)]

    class Batches(keras.utils.PyDataset):
        epoch = -1  # Keras calls `on_epoch_end` before the first epoch too

        def __len__(self):
            return len(batches[0])

        def __getitem__(self, i):
            return batches[min(max(self.epoch, 0), epochs - 1)][i]

        def on_epoch_end(self):
            self.epoch += 1

    return Batches()


@pytest.mark.slow
def test_batches_from_disk_are_those_of_keras_to_the_last_digit(tmp_path, inputs, rows):
    x = load_memmap(tmp_path, inputs)
    ours = train(x, rows, epochs=3)
    y = models.one_hot(rows["emotion"], LABELS)
    train_rows, val = (np.flatnonzero(rows["split"] == side) for side in ("train", "val"))
    models.seed_everything(1)
    model = studies.study_a_network("conv1d-b", (2, 1), 3)
    batches = keras_batches(x[..., None], y, train_rows, epochs=3)
    options = {"validation_data": (x[val][..., None], y[val]), "shuffle": False, "epochs": 3, "verbose": 0}
    history = model.fit(batches, **options).history
    assert ours.from_disk
    assert ours.history["train_loss"].tolist() == history["loss"]
    assert ours.history["val_loss"].tolist() == history["val_loss"]


@pytest.mark.parametrize("from_disk", [False, True])
def test_batches_are_read_with_the_autotuner_off(tmp_path, inputs, from_disk):
    x = load_memmap(tmp_path, inputs) if from_disk else inputs
    batches = training._make_batches(x, np.eye(len(x)), np.arange(40), 32, shuffle=True)
    assert batches.options().autotune.enabled is False
    assert len(batches) == 2
    for batch_x, batch_y in batches.as_numpy_iterator():
        np.testing.assert_array_equal(batch_x, inputs[batch_y.argmax(axis=1)])
    assert sorted(np.concatenate([y.argmax(axis=1) for _, y in batches.as_numpy_iterator()])) == list(range(40))


@pytest.mark.parametrize("from_disk", [False, True])
def test_each_epoch_has_another_order(tmp_path, inputs, from_disk):
    x = load_memmap(tmp_path, inputs) if from_disk else inputs
    models.seed_everything(1)
    batches = training._make_batches(x, np.eye(len(x)), np.arange(40), 32, shuffle=True)
    epochs = [np.concatenate([y.argmax(axis=1) for _, y in batches.as_numpy_iterator()]).tolist() for _ in range(3)]
    assert len({tuple(order) for order in epochs}) == 3


@pytest.mark.slow
def test_two_overlapping_fits_leave_tensorflow_as_it_was(monkeypatch, inputs, rows):
    """Each fit waits inside Keras for the other; the one that began first ends first."""
    tf = pytest.importorskip("tensorflow")
    before, barrier = tf.data.Dataset.__iter__, threading.Barrier(2)
    wait = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: barrier.wait(timeout=60))
    monkeypatch.setattr("sernb.models.training._schedule", lambda *_: [wait])
    networks = [studies.study_a_network("conv1d-b", (2, 1), 3) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        fits = [
            pool.submit(models.fit, network, inputs, rows, LABELS, epochs=epochs)
            for network, epochs in zip(networks, (1, 5), strict=True)
        ]
    assert [len(fit.result().history) for fit in fits] == [1, 5]
    assert tf.data.Dataset.__iter__ is before


def test_a_training_step_is_traced_once(monkeypatch, inputs, rows):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow traces")
    step, traced = keras.Model.train_step, []
    monkeypatch.setattr(keras.Model, "train_step", lambda *args: traced.append(1) or step(*args))
    train(inputs, rows, epochs=2)
    assert len(traced) == 1


def test_losses_equal_those_of_keras_evaluate(trained, inputs, rows):
    test = (rows["split"] == "test").to_numpy()
    y = models.one_hot(rows["emotion"], LABELS)
    loss, accuracy = trained.model.evaluate(inputs[test][..., None], y[test], verbose=0)
    entry = results.evaluate_model(trained, LABELS)["test"]
    assert entry["loss"] == pytest.approx(loss, rel=1e-4)
    assert entry["accuracy"] == pytest.approx(accuracy, rel=1e-4)


def test_a_loss_of_nan_is_reported_with_its_epoch(tmp_path, inputs, rows):
    broken = inputs.copy()
    broken[(rows["split"] == "train").to_numpy()] = np.nan
    result = save(tmp_path, train(broken, rows), rows)
    entry = json.loads((tmp_path / "metrics.json").read_text())["models"]["conv1d-b"]
    assert entry["failed"] == "loss became NaN in epoch 1" and entry["epochs"] == 1
    assert "test" not in entry
    assert "conv1d-b: loss became NaN in epoch 1" in display.describe_outcome(result)


def test_a_loss_of_nan_on_the_test_set_alone_is_reported(tmp_path, inputs, rows):
    """All ReLU outputs are zero for one test clip, so that the loss divides zero by zero."""
    inputs = np.abs(inputs) + 1
    inputs[np.flatnonzero(rows["split"] == "test")[0]] = -5
    output = keras.layers.Dense(3, activation="relu", kernel_initializer="ones")
    model = models.compile_model(
        keras.Sequential([keras.Input((2, 1)), keras.layers.Flatten(), output], name="conv1d-b")
    )
    trained = models.fit(model, inputs, rows, LABELS, epochs=2)
    save(tmp_path, trained, rows)
    assert results.read_metrics(tmp_path)["models"]["conv1d-b"]["failed"] == "loss became NaN in epoch 2"
    assert (trained.predictions["prediction"] == "").sum() == 1


@pytest.mark.slow
def test_an_interrupted_training_closes_its_progress_bar(monkeypatch, inputs, rows):
    class StoppedBar(tqdm):
        bars = []

        def __init__(self, **options):
            super().__init__(**options, file=io.StringIO())
            self.bars.append(self)

        def update(self, n=1):
            raise KeyboardInterrupt

    monkeypatch.setattr(training.utils, "progress_bar", StoppedBar)
    with pytest.raises(KeyboardInterrupt):
        train(inputs, rows, epochs=2)
    assert [bar.disable for bar in StoppedBar.bars] == [True]  # tqdm disables a bar that it closes


def test_fitting_on_validation_rows_changes_the_fit(inputs, rows):
    correct = train(inputs, rows, epochs=3)
    faulty = train(inputs, rows, epochs=3, fitted=("train", "val"))
    assert not correct.history["train_loss"].equals(faulty.history["train_loss"])


@pytest.mark.slow
def test_the_quick_recipe_warms_up_and_decays(inputs, rows):
    trained = train(inputs, rows, epochs=6, recipe="quick")
    assert float(trained.model.optimizer.learning_rate) < 1e-3
    with pytest.raises(ValueError, match="plain, quick"):
        train(inputs, rows, recipe="fast")


@pytest.mark.parametrize(
    ("facts", "is_slow"),
    [("flags : avx2 avx512_bf16", False), ("flags : fma avx2", True), ("Features : asimd bf16", False), ("", False)],
)
def test_bfloat16_on_a_processor_without_it_is_a_warning(tmp_path, monkeypatch, recwarn, facts, is_slow):
    (tmp_path / "cpuinfo").write_text(facts)
    monkeypatch.setattr("sernb.utils.machine.CPU_FACTS", tmp_path / "cpuinfo")
    try:
        models.set_precision("mixed_bfloat16")
    finally:
        models.set_precision("float32")
    assert [str(warning.message).split(",")[0] for warning in recwarn] == is_slow * [
        "This processor has no instructions for bfloat16"
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This processor has no instructions")
def test_bfloat16_keeps_weights_and_outputs_in_float32(inputs, rows):
    models.set_precision("mixed_bfloat16")
    try:
        trained = train(inputs, rows)
    finally:
        models.set_precision("float32")
    assert trained.model.layers[0].compute_dtype == "bfloat16"
    assert {weight.dtype for weight in trained.model.weights} == {"float32"}
    assert results.evaluate_model(trained, LABELS)["test"]["accuracy"] > 0.6
    with pytest.raises(ValueError, match="float32, mixed_bfloat16"):
        models.set_precision("float8")


def test_one_hot_follows_the_label_list():
    encoded = models.one_hot(pd.Series(["sad", "angry"]), LABELS)
    assert encoded.tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.fixture(scope="module")
def folds(tmp_path_factory, rows):
    """Return the folder and the metrics of a pooled run of three folds, each testing one speaker."""
    folder = tmp_path_factory.mktemp("pooled")
    splits_by_fold = evaluation.make_splits(rows.drop(columns=["copy", "split"]), "loso")
    for fold in (1, 2, 3):
        fold_rows = splits_by_fold[fold]
        index = fold_rows["emotion"].map(LABELS.index).to_numpy()[:, None]
        x = (index + np.random.default_rng(0).normal(0, 0.4, (len(fold_rows), 2))).astype(np.float32)
        save(folder / f"fold-{fold}", train(x, fold_rows, epochs=fold + 1), fold_rows)
    return folder, results.pool_folds(folder, (1, 2, 3), {"SEED": 1, "FOLD": 0})


@pytest.mark.slow
def test_pooled_folds_are_scored_over_the_test_rows_of_all(folds):
    folder, result = folds
    assert result == json.loads((folder / "metrics.json").read_text())
    predictions = results.read_predictions(folder)
    assert set(predictions["split"]) == {"test"}
    assert predictions.groupby("fold")["speaker"].unique().map(list).tolist() == [["a"], ["b"], ["c"]]
    assert [name for name in predictions if name != "fold"] == list(results.read_predictions(folder / "fold-2"))
    entry = result["models"]["conv1d-b"]
    matrix = evaluation.confusion_matrix(predictions["truth"], predictions["prediction"], LABELS)
    assert entry["confusion"] == matrix.tolist() and entry["test"]["uar"] == evaluation.compute_scores(matrix)["uar"]
    assert entry["ci95"] == {"accuracy": [None, None], "uar": [None, None]}, "three speakers are too few"
    entries = [results.read_metrics(folder / f"fold-{fold}")["models"]["conv1d-b"] for fold in (1, 2, 3)]
    assert entry["test"]["loss"] == pytest.approx(np.mean([one["test"]["loss"] for one in entries]))
    assert entry["val"]["accuracy"] == pytest.approx(np.mean([one["val"]["accuracy"] for one in entries]))
    assert entry["epochs"] == 4 and entry["seconds"] == pytest.approx(sum(one["seconds"] for one in entries))


@pytest.mark.slow
def test_pooled_metrics_describe_each_fold(folds):
    folder, result = folds
    split = result["split"]
    assert [fold["fold"] for fold in split["folds"]] == [1, 2, 3]
    assert split["test"] == 27 == 3 * split["folds"][0]["test"]
    assert split["speakers"]["test"] == 3 and split["leaks"]["speaker"] == 0 and result["parameters"]["FOLD"] == 0
    assert results.read_history(folder).groupby("fold")["epoch"].max().tolist() == [2, 3, 4]
    (row,) = results.results_table([folder]).to_dict("records")
    assert row["uar"] == result["models"]["conv1d-b"]["test"]["uar"] and row["status"] == "finished"


@pytest.mark.slow
def test_one_failed_fold_fails_the_pool(folds, tmp_path):
    folder = shutil.copytree(folds[0], tmp_path / "copy")
    metrics = results.read_metrics(folder / "fold-2")
    metrics["models"]["conv1d-b"] = {"weights": 1, "epochs": 1, "seconds": 1.0, "failed": "loss became NaN in epoch 1"}
    (folder / "fold-2" / "metrics.json").write_text(json.dumps(metrics))
    entry = results.pool_folds(folder, (1, 2, 3), {})["models"]["conv1d-b"]
    assert entry["failed"] == "fold 2: loss became NaN in epoch 1" and "test" not in entry
