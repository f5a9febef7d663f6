import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from sernb import metrics

LABELS = ["angry", "happy", "neutral", "sad"]


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    truth = rng.choice(LABELS, 200, p=[0.5, 0.2, 0.2, 0.1])
    guess = np.where(rng.random(200) < 0.6, truth, rng.choice(LABELS, 200))
    return pd.DataFrame({"speaker": rng.choice(list("abcdefgh"), 200), "truth": truth, "prediction": guess})


def test_scores_are_scikit_learns(predictions):
    truth, guess = predictions["truth"], predictions["prediction"]
    matrix = metrics.confusion(truth, guess, LABELS)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(truth, guess, labels=LABELS))
    scores = metrics.scores(matrix)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert scores["uar"] == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(truth, guess, average="macro"))
    assert scores["weighted_f1"] == pytest.approx(sk.f1_score(truth, guess, average="weighted"))
    np.testing.assert_allclose(metrics.report(matrix, LABELS)["recall"], sk.recall_score(truth, guess, average=None))


def test_a_constant_predictor_fills_one_column_under_its_own_name():
    truth = np.array(["angry", "happy", "sad", "sad"])
    matrix = metrics.confusion(truth, np.full(4, "neutral"), LABELS)
    assert matrix[:, LABELS.index("neutral")].tolist() == [1, 1, 0, 2] and matrix.sum() == 4
    scores = metrics.scores(matrix)
    assert scores["accuracy"] == 0 and scores["uar"] == 0
    always_sad = metrics.scores(metrics.confusion(truth, np.full(4, "sad"), LABELS))
    assert always_sad["uar"] == pytest.approx(1 / 3)  # neutral does not occur


def test_the_interval_resamples_speakers(predictions):
    # All clips of a voice right or all wrong: the interval must be that of 8 things, not of 200.
    right = predictions["speaker"].isin(list("abcdef"))
    each = predictions.assign(prediction=np.where(right, predictions["truth"], "none"))
    found = metrics.interval(each, [*LABELS, "none"])
    low, high = found["accuracy"]
    assert low < 0.55 and high > 0.95
    assert found == metrics.interval(each, [*LABELS, "none"])


def test_the_interval_covers_the_score(predictions):
    found = metrics.interval(predictions, LABELS)
    matrix = metrics.confusion(predictions["truth"], predictions["prediction"], LABELS)
    for name, (low, high) in found.items():
        assert low < metrics.scores(matrix)[name] < high


def test_one_speaker_has_no_interval(predictions):
    assert np.isnan(metrics.interval(predictions.assign(speaker="a"), LABELS)["uar"]).all()


def test_forty_clips_allow_fifteen_points_to_either_side():
    low, high = metrics.wilson(0.61, 40)
    assert low == pytest.approx(0.46, abs=0.02) and high == pytest.approx(0.75, abs=0.02)
