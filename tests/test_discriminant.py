from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.trained_runs import demo_clips
from support.trained_runs import functionals_of

from sernb import audio
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import results

LABELS = ["angry", "calm", "sad"]


@pytest.fixture(scope="module")
def table():
    return demo_clips(LABELS)


@pytest.fixture(scope="module")
def split(table):
    return functionals_of(table, copies=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory, table, split):
    folder = tmp_path_factory.mktemp("run")
    trained = models.fit_discriminant(split, LABELS)
    results.save_run(
        folder, {models.DISCRIMINANT: trained}, notebook="07_unseen_speakers", parameters={"SEED": 1}, table=table,
        rows=split.rows, labels=LABELS, protocol="speaker",
        inputs={models.DISCRIMINANT: features.InputSpec("functionals", 16000, {})},
    )  # fmt: skip
    return folder


def test_the_solution_equals_that_of_scikit_learn():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    emotions = pd.Series(rng.choice(LABELS, 500, p=[0.6, 0.3, 0.1]))
    x = rng.normal(size=(500, 30)) * rng.uniform(1, 9, 30) + np.arange(30)
    x[(emotions == "sad").to_numpy()] += 2
    statistics = models.class_statistics(x, emotions, LABELS)
    weights, biases = models.solve_discriminant(statistics, 20)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2, priors=np.full(3, 1 / 3))
    logits = theirs.fit((x - statistics.mean) / statistics.deviation, emotions).decision_function(
        (x - statistics.mean) / statistics.deviation
    )
    ours = x @ weights + biases
    np.testing.assert_allclose(
        ours - ours.mean(axis=1, keepdims=True), logits - logits.mean(axis=1, keepdims=True), atol=1e-6
    )


def test_unused_features_have_no_weight():
    x = np.random.default_rng(0).normal(size=(60, 5))
    statistics = models.class_statistics(x, pd.Series(LABELS * 20), LABELS)
    use = np.array([True, False, True, True, False])
    weights, biases = models.solve_discriminant(statistics, 10, use)
    subset = models.solve_discriminant(models.class_statistics(x[:, use], pd.Series(LABELS * 20), LABELS), 10)
    assert (weights[~use] == 0).all()
    np.testing.assert_allclose(weights[use], subset[0])
    np.testing.assert_allclose(biases, subset[1])


@pytest.mark.slow
def test_copies_are_of_no_test_speaker(split):
    assert set(split.fit_rows["split"]) == {"train", "val"} and set(split.fit_rows["copy"]) == {0, 1, 2}
    assert not set(split.fit_rows["speaker"]) & set(split.rows.loc[split.rows["split"] == "test", "speaker"])
    assert split.fit_x.shape == (len(split.fit_rows), len(features.feature_names()))


@pytest.mark.slow
def test_no_set_is_predicted_by_a_model_fitted_on_it(split):
    """Other test clips do not change the model, nor other validation labels the predictions for validation."""
    test, val = ((split.rows["split"] == side).to_numpy() for side in ("test", "val"))
    fitted = models.fit_discriminant(split, LABELS)
    changed = split.x.copy()
    changed[test] = 0
    other = models.fit_discriminant(replace(split, x=changed), LABELS)
    for ours, theirs in zip(fitted.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    emotions = split.fit_rows["emotion"].where(split.fit_rows["split"] == "train", "sad")
    relabelled = models.fit_discriminant(replace(split, fit_rows=split.fit_rows.assign(emotion=emotions)), LABELS)
    predictions = [result.predictions.loc[val, "prediction"].tolist() for result in (fitted, relabelled)]
    assert predictions[0] == predictions[1]
    assert any((a != b).any() for a, b in zip(fitted.model.get_weights(), relabelled.model.get_weights(), strict=True))


@pytest.mark.slow
def test_it_scores_above_chance_and_is_calibrated(split):
    trained = models.fit_discriminant(split, LABELS)
    predictions = evaluation.select_test_rows(trained.predictions)
    assert (predictions["truth"] == predictions["prediction"]).mean() > 0.55
    weights, biases = models.solve_discriminant(models.class_statistics(*split.training_data(models.FIT_SIDES), LABELS))
    factor = trained.model.layers[-1].get_weights()[0] / weights
    np.testing.assert_allclose(factor, factor.flat[0], rtol=1e-3)
    assert factor.flat[0] <= 1


@pytest.mark.slow
def test_the_ablation_leaves_out_one_group_at_a_time(split):
    cells = models.ablate([split], LABELS)
    assert cells.index[0] == "complete model" and cells["features"].iloc[0] == len(features.feature_names())
    assert cells.loc["without pitch", "features"] == (features.feature_groups() != "pitch").sum()
    assert (cells["rows"] == (split.rows["split"] == "val").sum()).all()
    assert {"without speed perturbation", "without shrinkage"} <= set(cells.index)


@pytest.mark.slow
def test_the_contributions_add_up_to_the_margin_of_the_logit(split):
    model = models.fit_discriminant(split, LABELS).model
    contributions = models.logit_contributions(split, LABELS, model)
    test = (split.rows["split"] == "test").to_numpy()
    weights, biases = model.layers[-1].get_weights()
    logits = (split.x[test] - split.training_data(models.FIT_SIDES)[0].mean(axis=0)) @ weights
    predicted = (split.x[test] @ weights + biases).argmax(axis=1)
    logit = logits[np.arange(len(logits)), predicted]
    margin = logit - (logits.sum(axis=1) - logit) / (len(LABELS) - 1)
    total = contributions.drop(columns=["truth", "prediction"]).sum(axis=1)
    np.testing.assert_allclose(total, margin, rtol=1e-3, atol=1e-2)
    assert contributions["truth"].tolist() == split.rows.loc[test, "emotion"].tolist()


@pytest.mark.slow
def test_normalising_by_speaker_needs_no_label(split):
    normalised = models.normalise_by_speaker(split)
    for _, at in split.rows.groupby("speaker").indices.items():
        np.testing.assert_allclose(normalised.x[at].mean(axis=0), 0, atol=1e-3)
    relabelled = models.normalise_by_speaker(replace(split, rows=split.rows.assign(emotion="sad")))
    np.testing.assert_array_equal(normalised.x, relabelled.x)


@pytest.mark.slow
def test_a_saved_run_predicts_files_as_it_did_the_test_set(run, split):
    loaded = results.load_run(run)
    entry = json.loads((run / "metrics.json").read_text())["models"][models.DISCRIMINANT]
    assert entry["weights"] == len(features.feature_names()) * len(LABELS) + len(LABELS) < 1_000_000
    first = results.test_clips(loaded).iloc[0]
    probabilities = results.predict_proba(loaded, audio.load(first["path"], 16000))
    np.testing.assert_allclose(probabilities[LABELS], first[LABELS].astype(float), atol=2e-3)


@pytest.mark.slow
def test_two_emotions_are_enough(table):
    rows = evaluation.make_split(table[table["emotion"] != "calm"], "speaker", ratio="50:25:25", seed=1)
    trained = models.fit_discriminant(models.extract_split_features(rows, copies=0), ["angry", "sad"])
    assert (evaluation.select_test_rows(trained.predictions)["prediction"].isin(["angry", "sad"])).all()
