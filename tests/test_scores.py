import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from sernb import evaluation

LABELS = ["angry", "happy", "neutral", "sad"]


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    truth = rng.choice(LABELS, 200, p=[0.5, 0.2, 0.2, 0.1])
    prediction = np.where(rng.random(200) < 0.6, truth, rng.choice(LABELS, 200))
    return pd.DataFrame({"speaker": rng.choice(list("abcdefgh"), 200), "truth": truth, "prediction": prediction})


@pytest.fixture
def clips(predictions):
    return predictions.assign(clip=[f"{i}.wav" for i in range(len(predictions))])


def test_scores_equal_those_of_scikit_learn(predictions):
    truth, prediction = predictions["truth"], predictions["prediction"]
    matrix = evaluation.confusion_matrix(truth, prediction, LABELS)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(truth, prediction, labels=LABELS))
    scores = evaluation.compute_scores(matrix)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(truth, prediction))
    assert scores["uar"] == pytest.approx(sk.balanced_accuracy_score(truth, prediction))
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(truth, prediction, average="macro"))
    assert scores["weighted_f1"] == pytest.approx(sk.f1_score(truth, prediction, average="weighted"))
    recall = sk.recall_score(truth, prediction, average=None)
    np.testing.assert_allclose(evaluation.class_report(matrix, LABELS)["recall"], recall)


def test_a_constant_prediction_fills_its_own_column():
    truth = np.array(["angry", "happy", "sad", "sad"])
    matrix = evaluation.confusion_matrix(truth, np.full(4, "neutral"), LABELS)
    assert matrix[:, LABELS.index("neutral")].tolist() == [1, 1, 0, 2]
    assert matrix.sum() == 4
    scores = evaluation.compute_scores(matrix)
    assert scores["accuracy"] == 0 and scores["uar"] == 0


def test_a_label_that_is_not_listed_is_refused(predictions):
    with pytest.raises(ValueError, match="'sad' is not among the labels angry, happy, neutral"):
        evaluation.confusion_matrix(predictions["truth"], predictions["prediction"], LABELS[:3])


def test_uar_is_over_the_classes_tested_everywhere(clips):
    """Emotions that are absent from the test set have no recall; every table gives the same UAR."""
    rows = clips[clips["truth"].isin(["angry", "happy"])]
    matrix = evaluation.confusion_matrix(rows["truth"], rows["prediction"], LABELS)
    report = evaluation.class_report(matrix, LABELS)
    assert report.loc[["neutral", "sad"], ["recall", "f1"]].isna().all(axis=None)
    expected = report["recall"].mean()
    assert evaluation.compute_scores(matrix)["uar"] == pytest.approx(expected)
    assert evaluation.score_by(rows.assign(model="m"), "model")["uar"].tolist() == pytest.approx([expected])
    assert evaluation.pool_seeds([rows])["uar"] == pytest.approx(expected)
    assert evaluation.compare_models(rows, rows).table.loc["uar", "a"] == pytest.approx(expected)
    assert evaluation.chance_level(rows["truth"]) == 0.5


def test_uar_of_one_class_is_its_recall_everywhere(clips):
    rows = clips[clips["truth"] == "angry"]
    matrix = evaluation.confusion_matrix(rows["truth"], rows["prediction"], LABELS)
    recall = evaluation.class_report(matrix, LABELS).loc["angry", "recall"]
    assert evaluation.compute_scores(matrix)["uar"] == recall
    assert evaluation.score_by(rows.assign(model="m"), "model")["uar"].tolist() == pytest.approx([recall])


def test_only_test_rows_count_and_a_missing_prediction_is_wrong(clips):
    trained = clips.assign(split="train", prediction=clips["truth"])
    mixed = pd.concat([clips.assign(split="test"), trained], ignore_index=True)
    pd.testing.assert_frame_equal(evaluation.score_by(mixed, "speaker"), evaluation.score_by(clips, "speaker"))
    unanswered = evaluation.score_by(clips.assign(prediction=np.nan, all=1), "all")
    assert unanswered["accuracy"].tolist() == [0] and unanswered["uar"].tolist() == [0]
    with pytest.raises(ValueError, match="no row has the split `test`"):
        evaluation.score_by(trained, "speaker")
    with pytest.raises(ValueError, match="no column speaker"):
        evaluation.score_by(clips.drop(columns="speaker"), "truth")
    with pytest.raises(ValueError, match="1 of 200 rows have no truth"):
        evaluation.score_by(clips.assign(truth=[None, *clips["truth"][1:]]), "speaker")


def test_rows_of_an_unknown_speaker_count_as_one_speaker():
    rows = pd.DataFrame({"truth": ["sad", "calm"] * 8, "prediction": ["sad"] * 7 + ["calm"] * 9})
    rows["speaker"] = [*"aaaabbbbdddd", None, np.nan, "", None]
    named = rows.assign(speaker=list("aaaabbbbddddcccc"))
    scores, expected = (evaluation.score_by(table.assign(model="m"), "model").loc["m"] for table in (rows, named))
    pd.testing.assert_series_equal(scores, expected)
    assert scores["rows"] == 16 and scores["speakers"] == 4
    assert evaluation.score_by(rows, "speaker")["rows"].to_dict() == {"a": 4, "b": 4, "d": 4, "not said": 4}
    assert evaluation.speaker_interval(rows) == evaluation.speaker_interval(named)


def test_categories_are_scored_as_text(clips):
    categories = clips.astype({"truth": "category", "prediction": "category", "speaker": "category"})
    pd.testing.assert_frame_equal(evaluation.score_by(categories, "truth"), evaluation.score_by(clips, "truth"))
    unanswered = categories.assign(prediction=categories["prediction"].where(categories.index > 5))
    assert evaluation.score_by(unanswered.assign(all=1), "all")["accuracy"].iloc[0] < 1


@pytest.mark.parametrize("change", [str.upper, str.title, lambda name: f"{name} "])
def test_another_spelling_of_the_emotions_is_refused(clips, change):
    other = clips.assign(prediction=clips["prediction"].map(change))
    with pytest.raises(ValueError, match=r"the predictions contain '[A-Za-z ]+', the truth '[a-z]+': spell"):
        evaluation.score_by(other, "speaker")
