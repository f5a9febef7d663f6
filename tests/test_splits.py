import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from sernb import corpora
from sernb import evaluation


def clip_table(speakers=12, per_speaker=10, emotions=("angry", "happy", "sad"), corpus="local", ids=None):
    ids = ids or [f"P{i:02}" for i in range(speakers)]
    clips = pd.DataFrame([(s, emotions[i % len(emotions)], f"{s}-{i}") for s in ids for i in range(per_speaker)])
    clips.columns = ["speaker", "emotion", "clip"]
    return clips.assign(corpus=corpus, sha256=clips["clip"], sex=np.where(clips["speaker"] < "P06", "male", "female"))


def leaks(rows):
    return {kind: count for kind, count in evaluation.count_leaks(rows).items() if kind in evaluation.LEAK_FAULTS}


def speakers_by_side(rows):
    return {side: set(group["speaker"]) for side, group in rows.groupby("split")}


@pytest.mark.parametrize(
    ("ratio", "expected"), [("75:15:10", (90, 18, 12)), ("70:20:10", (84, 24, 12)), ("8:1:1", (96, 12, 12))]
)
def test_a_random_split_keeps_the_ratio_and_the_balance_of_emotions(ratio, expected):
    rows = evaluation.make_split(clip_table(), "random", ratio=ratio, seed=1)
    assert tuple((rows["split"] == side).sum() for side in evaluation.SIDES) == expected
    shares = pd.crosstab(rows["split"], rows["emotion"], normalize="index")
    assert (shares.max() - shares.min()).max() < 0.1


def test_the_published_protocol_is_the_split_of_study_a():
    clips = clip_table()
    rest, test = train_test_split(clips, test_size=0.3, stratify=clips["emotion"], random_state=42)
    train, val = train_test_split(rest, test_size=0.05, random_state=42)
    rows = evaluation.make_split(clips, "published", seed=42)
    for side, expected in (("train", train), ("val", val), ("test", test)):
        assert set(rows.loc[rows["split"] == side, "clip"]) == set(expected["clip"])


@pytest.mark.parametrize("seed", range(5))
def test_a_speaker_split_has_no_speaker_in_two_sets(seed):
    rows = evaluation.make_split(clip_table(), "speaker", ratio="70:15:15", augment="before-split", seed=seed)
    speakers = speakers_by_side(rows)
    assert sum(map(len, speakers.values())) == len(set.union(*speakers.values()))
    assert [len(speakers[side]) for side in evaluation.SIDES] == [8, 2, 2]
    assert leaks(rows) == {"speaker": 0, "twin": 0, "content": 0}


def test_a_speaker_split_balances_the_emotions():
    # Half of the speakers are nearly always angry, the other half sad: a careless split tests on one kind alone.
    angry = clip_table(6, emotions=("angry",) * 9 + ("sad",), ids=list("abcdef"))
    sad = clip_table(6, emotions=("sad",) * 9 + ("angry",), ids=list("ghijkl"))
    rows = evaluation.make_split(pd.concat([angry, sad], ignore_index=True), "speaker", ratio="66:17:17", seed=0)
    shares = pd.crosstab(rows["split"], rows["emotion"], normalize="index")
    np.testing.assert_allclose(shares["angry"], 0.5, atol=0.01)


def test_speaker_splits_of_different_seeds_test_different_speakers():
    tested = {
        frozenset(speakers_by_side(evaluation.make_split(clip_table(), "speaker", seed=seed))["test"])
        for seed in range(10)
    }
    assert len(tested) > 3


def test_emobox_folds_test_every_actor_once():
    folds = evaluation.published_folds("ravdess")
    assert list(folds) == [1, 2, 3, 4, 5, 6]
    assert sorted(s for fold in folds.values() for s in fold["test"]) == [f"{i:02}" for i in range(1, 25)]
    for fold in folds.values():
        assert len({*fold["train"], *fold["val"], *fold["test"]}) == 24
    assert folds[1]["test"] == ["01", "11", "20", "21"]
    (crema,) = evaluation.published_folds("crema").values()
    assert [len(crema[side]) for side in evaluation.SIDES] == [56, 18, 17]


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["demo-ravdess", "demo-crema"])
def test_the_demo_corpora_have_every_fold(corpus):
    clips = corpora.load(corpus)
    splits = evaluation.make_splits(clips, "folds")
    assert list(splits) == list(evaluation.published_folds(corpus))
    for fold, rows in splits.items():
        assert leaks(rows)["speaker"] == 0
        pd.testing.assert_frame_equal(rows, evaluation.make_split(clips, "folds", fold=fold))


def test_copies_are_made_before_the_split_or_of_the_training_set_only():
    clips = clip_table()
    before = evaluation.make_split(clips, "random", augment="before-split", seed=0)
    assert len(before) == 240 and leaks(before)["twin"] > 0
    train_only = evaluation.make_split(clips, "random", augment="train-only", seed=0)
    assert set(train_only.loc[train_only["copy"] == 1, "split"]) == {"train"}
    assert (train_only["split"] == "train").sum() == 180
    assert leaks(train_only)["twin"] == 0
    assert (evaluation.make_split(clips, "random", augment="none", seed=0)["copy"] == 0).all()


def test_folds_without_clips_are_skipped():
    clips = clip_table(corpus="ravdess", ids=["01", "11", "08", "03", "02"])  # of folds 1, 1, 3, 4 and 5
    splits = evaluation.make_splits(clips, "folds")
    assert list(splits) == [1, 3, 4, 5]
    assert speakers_by_side(splits[1]) == {"test": {"01", "11"}, "val": {"08"}, "train": {"03", "02"}}
    assert speakers_by_side(splits[5]) == {"test": {"02"}, "val": {"01", "11"}, "train": {"08", "03"}}
    assert list(evaluation.make_splits(clips, "folds", fold=3)) == [3]


def test_leave_one_speaker_out_tests_every_speaker_once():
    splits = evaluation.make_splits(clip_table(), "loso", augment="train-only", seed=5)
    assert [speakers_by_side(rows)["test"] for rows in splits.values()] == [{f"P{i:02}"} for i in range(12)]
    assert all(leaks(rows)["speaker"] == 0 and len(speakers_by_side(rows)["val"]) == 2 for rows in splits.values())
    assert len({frozenset(speakers_by_side(rows)["val"]) for rows in splits.values()}) > 3
    pd.testing.assert_frame_equal(
        splits[4], evaluation.make_split(clip_table(), "loso", fold=4, augment="train-only", seed=5)
    )
    few = evaluation.make_splits(clip_table(4), "loso")
    assert all(len(speakers_by_side(rows)["val"]) == 1 for rows in few.values())


def test_random_folds_test_every_clip_once_and_share_speakers():
    clips = clip_table()
    splits = evaluation.make_splits(clips, "random-folds", seed=5)
    assert list(splits) == list(range(1, evaluation.N_RANDOM_FOLDS + 1))
    tested = pd.concat(rows[rows["split"] == "test"] for rows in splits.values())
    assert sorted(tested["clip"]) == sorted(clips["clip"])
    by_fold = pd.concat([rows[rows["split"] == "test"]["emotion"].value_counts() for rows in splits.values()], axis=1)
    assert (by_fold.max(axis=1) - by_fold.min(axis=1)).max() <= 1
    for fold, rows in splits.items():
        assert leaks(rows)["speaker"] == (rows["split"] != "train").sum()
        following = splits[fold % evaluation.N_RANDOM_FOLDS + 1]
        assert set(rows["clip"][rows["split"] == "val"]) == set(following["clip"][following["split"] == "test"])
    pd.testing.assert_frame_equal(splits[4], evaluation.make_split(clips, "random-folds", fold=4, seed=5))


@pytest.mark.parametrize("seed", range(4))
def test_a_statement_split_tests_new_statements_of_new_speakers(seed):
    clips = clip_table().assign(statement=["kids", "dogs"] * 60)
    rows = evaluation.make_split(clips, "statement", ratio="50:20:30", augment="before-split", seed=seed)
    speakers, statements = speakers_by_side(rows), rows.groupby("split")["statement"].agg(set)
    assert sum(map(len, speakers.values())) == len(set.union(*speakers.values()))
    assert len(statements["test"]) == 1
    assert statements["train"] == statements["val"] == {"kids", "dogs"} - statements["test"]
    assert evaluation.count_leaks(rows, held_out=("test",)) == dict.fromkeys(evaluation.LEAK_KINDS, 0)


def test_only_protocols_with_folds_have_several_splits():
    assert list(evaluation.make_splits(clip_table(), "random", fold=0)) == [0]
    assert evaluation.covers_all_folds("folds", 0)
    assert not evaluation.covers_all_folds("speaker", 0) and not evaluation.covers_all_folds("loso", 2)
    sizes = evaluation.split_sizes(evaluation.make_splits(clip_table(4), "loso"))
    assert sizes.index.names == ["fold", "split"] and sizes["rows"].sum() == 4 * 40


@pytest.mark.parametrize(
    ("clips", "protocol", "options", "message"),
    [
        (clip_table(2), "speaker", {}, r"a speaker split needs at least 3 speakers, one per set \(got 2\)"),
        (clip_table(1, 6, ("angry", "sad") * 3), "random", {"ratio": "80:10:10"}, "too few: .* at least 20 clips"),
        (clip_table(1, 5, ("angry",) * 4 + ("sad",)), "random", {}, "sad has 1 clip; .* at least 3 of each"),
        (clip_table(), "folds", {}, "no folds were published for 'local'"),
        (clip_table(corpus="ravdess", ids=["01", "02"]), "folds", {"fold": 7}, "FOLD must be from 1 to 6"),
        (clip_table(corpus="ravdess", ids=["01", "02"]), "folds", {"fold": 1}, "no clip for the training set"),
        (clip_table(corpus="ravdess", ids=["01", "02"]), "folds", {"fold": 2}, "for the test set: .* 04, 10, 12, 14"),
        (clip_table(corpus="crema", ids=["1001"]), "folds", {"fold": 1}, "no clip for the"),
        (clip_table(2), "loso", {}, "at least 3 speakers"),
        (clip_table(), "loso", {"fold": 13}, "FOLD must be from 1 to 12"),
        (clip_table(), "random-folds", {"fold": 7}, "FOLD must be from 1 to 6"),
        (clip_table(1, 16, ("sad", "calm", "calm", "calm")), "random-folds", {}, "sad has 4 clips; .* at least 6"),
        (clip_table(), "statement", {}, "120 of 120 clips have none"),
        (clip_table().assign(statement="kids"), "statement", {}, "there are 1 statements"),
        (clip_table(corpus="ravdess", ids=["01", "99"]), "folds", {}, "'99' is in no published fold"),
        (clip_table(), "random", {"ratio": "75:25"}, "75:15:10"),
        (clip_table(), "random", {"ratio": "nan:1:1"}, "above 0"),
        (clip_table(1, 33, ("angry",) * 10 + ("sad",)), "random", {"ratio": "30:20:50"}, "sad has only 3 of 33 clips"),
        (clip_table(), "random", {"ratio": "100:0:0"}, "above 0"),
        (clip_table(), "stratified", {}, "must be one of random, random-folds, speaker, folds, loso, statement, p"),
        (clip_table(), "random", {"augment": "yes"}, "before-split, train-only, none"),
    ],
)  # fmt: skip
def test_a_split_that_is_not_possible_is_refused(clips, protocol, options, message):
    with pytest.raises(evaluation.SplitError, match=message):
        evaluation.make_split(clips, protocol, **options)


def test_split_sizes_count_each_set():
    sizes = evaluation.split_sizes(evaluation.make_split(clip_table(), "random", augment="before-split", seed=0))
    assert list(sizes.index) == list(evaluation.SIDES) and sizes["rows"].sum() == 240


def test_a_test_corpus_replaces_the_test_set():
    ours, theirs = clip_table(ids=["01", "02", "03"]), clip_table(corpus="ravdess", ids=["01"])
    theirs["sha256"] += " of theirs"
    rows = evaluation.use_test_corpus(evaluation.make_split(ours, "speaker", ratio="1:1:1"), theirs)
    test = rows[rows["split"] == "test"]
    assert set(test["corpus"]) == {"ravdess"} and len(test) == len(theirs)
    assert set(rows.loc[rows["split"] != "test", "corpus"]) == {"local"}
    assert leaks(rows) == {"speaker": 0, "twin": 0, "content": 0}


def test_two_corpora_are_reduced_to_their_common_emotions():
    first, second = corpora.keep_common_emotions(clip_table(), clip_table(emotions=("sad", "happy", "calm")))
    assert set(first["emotion"]) == set(second["emotion"]) == {"happy", "sad"}
    with pytest.raises(corpora.CorpusError, match="calm"):
        corpora.keep_common_emotions(clip_table(), clip_table(emotions=("calm", "sad")))


def test_an_emotion_that_no_training_speaker_has_is_refused():
    """As in CREMA-D's fold where only the test speakers are neutral."""
    clips = clip_table(corpus="ravdess", ids=["01", "11", "08", "03", "02"])
    clips.loc[(clips["speaker"] == "01") & (clips["emotion"] == "sad"), "emotion"] = "neutral"
    with pytest.raises(evaluation.SplitError, match="no clip of neutral, which 1 of 5 speakers have.*EMOTIONS"):
        evaluation.make_split(clips, "folds", fold=1)
    assert "neutral" in set(evaluation.make_split(clips, "folds", fold=3).query("split == 'train'")["emotion"])


@pytest.mark.parametrize("protocol", ["random", "random-folds", "speaker", "loso", "statement", "published"])
def test_a_corpus_of_one_emotion_is_refused(protocol):
    with pytest.raises(evaluation.SplitError, match=r"at least two emotions to tell apart \(got angry\)"):
        evaluation.make_split(clip_table(emotions=("angry",)), protocol)


@pytest.mark.parametrize("protocol", ["random", "random-folds", "speaker", "loso", "published"])
def test_a_corpus_of_one_clip_per_emotion_is_refused(protocol):
    clips = clip_table(4, 1).assign(emotion=["angry", "happy", "sad", "calm"])
    with pytest.raises(evaluation.SplitError, match="angry|calm|happy|sad"):
        evaluation.make_split(clips, protocol)


def test_refusals_count_clips_and_not_their_copies():
    clips = clip_table(1, 5, ("angry",) * 4 + ("sad",))
    with pytest.raises(evaluation.SplitError, match="sad has 1 clip; this split needs at least 2 of each"):
        evaluation.make_split(clips, "random", augment="before-split")
    few = clip_table(1, 6, ("angry", "sad") * 3)
    with pytest.raises(evaluation.SplitError, match="6 clips are too few: .* needs at least 10 clips"):
        evaluation.make_split(few, "random", ratio="80:10:10", augment="before-split")
    rows = evaluation.make_split(
        clip_table(1, 10, ("angry", "sad")), "random", ratio="80:10:10", augment="before-split"
    )
    assert set(rows["split"]) == set(evaluation.SIDES)


def test_speakers_of_two_local_corpora_are_different_people():
    """Both folders call their speakers S01, S02, S03."""
    ours, theirs = (clip_table(ids=["S01", "S02", "S03"]).assign(sex="") for _ in range(2))
    ours["path"], theirs["path"] = "/ours/" + ours["clip"], "/theirs/" + theirs["clip"]
    theirs["sha256"] += " of theirs"
    split = evaluation.make_split(ours, "speaker", ratio="1:1:1")
    held_out = {"held_out": ("test",)}
    assert evaluation.count_leaks(evaluation.use_test_corpus(split, theirs), **held_out)["speaker"] == 0
    same = ours[ours["speaker"] == split.loc[split["split"] == "train", "speaker"].iloc[0]]
    assert evaluation.count_leaks(evaluation.use_test_corpus(split, same), **held_out)["speaker"] == len(same)
