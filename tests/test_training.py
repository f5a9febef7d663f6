import contextlib
import json

import keras
import numpy as np
import pandas as pd
import pytest

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
def numbers(rows):
    """Two numbers a clip that tell the emotion, more or less."""
    place = rows["emotion"].map(LABELS.index).to_numpy()[:, None]
    return (place + np.random.default_rng(0).normal(0, 0.4, (len(rows), 2))).astype(np.float32)


def train(numbers, rows, *, seed=1, epochs=8, **options):
    models.seed_everything(seed)
    return models.fit(studies.build_network("conv1d-b", (2, 1), 3), numbers, rows, LABELS, epochs=epochs, **options)


def save(folder, trained, rows):
    return results.save_run(
        folder, {"conv1d-b": trained}, notebook="x", parameters={"SEED": 1}, table=rows, rows=rows, labels=LABELS,
        protocol="speaker",
    )  # fmt: skip


def test_another_corpus_of_the_same_name_is_told_of(rows):
    """Two corpora may both be `local`: predictions would be looked for in the wrong folder."""
    other = rows.assign(path=rows["path"].where(rows["split"] != "test", "elsewhere/" + rows["path"]))
    assert "tested" not in saving._split_facts(rows, rows, "speaker", ("train",))
    told = saving._split_facts(other, rows, "speaker", ("train",))
    assert told["tested"]["clips"] == (rows["split"] == "test").sum()


def test_a_run_leaves_its_files_and_they_agree(tmp_path, numbers, rows):
    save(tmp_path, train(numbers, rows), rows)
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
    assert list(history) == models.HISTORY_COLUMNS and len(history) == 8
    reloaded = keras.saving.load_model(tmp_path / "conv1d-b.keras")
    assert not reloaded.compiled, "the optimizer's moments are kept with the model"
    np.testing.assert_allclose(reloaded.predict(numbers[:5, :, None], verbose=0), predictions[LABELS][:5], atol=1e-5)


def test_two_runs_with_one_seed_give_the_same_figures(numbers, rows):
    first, again, other = (train(numbers, rows, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.history, again.history)
    pd.testing.assert_frame_equal(first.predictions, again.predictions)
    assert not first.history.equals(other.history)


def test_tensorflow_reads_untuned_and_only_while_we_fit(monkeypatch, numbers, rows):
    """Its tuner lets the end of every epoch wait; see `models._without_autotune`."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("it is TensorFlow's tuner")
    import tensorflow as tf

    read, tuned = tf.data.Dataset.__iter__, []

    def spy(dataset):
        tuned.append(dataset.options().autotune.enabled)
        return read(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", spy)
    train(numbers, rows, epochs=2)
    assert tuned and set(tuned) == {False}
    with pytest.raises(KeyboardInterrupt), training._without_autotune():
        raise KeyboardInterrupt
    assert tf.data.Dataset.__iter__ is spy
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with training._without_autotune():
        assert tf.data.Dataset.__iter__ is spy


@pytest.mark.parametrize("mode", [None, "r"], ids=["in-memory", "on-disk"])
def test_what_makes_a_fit_quick_changes_no_figure(monkeypatch, tmp_path, numbers, rows, mode):
    np.save(tmp_path / "numbers.npy", numbers)
    numbers = np.load(tmp_path / "numbers.npy", mmap_mode=mode)
    quick = train(numbers, rows, epochs=3)
    monkeypatch.setattr("sernb.models.training._without_autotune", contextlib.nullcontext)
    monkeypatch.setattr("sernb.models.training._make_variables", lambda *_: None)
    plain = train(numbers, rows, epochs=3)
    pd.testing.assert_frame_equal(quick.history, plain.history)
    pd.testing.assert_frame_equal(quick.predictions, plain.predictions)


def test_a_step_is_traced_once(monkeypatch, numbers, rows):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow traces")
    step, traced = keras.Model.train_step, []
    monkeypatch.setattr(keras.Model, "train_step", lambda *given: traced.append(1) or step(*given))
    train(numbers, rows, epochs=2)
    assert len(traced) == 1


def test_losses_are_what_keras_evaluates(numbers, rows):
    trained = train(numbers, rows, epochs=2)
    test = (rows["split"] == "test").to_numpy()
    y = models.one_hot(rows["emotion"], LABELS)
    loss, accuracy = trained.model.evaluate(numbers[test][..., None], y[test], verbose=0)
    entry = results.evaluate_model(trained, LABELS)["test"]
    assert entry["loss"] == pytest.approx(loss, rel=1e-4)
    assert entry["accuracy"] == pytest.approx(accuracy, rel=1e-4)


def test_a_loss_of_nan_is_reported_with_its_epoch(tmp_path, numbers, rows):
    broken = numbers.copy()
    broken[(rows["split"] == "train").to_numpy()] = np.nan
    result = save(tmp_path, train(broken, rows), rows)
    entry = json.loads((tmp_path / "metrics.json").read_text())["models"]["conv1d-b"]
    assert entry["failed"] == "loss became NaN in epoch 1" and entry["epochs"] == 1
    assert "test" not in entry
    assert "conv1d-b: loss became NaN in epoch 1" in display.describe_outcome(result)


def test_a_loss_of_nan_on_one_side_alone_is_reported_too(tmp_path, numbers, rows):
    """A ReLU output whose every class is zero for one test clip: the loss divides zero by zero."""
    inputs = np.abs(numbers) + 1
    inputs[np.flatnonzero(rows["split"] == "test")[0]] = -5
    output = keras.layers.Dense(3, activation="relu", kernel_initializer="ones")
    model = models.compile_model(
        keras.Sequential([keras.Input((2, 1)), keras.layers.Flatten(), output], name="conv1d-b")
    )
    trained = models.fit(model, inputs, rows, LABELS, epochs=2)
    save(tmp_path, trained, rows)
    assert results.read_metrics(tmp_path)["models"]["conv1d-b"]["failed"] == "loss became NaN in epoch 2"
    assert (trained.predictions["prediction"] == "").sum() == 1


def test_fitting_on_validation_too_is_what_the_fault_does(numbers, rows):
    honest = train(numbers, rows, epochs=3)
    leaking = train(numbers, rows, epochs=3, fitted=("train", "val"))
    assert not honest.history["train_loss"].equals(leaking.history["train_loss"])


def test_the_quick_recipe_warms_up_and_decays(numbers, rows):
    trained = train(numbers, rows, epochs=6, recipe="quick")
    assert float(trained.model.optimizer.learning_rate) < 1e-3
    with pytest.raises(ValueError, match="plain, quick"):
        train(numbers, rows, recipe="fast")


def test_bfloat16_keeps_weights_and_answers_in_float32(numbers, rows):
    models.set_precision("mixed_bfloat16")
    try:
        trained = train(numbers, rows)
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
    """A pooled run over a run for each of three speakers, and its folder."""
    folder = tmp_path_factory.mktemp("pooled")
    cuts = evaluation.make_splits(rows.drop(columns=["copy", "split"]), "loso")
    for fold in (1, 2, 3):
        part = cuts[fold]
        place = part["emotion"].map(LABELS.index).to_numpy()[:, None]
        x = (place + np.random.default_rng(0).normal(0, 0.4, (len(part), 2))).astype(np.float32)
        save(folder / f"fold-{fold}", train(x, part, epochs=fold + 1), part)
    return folder, results.pool_folds(folder, (1, 2, 3), {"SEED": 1, "FOLD": 0})


def test_pooled_folds_are_scored_over_the_test_rows_of_all(folds):
    folder, result = folds
    assert result == json.loads((folder / "metrics.json").read_text())
    told = results.read_predictions(folder)
    assert set(told["split"]) == {"test"} and told.groupby("fold")["speaker"].unique().map(list).tolist() == [
        ["a"], ["b"], ["c"]]  # fmt: skip
    assert [name for name in told if name != "fold"] == list(results.read_predictions(folder / "fold-2"))
    entry = result["models"]["conv1d-b"]
    matrix = evaluation.confusion_matrix(told["truth"], told["prediction"], LABELS)
    assert entry["confusion"] == matrix.tolist() and entry["test"]["uar"] == evaluation.compute_scores(matrix)["uar"]
    assert entry["ci95"] == evaluation.speaker_interval(told, LABELS)
    each = [results.read_metrics(folder / f"fold-{fold}")["models"]["conv1d-b"] for fold in (1, 2, 3)]
    assert entry["test"]["loss"] == pytest.approx(np.mean([one["test"]["loss"] for one in each]))
    assert entry["val"]["accuracy"] == pytest.approx(np.mean([one["val"]["accuracy"] for one in each]))
    assert entry["epochs"] == 4 and entry["seconds"] == pytest.approx(sum(one["seconds"] for one in each))


def test_pooled_folds_say_what_each_was(folds):
    folder, result = folds
    split = result["split"]
    assert [part["fold"] for part in split["folds"]] == [1, 2, 3] and split["test"] == 27 == split["folds"][0][
        "test"
    ] * 3
    assert split["speakers"]["test"] == 3 and split["leaks"]["speaker"] == 0 and result["parameters"]["FOLD"] == 0
    assert results.read_history(folder).groupby("fold")["epoch"].max().tolist() == [2, 3, 4]
    (row,) = results.results_table([folder]).to_dict("records")
    assert row["uar"] == result["models"]["conv1d-b"]["test"]["uar"] and row["status"] == "finished"


def test_one_failed_fold_fails_the_pool(folds, tmp_path):
    import shutil

    folder = shutil.copytree(folds[0], tmp_path / "copy")
    told = results.read_metrics(folder / "fold-2")
    told["models"]["conv1d-b"] = {"weights": 1, "epochs": 1, "seconds": 1.0, "failed": "loss became NaN in epoch 1"}
    (folder / "fold-2" / "metrics.json").write_text(json.dumps(told))
    entry = results.pool_folds(folder, (1, 2, 3), {})["models"]["conv1d-b"]
    assert entry["failed"] == "fold 2: loss became NaN in epoch 1" and "test" not in entry
