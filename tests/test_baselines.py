from __future__ import annotations

import importlib.util

import librosa
import numpy as np
import pandas as pd
import pytest

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models


@pytest.fixture(scope="module")
def table():
    return corpora.load("demo-ravdess", channel="speech", emotions=["angry", "calm", "sad"], max_clips=90)


@pytest.fixture(scope="module")
def rows(table):
    return evaluation.make_split(table, "speaker", ratio="60:20:20", augment="train-only", seed=1)


def test_random_predictions_score_chance_and_count_each_clip_once(rows):
    labels = ["angry", "calm", "sad"]
    predictions = models.random_predictions(rows, labels)
    scores = evaluation.score_by(predictions, "model").loc["guess"]
    assert scores["uar"] == pytest.approx(1 / 3, abs=0.03)
    assert scores["rows"] == (rows["split"] == "test").sum() == len(predictions) / 100
    assert predictions["prediction"].value_counts(normalize=True).between(0.3, 0.37).all()
    pd.testing.assert_frame_equal(predictions, models.random_predictions(rows, labels))
    assert not predictions["prediction"].equals(models.random_predictions(rows, labels, seed=1)["prediction"])


def test_chance_is_one_over_the_emotions_tested(rows):
    """A fold may lack emotions that the folds together test."""
    labels, test = ["angry", "calm", "sad"], rows["split"] == "test"
    lacking = rows[~test | (rows["emotion"] != "sad")]
    predictions = models.random_predictions(lacking, labels)
    assert set(predictions["prediction"]) == {"angry", "calm"}
    assert predictions[labels].iloc[0].tolist() == [0.5, 0.5, 0]
    uar = evaluation.score_by(predictions, "model").loc["guess", "uar"]
    assert uar == pytest.approx(evaluation.chance_level(predictions["truth"]), abs=0.03)
    folds = models.baseline_predictions([lacking, rows], labels)
    assert set(folds.loc[folds["model"] == "guess", "prediction"].head(100)) == set(labels)


def test_the_svm_predicts_every_row(rows, table):
    labels = corpora.emotion_labels(table)
    predictions = models.svm_predictions(rows, labels)
    assert list(predictions) == ["model", "clip", "copy", "speaker", "split", "truth", "prediction", *labels]
    assert predictions["clip"].tolist() == rows["clip"].tolist() and (predictions["truth"] == rows["emotion"]).all()
    np.testing.assert_allclose(predictions[labels].sum(axis=1), 1, atol=1e-5)
    assert (predictions[labels].idxmax(axis=1) == predictions["prediction"]).all()
    both = pd.concat([predictions, models.random_predictions(rows, labels)])
    assert evaluation.score_by(both, "model")["uar"].is_monotonic_decreasing
    comparison = evaluation.compare_models(predictions, models.random_predictions(rows, labels))
    assert comparison.rows == (rows["split"] == "test").sum()


def test_the_svm_is_fitted_on_the_training_rows_only(rows, table):
    labels = corpora.emotion_labels(table)
    held = rows["split"] != "train"
    other = rows.assign(emotion=rows["emotion"].where(~held, "sad"))
    pd.testing.assert_series_equal(
        models.svm_predictions(rows, labels)["prediction"], models.svm_predictions(other, labels)["prediction"]
    )
    # Nor are the held-out statistics: other test clips leave the predictions of the training rows as they are.
    x = models.mfcc_statistics(rows)
    changed = np.where(held.to_numpy()[:, None], 1000 * x, x)
    first, second = (models.fit_svm(values, rows, labels, "m")[~held] for values in (x, changed))
    pd.testing.assert_frame_equal(first, second)


def test_the_svm_with_two_emotions_and_an_untrained_one():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"clip": map(str, range(40)), "copy": 0, "speaker": "a", "split": ["train"] * 20 + ["test"] * 20}
    )
    rows["emotion"] = np.tile(["angry", "sad"], 20)
    x = (rows["emotion"] == "sad").to_numpy()[:, None] + rng.normal(0, 0.1, (40, 3))
    predictions = models.fit_svm(x, rows, ["angry", "happy", "sad"], "m")
    assert (predictions["prediction"] == predictions["truth"]).all() and (predictions["happy"] == 0).all()
    assert (predictions[["angry", "happy", "sad"]].idxmax(axis=1) == predictions["truth"]).all()


def test_mfcc_statistics_leave_the_padding_out(table):
    short = audio.n_samples(table["path"], 16000).argmin()
    scores = models.mfcc_statistics(table.assign(copy=0), n_mfcc=20)[short]
    own = librosa.feature.mfcc(y=audio.load(table["path"][short], 16000), sr=16000, n_mfcc=20)
    # The store pads a clip with silence, which its last frames include instead of librosa's own padding.
    np.testing.assert_allclose(scores, [*own.mean(axis=1), *own.std(axis=1)], rtol=0.02, atol=1)


@pytest.mark.parametrize("augmentation", ["speed", "voice"])
def test_mfcc_statistics_of_a_copy_cover_its_own_frames(table, augmentation):
    rows = table.head(4).loc[[0, 0, 1, 1, 2, 2, 3, 3]].assign(copy=[0, 1] * 4)
    statistics = models.mfcc_statistics(rows, augmentation=augmentation, n_mfcc=20)
    lengths = []
    for row, values in zip(rows.to_dict("records"), statistics, strict=True):
        signal = audio.load(row["path"], 16000)
        if row["copy"]:
            seed = audio.clip_seed(row["sha256"], row["copy"], 0)
            signal = audio.augment(signal, 16000, augmentation, seed=seed)
        _, mfcc = features.extract_signal(signal, {"feature": "mfcc", "sample_rate": 16000, "n_mfcc": 20})
        own = mfcc[:, : 1 + len(signal) // features.HOP_LENGTH]
        np.testing.assert_allclose(values, [*own.mean(axis=1), *own.std(axis=1)], rtol=1e-4, atol=1e-3)
        lengths.append(len(signal))
    assert any(original != copy for original, copy in zip(lengths[::2], lengths[1::2], strict=True))


def test_egemaps_takes_opensmile_and_says_so(rows, table):
    if importlib.util.find_spec("opensmile"):
        pytest.skip("opensmile is installed")
    with pytest.raises(ImportError, match="nothing commercial"):
        models.svm_predictions(rows, corpora.emotion_labels(table), "egemaps")
    with pytest.raises(ValueError, match="mfcc, egemaps"):
        models.svm_predictions(rows, corpora.emotion_labels(table), "compare")


def test_egemaps_are_those_of_opensmile(table):
    opensmile = pytest.importorskip("opensmile", reason="the extra egemaps is not installed")
    few = table.head(2).assign(copy=[0, 1])
    vectors = features.extract(few, "egemaps", sample_rate=16000, n_jobs=1)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    signal = audio.load(few["path"][0], 16000)
    np.testing.assert_allclose(vectors[0], smile.process_signal(signal, 16000).to_numpy()[0], rtol=1e-5)
    assert vectors.shape == (2, 88) and (vectors[0] != vectors[1]).any()
    np.testing.assert_array_equal(vectors, features.extract(few, "egemaps", sample_rate=16000))  # from the store


def _tested_clips(splits: dict[int, pd.DataFrame], number: int) -> list[set[str]]:
    return [set(rows["clip"][rows["split"] == "test"]) for rows in list(splits.values())[:number]]


def test_baselines_predict_the_test_rows_of_every_fold(table):
    labels = corpora.emotion_labels(table)
    splits = evaluation.make_splits(table, "loso", augment="train-only", seed=1)
    # The test rows of all folds have the same index: a row must not be selected by its label.
    splits = {fold: rows.sort_values("split", kind="stable", ignore_index=True) for fold, rows in splits.items()}
    predictions = models.baseline_predictions(splits.values(), labels, seed=1)
    assert {"mfcc-svm", "guess"} <= set(predictions["model"]) and (predictions["split"] == "test").all()
    svm = predictions[predictions["model"] == "mfcc-svm"]
    assert svm["clip"].is_unique and set(svm["clip"]) == set(table["clip"]), "each clip is tested in one fold"
    single = models.svm_predictions(splits[2], labels, seed=1).query("split == 'test'")
    subset = svm[svm["clip"].isin(single["clip"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(subset, single.reset_index(drop=True))
    assert evaluation.score_by(predictions, "model")["rows"].unique().tolist() == [len(table)]
    guess = predictions[predictions["model"] == "guess"]
    assert guess["clip"].value_counts().eq(100).all()
    first, second = (guess.loc[guess["clip"].isin(clips), "prediction"].tolist() for clips in _tested_clips(splits, 2))
    assert first[:100] != second[:100], "no two folds share their random predictions"


def test_baselines_are_fitted_on_the_sets_of_the_network(rows, table):
    labels = corpora.emotion_labels(table)
    tables = [models.baseline_predictions(rows, labels, sides=sides) for sides in (("train",), ("train", "val"))]
    train_only, both = (table.loc[table["model"] == "mfcc-svm", labels] for table in tables)
    assert not train_only.equals(both)


@pytest.mark.slow
@pytest.mark.real
def test_the_published_score_is_reproduced_on_ravdess(real):
    table = corpora.load("ravdess", real("ravdess"), channel="speech")
    labels = corpora.emotion_labels(table)
    folds = [models.svm_predictions(evaluation.make_split(table, "folds", fold=fold), labels) for fold in range(1, 7)]
    scores = evaluation.pool_seeds([pd.concat(map(evaluation.select_test_rows, folds))])
    assert (scores["rows"], scores["speakers"]) == (1440, 24)
    assert scores["uar"] == pytest.approx(0.41, abs=0.03)
