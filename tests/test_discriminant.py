"""The linear discriminant for unseen speakers: solved right, blind to the test side, saved as any other model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sernb import audio
from sernb import corpora
from sernb import evaluation
from sernb import features
from sernb import models
from sernb import results

LABELS = ["angry", "calm", "sad"]


@pytest.fixture(scope="module")
def table():
    return corpora.load("demo-ravdess", channel="speech", emotions=LABELS, max_clips=90)


@pytest.fixture(scope="module")
def part(table):
    rows = evaluation.make_split(table, "speaker", ratio="50:25:25", seed=1)
    return models.extract_split_features(rows, copies=2, seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory, table, part):
    folder = tmp_path_factory.mktemp("run")
    trained = models.fit_discriminant(part, LABELS)
    results.save_run(
        folder, {models.DISCRIMINANT: trained}, notebook="07_unseen_speakers", parameters={"SEED": 1}, table=table,
        rows=part.rows, labels=LABELS, protocol="speaker",
        inputs={models.DISCRIMINANT: features.InputSpec("functionals", 16000, {})},
    )  # fmt: skip
    return folder


def test_it_solves_what_scikit_learn_solves():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    emotions = pd.Series(rng.choice(LABELS, 500, p=[0.6, 0.3, 0.1]))
    x = rng.normal(size=(500, 30)) * rng.uniform(1, 9, 30) + np.arange(30)
    x[(emotions == "sad").to_numpy()] += 2
    known = models.class_statistics(x, emotions, LABELS)
    weights, biases = models.solve_discriminant(known, 20)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2, priors=np.full(3, 1 / 3))
    logits = theirs.fit((x - known.mean) / known.deviation, emotions).decision_function(
        (x - known.mean) / known.deviation
    )
    ours = x @ weights + biases
    np.testing.assert_allclose(
        ours - ours.mean(axis=1, keepdims=True), logits - logits.mean(axis=1, keepdims=True), atol=1e-6
    )


def test_numbers_that_are_left_out_have_no_weight():
    x = np.random.default_rng(0).normal(size=(60, 5))
    known = models.class_statistics(x, pd.Series(LABELS * 20), LABELS)
    use = np.array([True, False, True, True, False])
    weights, biases = models.solve_discriminant(known, 10, use)
    alone = models.solve_discriminant(models.class_statistics(x[:, use], pd.Series(LABELS * 20), LABELS), 10)
    assert (weights[~use] == 0).all()
    np.testing.assert_allclose(weights[use], alone[0])
    np.testing.assert_allclose(biases, alone[1])


def test_voices_are_of_no_test_speaker(part):
    assert set(part.taught["split"]) == {"train", "val"} and set(part.taught["copy"]) == {0, 1, 2}
    assert not set(part.taught["speaker"]) & set(part.rows.loc[part.rows["split"] == "test", "speaker"])
    assert part.taught_x.shape == (len(part.taught), len(features.feature_names()))


def test_nothing_of_the_test_side_is_learnt_and_nothing_of_validation_is_chosen_on_itself(part):
    """Other test clips leave the model as it is; other validation labels leave the answers for validation."""
    test, val = ((part.rows["split"] == side).to_numpy() for side in ("test", "val"))
    kept = models.fit_discriminant(part, LABELS)
    elsewhere = part.x.copy()
    elsewhere[test] = 0
    other = models.fit_discriminant(replace(part, x=elsewhere), LABELS)
    for one, another in zip(kept.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
    taught = part.taught.assign(emotion=part.taught["emotion"].where(part.taught["split"] == "train", "sad"))
    blind = models.fit_discriminant(replace(part, taught=taught), LABELS)
    answers = [one.predictions.loc[val, "prediction"].tolist() for one in (kept, blind)]
    assert answers[0] == answers[1]
    assert any((a != b).any() for a, b in zip(kept.model.get_weights(), blind.model.get_weights(), strict=True))


def test_it_is_far_better_than_chance_and_less_sure_than_the_formula(part):
    trained = models.fit_discriminant(part, LABELS)
    told = evaluation.select_test_rows(trained.predictions)
    assert (told["truth"] == told["prediction"]).mean() > 0.55
    weights, biases = models.solve_discriminant(models.class_statistics(*part.learnt(models.FIT_SIDES), LABELS))
    kept = trained.model.layers[-1].get_weights()[0]
    factor = kept / weights
    np.testing.assert_allclose(factor, factor.flat[0], rtol=1e-3)
    assert factor.flat[0] <= 1


def test_the_ablation_leaves_out_one_group_at_a_time(part):
    cells = models.ablate([part], LABELS)
    assert cells.index[0] == "all of it" and cells["numbers"].iloc[0] == len(features.feature_names())
    assert cells.loc["without pitch", "numbers"] == (features.feature_groups() != "pitch").sum()
    assert (cells["rows"] == (part.rows["split"] == "val").sum()).all()
    assert {"without other voices", "without shrinkage"} <= set(cells.index)


def test_the_evidence_adds_up_to_what_the_model_says(part):
    kept = models.fit_discriminant(part, LABELS).model
    told = models.logit_contributions(part, LABELS, kept)
    test = (part.rows["split"] == "test").to_numpy()
    weights, biases = kept.layers[-1].get_weights()
    logits = (part.x[test] - part.learnt(models.FIT_SIDES)[0].mean(axis=0)) @ weights
    answer = (part.x[test] @ weights + biases).argmax(axis=1)
    own = logits[np.arange(len(logits)), answer]
    above = own - (logits.sum(axis=1) - own) / (len(LABELS) - 1)
    np.testing.assert_allclose(told.drop(columns=["truth", "prediction"]).sum(axis=1), above, rtol=1e-3, atol=1e-2)
    assert told["truth"].tolist() == part.rows.loc[test, "emotion"].tolist()


def test_a_speakers_own_units_need_no_label(part):
    own = models.normalise_by_speaker(part)
    for _, at in part.rows.groupby("speaker").indices.items():
        np.testing.assert_allclose(own.x[at].mean(axis=0), 0, atol=1e-3)
    relabelled = models.normalise_by_speaker(replace(part, rows=part.rows.assign(emotion="sad")))
    np.testing.assert_array_equal(own.x, relabelled.x)


def test_a_finished_run_answers_for_files_as_it_did_for_the_test_side(run, part):
    loaded = results.load_run(run)
    told = json.loads((run / "metrics.json").read_text())["models"][models.DISCRIMINANT]
    assert told["weights"] == len(features.feature_names()) * len(LABELS) + len(LABELS) < 1_000_000
    first = results.test_clips(loaded).iloc[0]
    found = results.predict_proba(loaded, audio.load(first["path"], 16000))
    np.testing.assert_allclose(found[LABELS], first[LABELS].astype(float), atol=2e-3)


def test_two_emotions_are_enough(table):
    rows = evaluation.make_split(table[table["emotion"] != "calm"], "speaker", ratio="50:25:25", seed=1)
    trained = models.fit_discriminant(models.extract_split_features(rows, copies=0), ["angry", "sad"])
    assert (evaluation.select_test_rows(trained.predictions)["prediction"].isin(["angry", "sad"])).all()
