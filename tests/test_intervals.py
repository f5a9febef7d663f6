import interval_coverage
import numpy as np
import pandas as pd
import pytest
import scipy.special
from scipy import stats
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


def test_the_interval_is_over_speakers(predictions):
    # All clips of a speaker are right or all wrong: the interval must be that of 8 independent rows, not of 200.
    right = predictions["speaker"].isin(list("abcdef"))
    rows = predictions.assign(prediction=np.where(right, predictions["truth"], "none"))
    low, high = evaluation.speaker_interval(rows, [*LABELS, "none"])["accuracy"]
    assert low < 0.45 and high > 0.9


def test_the_interval_covers_the_score(predictions):
    intervals = evaluation.speaker_interval(predictions, LABELS)
    matrix = evaluation.confusion_matrix(predictions["truth"], predictions["prediction"], LABELS)
    for name, (low, high) in intervals.items():
        assert low < evaluation.compute_scores(matrix)[name] < high


def test_the_interval_is_that_of_students_t(clips):
    # With as many clips of each speaker, the accuracy is the mean of the speakers' accuracies.
    even = clips.groupby("speaker").head(clips["speaker"].value_counts().min())
    by_speaker = (even["truth"] == even["prediction"]).groupby(even["speaker"]).mean()
    mean, half = by_speaker.mean(), stats.t.ppf(0.975, 7) * by_speaker.sem()
    ends = scipy.special.logit(mean) + np.array([-1, 1]) * half / (mean * (1 - mean))
    assert evaluation.speaker_interval(even)["accuracy"] == pytest.approx(scipy.special.expit(ends))


def test_few_speakers_or_equal_ones_have_no_interval(predictions):
    three = predictions[predictions["speaker"] < "d"]
    four = predictions[predictions["speaker"] < "e"]
    assert np.isnan(evaluation.speaker_interval(three, LABELS)["uar"]).all()
    assert np.isfinite(evaluation.speaker_interval(four, LABELS)["uar"]).all()
    assert np.isnan(evaluation.speaker_interval(four.assign(prediction=four["truth"]), LABELS)["uar"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [4, 12])
def test_the_intervals_contain_the_truth(speakers):
    rng = np.random.default_rng(speakers)
    population = interval_coverage.POPULATIONS["UAR 0.65, 8 emotions, 8 clips each"]
    experiments = np.array([interval_coverage.run_experiment(population, speakers, rng) for _ in range(400)])
    jackknife, bootstrap, difference, false_positives = experiments.mean(axis=0)
    assert 0.92 < jackknife < 0.98 and 0.92 < difference < 0.98 and false_positives < 0.08
    assert bootstrap < 0.92  # what the jackknife replaced


def test_the_interval_of_forty_clips_is_fifteen_points_to_either_side():
    low, high = evaluation.wilson_interval(0.61, 40)
    assert low == pytest.approx(0.46, abs=0.02) and high == pytest.approx(0.75, abs=0.02)


# comparisons


def better(clips, share, speakers="abcdefgh"):
    """Return the clips with a share of the wrong predictions of some speakers corrected."""
    drawn = np.random.default_rng(1).random(len(clips)) < share
    corrected = drawn & clips["speaker"].isin(list(speakers))
    return clips.assign(prediction=np.where(corrected, clips["truth"], clips["prediction"]))


def test_a_comparison_gives_the_difference_of_the_scores(clips):
    other = better(clips, 0.5)
    result = evaluation.compare_models(other, clips.sample(frac=1, random_state=0))
    for name, score in (("accuracy", sk.accuracy_score), ("uar", sk.balanced_accuracy_score)):
        row = result.table.loc[name]
        assert row["a"] == pytest.approx(score(other["truth"], other["prediction"]))
        assert row["difference"] == pytest.approx(row["a"] - score(clips["truth"], clips["prediction"]))
        assert 0 < row["low"] < row["difference"] < row["high"]
    assert result.better == 8 and result.worse == 0 and result.table.loc["uar", "p"] < 0.01
    assert "200 clips of 8 speakers" in result.summary and "the difference is significant" in result.summary
    assert "By accuracy, the first is better for 8 of the 8 speakers, the second for 0." in result.summary
    back = evaluation.compare_models(clips, other).summary
    assert (
        f"a difference of \N{MINUS SIGN}{100 * result.table['difference']['uar']:.1f} points" in back
        and " -" not in back
    )
    assert "a difference of +0.0 points" in evaluation.compare_models(clips, clips).summary


def test_swapping_the_models_changes_the_sign_of_the_comparison(clips):
    forward, backward = (
        evaluation.compare_models(better(clips, 0.3), clips).table,
        evaluation.compare_models(clips, better(clips, 0.3)).table,
    )
    np.testing.assert_allclose(forward["difference"], -backward["difference"])
    np.testing.assert_allclose(forward["low"], -backward["high"], atol=1e-12)
    np.testing.assert_allclose(forward["p"], backward["p"])


def test_a_gain_of_one_speaker_may_be_chance(clips):
    result = evaluation.compare_models(better(clips, 1, "a"), clips)
    assert result.table.loc["uar", "difference"] > 0
    assert result.table.loc["uar", "p"] > 0.2 and "not significant" in result.summary
    same = evaluation.compare_models(clips, clips)
    assert (same.table["difference"] == 0).all() and same.table[["low", "high", "p"]].isna().all(axis=None)
    assert "the same for every speaker: there is no interval and no test" in same.summary


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.3])
def test_the_interval_and_p_agree(clips, share):
    table = evaluation.compare_models(better(clips, share), clips).table
    excludes_zero = (table["low"] > 0) | (table["high"] < 0)
    assert (excludes_zero == (table["p"] < 0.05)).all()


@pytest.mark.slow
def test_the_comparison_keeps_its_level_under_the_null_hypothesis():
    # Two equally good models whose predictions are correlated within a speaker: p < 0.05 in one of twenty tests.
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"speaker": np.repeat(list("abcdefgh"), 12), "truth": np.tile(LABELS, 24)})
    frame["clip"] = frame.index.astype(str)
    p_values = []
    for _ in range(200):
        skill = rng.normal(0.5, 0.2, (2, 8)).clip(0, 1).repeat(12, axis=1)
        a, b = (frame.assign(prediction=np.where(rng.random(96) < p, frame["truth"], "none")) for p in skill)
        p_values.append(evaluation.compare_models(a, b).table.loc["uar", "p"])
    assert np.mean(np.array(p_values) < 0.05) < 0.1


def test_few_speakers_allow_no_interval_and_no_test(clips):
    for speakers, text in (("abc", "3 speakers"), ("a", "1 speaker,")):
        few = clips[clips["speaker"].isin(list(speakers))]
        result = evaluation.compare_models(better(few, 0.5), few)
        assert result.table[["low", "high", "p"]].isna().all(axis=None)
        assert text in result.summary and "too few speakers for an interval or a test, which need 4" in result.summary


def test_tables_of_different_clips_truths_or_speakers_are_refused(clips):
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


def test_tables_without_clips_are_paired_by_speaker_and_emotion(clips):
    other = better(clips, 0.5)
    a, b = other.drop(columns="clip"), clips.drop(columns="clip")
    pd.testing.assert_frame_equal(evaluation.compare_models(a, b).table, evaluation.compare_models(other, clips).table)
    with pytest.raises(ValueError, match="same speakers and emotions"):
        evaluation.compare_models(a, b.assign(truth=["none"] * 3 + list(b["truth"][3:])))


def test_several_seeds_of_a_model_compare_with_one_of_another(clips):
    twice = pd.concat([clips, clips])
    once, both = (
        evaluation.compare_models(better(clips, 0.5), clips),
        evaluation.compare_models(better(clips, 0.5), twice),
    )
    pd.testing.assert_frame_equal(once.table, both.table)
    np.testing.assert_allclose(evaluation.compare_models(twice, better(clips, 0.5)).table["p"], once.table["p"])
    assert both.rows == 200 and evaluation.score_by(twice, "speaker")["rows"].sum() == 200


# cells


def test_scores_by_a_column_of_the_clip_table(clips):
    table = clips[["clip"]].assign(sex=np.where(clips["speaker"] < "f", "female", ""), emotion="sad").sample(frac=1)
    result = evaluation.score_by(clips, "sex", table)
    assert result.index.tolist() == ["female", "not said"]
    part = clips[clips["speaker"] < "f"]
    assert result.loc["female", ["rows", "speakers"]].tolist() == [len(part), 5]
    assert result.loc["female", "uar"] == pytest.approx(sk.balanced_accuracy_score(part["truth"], part["prediction"]))
    ends = evaluation.speaker_interval(part, LABELS)["accuracy"]
    assert result.loc["female", ["accuracy_low", "accuracy_high"]].tolist() == pytest.approx(ends)
    assert evaluation.score_by(clips, "emotion", table).index.tolist() == ["sad"]  # the table's, where there is one
    with pytest.raises(ValueError, match="predictions and the clip table have no column 'age'"):
        evaluation.score_by(clips, "age", table)
    with pytest.raises(ValueError, match="1 of 200 predicted clips are not in the clip table"):
        evaluation.score_by(clips, "sex", table[table["clip"] != "7.wav"])


def test_scores_by_emotion_have_recall_and_no_uar(predictions):
    result = evaluation.score_by(predictions, "emotion")
    recall = sk.recall_score(predictions["truth"], predictions["prediction"], average=None)
    np.testing.assert_allclose(result["accuracy"], recall)
    assert result[["uar", "uar_low", "uar_high"]].isna().all(axis=None)


def test_a_single_speaker_has_the_interval_of_its_clips(predictions):
    result = evaluation.score_by(predictions, "speaker").loc["a"]
    assert result[["accuracy_low", "accuracy_high"]].tolist() == list(
        evaluation.wilson_interval(result["accuracy"], result["rows"])
    )


def test_only_small_cells_have_a_caution(predictions):
    assert evaluation.score_by(predictions.assign(all=1), "all")["note"].tolist() == [""]
    three = evaluation.score_by(predictions[predictions["speaker"] < "d"].assign(all=1), "all")
    assert three["note"].tolist() == ["too little data: 3 speakers"]
    few = predictions.groupby("speaker").head(2).assign(all=1)
    assert evaluation.score_by(few, "all")["note"].str.contains("16 rows").all()
    right = np.where(predictions["speaker"] < "e", predictions["truth"], "none")
    opposed = evaluation.score_by(predictions.assign(prediction=right, all=1), "all")
    assert opposed["note"].tolist() == ["too little data: an interval wider than 0.3"]
    # A cell by speaker has one speaker by definition.
    assert not evaluation.score_by(predictions, "speaker")["note"].str.contains("speaker").any()


def test_several_models_are_scored_only_by_model(clips):
    both = pd.concat([clips.assign(model="simple"), better(clips, 1).assign(model="net")])
    result = evaluation.score_by(both, "model")
    assert result.index.tolist() == ["simple", "net"] and result.loc["net", "accuracy"] == 1
    with pytest.raises(ValueError, match="of 2 models"):
        evaluation.score_by(both, "speaker")


def test_the_expected_interval_is_about_that_of_a_measured_corpus():
    """RAVDESS, 24 speakers with 60 clips: 0.611 to 0.691; fewer speakers or clips make it wider."""
    assert evaluation.expected_half_width(24, 60) == pytest.approx((0.691 - 0.611) / 2, abs=0.005)
    assert evaluation.expected_half_width(6, 60) > 2 * evaluation.expected_half_width(24, 60)
    assert evaluation.expected_half_width(24, 3) > evaluation.expected_half_width(24, 60)
    assert np.isnan(evaluation.expected_half_width(3, 60))


def test_a_corpus_is_told_what_interval_to_expect():
    table = pd.DataFrame({"speaker": list("abcdef") * 20})
    assert evaluation.describe_expected_interval(table) == (
        "With 6 speakers and about 20 clips each, expect a 95% interval of ±13 points for the UAR if every speaker is "
        "tested; half of that takes 17 speakers."
    )
    assert "there is no interval; the corpus has 3" in evaluation.describe_expected_interval(table[:3])


# seeds


def test_seeds_are_averaged(clips):
    seeds = [clips, better(clips, 0.2), better(clips, 0.4)]
    result = evaluation.pool_seeds(seeds)
    each = [sk.balanced_accuracy_score(table["truth"], table["prediction"]) for table in seeds]
    assert (result["seeds"], result["speakers"], result["rows"]) == (3, 8, 200)
    assert result["uar"] == pytest.approx(np.mean(each)) and result["uar_sd"] == pytest.approx(np.std(each, ddof=1))
    assert (result["uar_least"], result["uar_most"]) == pytest.approx((min(each), max(each)))
    assert [result["uar_low"], result["uar_high"]] == evaluation.speaker_interval(pd.concat(seeds), LABELS)["uar"]
