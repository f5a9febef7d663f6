"""What a network is held against: guesses, and support vector machines on the statistics of a clip."""

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


def test_a_guess_scores_chance_and_counts_each_clip_once(rows):
    labels = ["angry", "calm", "sad"]
    told = models.random_predictions(rows, labels)
    found = evaluation.score_by(told, "model").loc["guess"]
    assert found["uar"] == pytest.approx(1 / 3, abs=0.03)
    assert found["rows"] == (rows["split"] == "test").sum() == len(told) / 100
    assert told["prediction"].value_counts(normalize=True).between(0.3, 0.37).all()
    pd.testing.assert_frame_equal(told, models.random_predictions(rows, labels))
    assert not told["prediction"].equals(models.random_predictions(rows, labels, seed=1)["prediction"])


def test_a_simple_model_answers_every_row_as_a_network_does(rows, table):
    labels = corpora.emotion_labels(table)
    told = models.svm_predictions(rows, labels)
    assert list(told) == ["model", "clip", "copy", "speaker", "split", "truth", "prediction", *labels]
    assert told["clip"].tolist() == rows["clip"].tolist() and (told["truth"] == rows["emotion"]).all()
    np.testing.assert_allclose(told[labels].sum(axis=1), 1, atol=1e-5)
    assert (told[labels].idxmax(axis=1) == told["prediction"]).all()
    both = pd.concat([told, models.random_predictions(rows, labels)])
    assert evaluation.score_by(both, "model")["uar"].is_monotonic_decreasing
    assert (
        evaluation.compare_models(told, models.random_predictions(rows, labels)).rows == (rows["split"] == "test").sum()
    )


def test_nothing_is_learnt_of_rows_that_are_not_trained_on(rows, table):
    labels = corpora.emotion_labels(table)
    held = rows["split"] != "train"
    other = rows.assign(emotion=rows["emotion"].where(~held, "sad"))
    pd.testing.assert_series_equal(
        models.svm_predictions(rows, labels)["prediction"], models.svm_predictions(other, labels)["prediction"]
    )
    # Nor are the held-out statistics: other test clips leave the training rows' answers as they are.
    x = models.mfcc_statistics(rows)
    spoilt = np.where(held.to_numpy()[:, None], 1000 * x, x)
    first, second = (models.fit_svm(one, rows, labels, "m")[~held] for one in (x, spoilt))
    pd.testing.assert_frame_equal(first, second)


def test_two_emotions_and_one_that_is_never_trained_on():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"clip": map(str, range(40)), "copy": 0, "speaker": "a", "split": ["train"] * 20 + ["test"] * 20}
    )
    rows["emotion"] = np.tile(["angry", "sad"], 20)
    x = (rows["emotion"] == "sad").to_numpy()[:, None] + rng.normal(0, 0.1, (40, 3))
    told = models.fit_svm(x, rows, ["angry", "happy", "sad"], "m")
    assert (told["prediction"] == told["truth"]).all() and (told["happy"] == 0).all()
    assert (told[["angry", "happy", "sad"]].idxmax(axis=1) == told["truth"]).all()


def test_mfcc_statistics_leave_the_padding_out(table):
    short = audio.n_samples(table["path"], 16000).argmin()
    found = models.mfcc_statistics(table.assign(copy=0), n_mfcc=20)[short]
    own = librosa.feature.mfcc(y=audio.load(table["path"][short], 16000), sr=16000, n_mfcc=20)
    # The store keeps silence after a clip: its last frames hear a little of it instead of librosa's own padding.
    np.testing.assert_allclose(found, [*own.mean(axis=1), *own.std(axis=1)], rtol=0.02, atol=1)


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


def test_beside_a_network_stand_the_same_test_rows_of_every_fold(table):
    labels = corpora.emotion_labels(table)
    cuts = evaluation.make_splits(table, "loso", augment="train-only", seed=1)
    told = models.baseline_predictions(cuts.values(), labels, seed=1)
    assert {"mfcc-svm", "guess"} <= set(told["model"]) and (told["split"] == "test").all()
    svm = told[told["model"] == "mfcc-svm"]
    assert svm["clip"].is_unique and set(svm["clip"]) == set(table["clip"]), "each clip is tested in one fold"
    alone = models.svm_predictions(cuts[2], labels, seed=1).query("split == 'test'")
    among = svm[svm["clip"].isin(alone["clip"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(among, alone.reset_index(drop=True))
    assert evaluation.score_by(told, "model")["rows"].unique().tolist() == [len(table)]


def test_beside_is_fitted_on_what_the_network_was(rows, table):
    labels = corpora.emotion_labels(table)
    one, both = (models.baseline_predictions(rows, labels, sides=sides) for sides in (("train",), ("train", "val")))
    assert not one.loc[one["model"] == "mfcc-svm", labels].equals(both.loc[both["model"] == "mfcc-svm", labels])


@pytest.mark.real
def test_the_published_figure_comes_out_on_ravdess(real):
    table = corpora.load("ravdess", real("ravdess"), channel="speech")
    labels = corpora.emotion_labels(table)
    folds = [models.svm_predictions(evaluation.make_split(table, "folds", fold=fold), labels) for fold in range(1, 7)]
    found = evaluation.pool_seeds([pd.concat(map(evaluation.select_test_rows, folds))])
    assert (found["rows"], found["speakers"]) == (1440, 24)
    assert found["uar"] == pytest.approx(0.41, abs=0.03)
