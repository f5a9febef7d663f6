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
    guess = np.where(rng.random(200) < 0.6, truth, rng.choice(LABELS, 200))
    return pd.DataFrame({"speaker": rng.choice(list("abcdefgh"), 200), "truth": truth, "prediction": guess})


def test_scores_are_scikit_learns(predictions):
    truth, guess = predictions["truth"], predictions["prediction"]
    matrix = evaluation.confusion_matrix(truth, guess, LABELS)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(truth, guess, labels=LABELS))
    scores = evaluation.compute_scores(matrix)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert scores["uar"] == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    assert scores["macro_f1"] == pytest.approx(sk.f1_score(truth, guess, average="macro"))
    assert scores["weighted_f1"] == pytest.approx(sk.f1_score(truth, guess, average="weighted"))
    np.testing.assert_allclose(
        evaluation.class_report(matrix, LABELS)["recall"], sk.recall_score(truth, guess, average=None)
    )


def test_a_constant_predictor_fills_one_column_under_its_own_name():
    truth = np.array(["angry", "happy", "sad", "sad"])
    matrix = evaluation.confusion_matrix(truth, np.full(4, "neutral"), LABELS)
    assert matrix[:, LABELS.index("neutral")].tolist() == [1, 1, 0, 2] and matrix.sum() == 4
    scores = evaluation.compute_scores(matrix)
    assert scores["accuracy"] == 0 and scores["uar"] == 0
    always_sad = evaluation.compute_scores(evaluation.confusion_matrix(truth, np.full(4, "sad"), LABELS))
    assert always_sad["uar"] == pytest.approx(1 / 3)  # neutral does not occur


def test_the_interval_resamples_speakers(predictions):
    # All clips of a voice right or all wrong: the interval must be that of 8 things, not of 200.
    right = predictions["speaker"].isin(list("abcdef"))
    each = predictions.assign(prediction=np.where(right, predictions["truth"], "none"))
    found = evaluation.speaker_interval(each, [*LABELS, "none"])
    low, high = found["accuracy"]
    assert low < 0.55 and high > 0.95
    assert found == evaluation.speaker_interval(each, [*LABELS, "none"])


def test_the_interval_covers_the_score(predictions):
    found = evaluation.speaker_interval(predictions, LABELS)
    matrix = evaluation.confusion_matrix(predictions["truth"], predictions["prediction"], LABELS)
    for name, (low, high) in found.items():
        assert low < evaluation.compute_scores(matrix)[name] < high


def test_one_speaker_has_no_interval(predictions):
    assert np.isnan(evaluation.speaker_interval(predictions.assign(speaker="a"), LABELS)["uar"]).all()


def test_forty_clips_allow_fifteen_points_to_either_side():
    low, high = evaluation.wilson_interval(0.61, 40)
    assert low == pytest.approx(0.46, abs=0.02) and high == pytest.approx(0.75, abs=0.02)


# comparisons


@pytest.fixture
def clips(predictions):
    return predictions.assign(clip=[f"{i}.wav" for i in range(len(predictions))])


def better(clips, share, speakers="abcdefgh"):
    """The same clips with a share of the wrong answers of some speakers put right."""
    luck = np.random.default_rng(1).random(len(clips)) < share
    right = luck & clips["speaker"].isin(list(speakers))
    return clips.assign(prediction=np.where(right, clips["truth"], clips["prediction"]))


def test_a_label_that_is_not_listed_is_named(predictions):
    with pytest.raises(ValueError, match="'sad' is none of the labels angry, happy, neutral"):
        evaluation.confusion_matrix(predictions["truth"], predictions["prediction"], LABELS[:3])


def test_a_comparison_is_the_difference_of_the_scores(clips):
    other = better(clips, 0.5)
    found = evaluation.compare_models(other, clips.sample(frac=1, random_state=0))
    for name, score in (("accuracy", sk.accuracy_score), ("uar", sk.balanced_accuracy_score)):
        row = found.table.loc[name]
        assert row["a"] == pytest.approx(score(other["truth"], other["prediction"]))
        assert row["difference"] == pytest.approx(row["a"] - score(clips["truth"], clips["prediction"]))
        assert 0 < row["low"] < row["difference"] < row["high"]
    assert found.exact and found.table.loc["uar", "p"] == 2 / 2**8  # every voice gains: only all swapped is as far
    assert "200 clips of 8 speakers" in found.said and "more than the choice of speakers explains" in found.said
    back = evaluation.compare_models(clips, other).said
    assert f"a difference of \N{MINUS SIGN}{found.table['difference']['uar']:.3f}" in back and " -" not in back
    assert "a difference of +0.000" in evaluation.compare_models(clips, clips).said


def test_swapping_the_models_turns_the_comparison_round(clips):
    there, back = (
        evaluation.compare_models(better(clips, 0.3), clips).table,
        evaluation.compare_models(clips, better(clips, 0.3)).table,
    )
    np.testing.assert_allclose(there["difference"], -back["difference"])
    np.testing.assert_allclose(there["low"], -back["high"], atol=1e-12)
    np.testing.assert_allclose(there["p"], back["p"])


def test_what_one_voice_alone_gains_may_be_chance(clips):
    found = evaluation.compare_models(better(clips, 1, "a"), clips)
    assert found.table.loc["uar", "difference"] > 0
    assert found.table.loc["uar", "p"] == 1 and "may explain it" in found.said
    same = evaluation.compare_models(clips, clips).table
    assert (same["p"] == 1).all() and (same[["difference", "low", "high"]] == 0).all(axis=None)


def test_drawn_permutations_come_near_the_exact_p(clips):
    mixed = better(clips, 0.5, "abcde")
    mixed.loc[mixed["speaker"] == "h", "prediction"] = "none"
    exact, drawn = evaluation.compare_models(mixed, clips), evaluation.compare_models(mixed, clips, permutations=200)
    assert exact.exact and not drawn.exact
    assert 0.02 < exact.table.loc["uar", "p"] < 0.98
    assert drawn.table.loc["uar", "p"] == pytest.approx(exact.table.loc["uar", "p"], abs=0.1)


def test_the_comparison_keeps_its_level_where_there_is_no_difference():
    # Two equally good models whose answers go together within each voice: one in twenty tests may find p < 0.05.
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"speaker": np.repeat(list("abcdefgh"), 12), "truth": np.tile(LABELS, 24)})
    frame["clip"] = frame.index.astype(str)
    found = []
    for _ in range(200):
        skill = rng.normal(0.5, 0.2, (2, 8)).clip(0, 1).repeat(12, axis=1)
        a, b = (frame.assign(prediction=np.where(rng.random(96) < one, frame["truth"], "none")) for one in skill)
        found.append(evaluation.compare_models(a, b, resamples=2).table.loc["uar", "p"])
    assert np.mean(np.array(found) < 0.05) < 0.1


def test_few_speakers_cannot_decide_and_one_has_no_interval(clips):
    four = clips[clips["speaker"].isin(list("abcd"))]
    assert (
        "too few speakers to tell, for p cannot fall below 0.12"
        in evaluation.compare_models(better(four, 1), four).said
    )
    one = clips[clips["speaker"] == "a"]
    found = evaluation.compare_models(better(one, 1), one)
    assert found.table[["low", "high"]].isna().all(axis=None) and "1 speaker," in found.said


def test_other_clips_truths_or_speakers_are_refused(clips):
    with pytest.raises(ValueError, match="150 match, of 200 of the first and 150 of the second"):
        evaluation.compare_models(clips, clips.head(150))
    with pytest.raises(ValueError, match="truth of 3 of 200 clips"):
        evaluation.compare_models(clips, clips.assign(truth=["none"] * 3 + list(clips["truth"][3:])))
    with pytest.raises(ValueError, match="speaker of 200 of 200"):
        evaluation.compare_models(clips, clips.assign(speaker=clips["speaker"] + "x"))
    with pytest.raises(ValueError, match="no column clip"):
        evaluation.compare_models(clips, clips.drop(columns="clip"))
    with pytest.raises(ValueError, match="the models x, y; choose one"):
        evaluation.compare_models(pd.concat([clips.assign(model="x"), clips.assign(model="y")]), clips)
    with pytest.raises(ValueError, match="more often than others"):
        evaluation.compare_models(pd.concat([clips, clips.head(1)]), clips)


def test_several_seeds_of_one_model_compare_with_one_of_another(clips):
    twice = pd.concat([clips, clips])
    once, both = (
        evaluation.compare_models(better(clips, 0.5), clips),
        evaluation.compare_models(better(clips, 0.5), twice),
    )
    pd.testing.assert_frame_equal(once.table, both.table)
    np.testing.assert_allclose(evaluation.compare_models(twice, better(clips, 0.5)).table["p"], once.table["p"])
    assert both.rows == 200 and evaluation.score_by(twice, "speaker")["rows"].sum() == 200


# cells


def test_only_test_rows_count_and_a_missing_answer_is_wrong(clips):
    trained = clips.assign(split="train", prediction=clips["truth"])
    told = pd.concat([clips.assign(split="test"), trained], ignore_index=True)
    pd.testing.assert_frame_equal(evaluation.score_by(told, "speaker"), evaluation.score_by(clips, "speaker"))
    none = evaluation.score_by(clips.assign(prediction=np.nan, all=1), "all")
    assert none["accuracy"].tolist() == [0] and none["uar"].tolist() == [0]
    with pytest.raises(ValueError, match="whose `split` is `test`"):
        evaluation.score_by(trained, "speaker")
    with pytest.raises(ValueError, match="no column speaker"):
        evaluation.score_by(clips.drop(columns="speaker"), "truth")
    with pytest.raises(ValueError, match="1 of 200 rows have no truth"):
        evaluation.score_by(clips.assign(truth=[None, *clips["truth"][1:]]), "speaker")


def test_cells_are_the_rows_of_the_clip_table(clips):
    table = clips[["clip"]].assign(sex=np.where(clips["speaker"] < "f", "female", ""), emotion="sad").sample(frac=1)
    found = evaluation.score_by(clips, "sex", table)
    assert found.index.tolist() == ["female", "not said"]
    part = clips[clips["speaker"] < "f"]
    assert found.loc["female", ["rows", "speakers"]].tolist() == [len(part), 5]
    assert found.loc["female", "uar"] == pytest.approx(sk.balanced_accuracy_score(part["truth"], part["prediction"]))
    ends = evaluation.speaker_interval(part, LABELS)["accuracy"]
    assert found.loc["female", ["accuracy_low", "accuracy_high"]].tolist() == pytest.approx(ends)
    assert evaluation.score_by(clips, "emotion", table).index.tolist() == ["sad"]  # the table's, where there is one
    with pytest.raises(ValueError, match="predictions and the clip table have no column 'age'"):
        evaluation.score_by(clips, "age", table)
    with pytest.raises(ValueError, match="1 of 200 predicted clips are not in the clip table"):
        evaluation.score_by(clips, "sex", table[table["clip"] != "7.wav"])


def test_a_cell_of_one_emotion_has_recall_and_no_uar(predictions):
    found = evaluation.score_by(predictions, "emotion")  # a user's own table: three columns
    recall = sk.recall_score(predictions["truth"], predictions["prediction"], average=None)
    np.testing.assert_allclose(found["accuracy"], recall)
    assert found[["uar", "uar_low", "uar_high"]].isna().all(axis=None)


def test_a_speakers_cell_has_the_interval_of_its_clips(predictions):
    found = evaluation.score_by(predictions, "speaker").loc["a"]
    assert found[["accuracy_low", "accuracy_high"]].tolist() == list(
        evaluation.wilson_interval(found["accuracy"], found["rows"])
    )


def test_small_cells_are_marked_and_large_ones_are_not(predictions):
    assert evaluation.score_by(predictions.assign(all=1), "all")["note"].tolist() == [""]
    six = predictions[predictions["speaker"] < "g"].assign(all=1)
    assert evaluation.score_by(six, "all")["note"].tolist() == [""]
    five = evaluation.score_by(six[six["speaker"] < "f"].assign(all=1), "all")
    assert five["note"].tolist() == ["too little to go by: 5 speakers"]
    few = six.groupby("speaker").head(2)
    assert evaluation.score_by(few, "all")["note"].str.contains("12 rows").all()
    opposed = six.assign(prediction=np.where(six["speaker"] < "d", six["truth"], "none"))
    assert evaluation.score_by(opposed, "all")["note"].tolist() == ["too little to go by: an interval wider than 0.3"]
    # One speaker is what a speaker's cell is about.
    assert not evaluation.score_by(predictions, "speaker")["note"].str.contains("speaker").any()


def test_models_stand_side_by_side_and_are_not_mixed_up(clips):
    both = pd.concat([clips.assign(model="simple"), better(clips, 1).assign(model="net")])
    found = evaluation.score_by(both, "model")
    assert found.index.tolist() == ["simple", "net"] and found.loc["net", "accuracy"] == 1
    with pytest.raises(ValueError, match="of 2 models"):
        evaluation.score_by(both, "speaker")


# seeds


def test_seeds_are_pooled(clips):
    seeds = [clips, better(clips, 0.2), better(clips, 0.4)]
    found = evaluation.pool_seeds(seeds)
    each = [sk.balanced_accuracy_score(one["truth"], one["prediction"]) for one in seeds]
    assert (found["seeds"], found["speakers"], found["rows"]) == (3, 8, 200)
    assert found["uar"] == pytest.approx(np.mean(each)) and found["uar_sd"] == pytest.approx(np.std(each, ddof=1))
    assert (found["uar_least"], found["uar_most"]) == pytest.approx((min(each), max(each)))
    assert [found["uar_low"], found["uar_high"]] == evaluation.speaker_interval(pd.concat(seeds), LABELS)["uar"]


def test_rows_whose_speaker_is_not_said_are_one_voice_and_none_is_lost():
    told = pd.DataFrame({"truth": ["sad", "calm"] * 6, "prediction": ["sad"] * 6 + ["calm"] * 6})
    told["speaker"] = ["a"] * 4 + ["b"] * 4 + [None, np.nan, "", None]
    by = evaluation.score_by(told.assign(model="m"), "model").loc["m"]
    named = evaluation.score_by(told.assign(model="m", speaker=list("aaaabbbbcccc")), "model").loc["m"]
    pd.testing.assert_series_equal(by, named)
    assert by["rows"] == 12 and by["speakers"] == 3
    voices = evaluation.score_by(told, "speaker")
    assert voices["rows"].to_dict() == {"a": 4, "b": 4, "not said": 4}
    assert evaluation.speaker_interval(told) == evaluation.speaker_interval(told.assign(speaker=list("aaaabbbbcccc")))
