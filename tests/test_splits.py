import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from sernb import corpora
from sernb import evaluation


def table(speakers=12, per_speaker=10, emotions=("angry", "happy", "sad"), corpus="local", ids=None):
    ids = ids or [f"P{i:02}" for i in range(speakers)]
    clips = pd.DataFrame([(s, emotions[i % len(emotions)], f"{s}-{i}") for s in ids for i in range(per_speaker)])
    clips.columns = ["speaker", "emotion", "clip"]
    return clips.assign(corpus=corpus, sha256=clips["clip"], sex=np.where(clips["speaker"] < "P06", "male", "female"))


def leaks(rows):
    return {kind: count for kind, count in evaluation.count_leaks(rows).items() if kind in evaluation.LEAK_FAULTS}


def sides(rows):
    return {side: set(part["speaker"]) for side, part in rows.groupby("split")}


@pytest.mark.parametrize(
    ("ratio", "expected"), [("75:15:10", (90, 18, 12)), ("70:20:10", (84, 24, 12)), ("8:1:1", (96, 12, 12))]
)
def test_random_keeps_ratio_and_balance(ratio, expected):
    rows = evaluation.make_split(table(), "random", ratio=ratio, seed=1)
    assert tuple((rows["split"] == side).sum() for side in evaluation.SIDES) == expected
    shares = pd.crosstab(rows["split"], rows["emotion"], normalize="index")
    assert (shares.max() - shares.min()).max() < 0.1


def test_published_is_study_as_own_split():
    clips = table()
    rest, test = train_test_split(clips, test_size=0.3, stratify=clips["emotion"], random_state=42)
    train, val = train_test_split(rest, test_size=0.05, random_state=42)
    rows = evaluation.make_split(clips, "published", seed=42)
    for side, expected in (("train", train), ("val", val), ("test", test)):
        assert set(rows.loc[rows["split"] == side, "clip"]) == set(expected["clip"])


@pytest.mark.parametrize("seed", range(5))
def test_speaker_puts_nobody_on_two_sides(seed):
    rows = evaluation.make_split(table(), "speaker", ratio="70:15:15", augment="before-split", seed=seed)
    on = sides(rows)
    assert not (on["train"] & on["val"] | on["train"] & on["test"] | on["val"] & on["test"])
    assert [len(on[side]) for side in evaluation.SIDES] == [8, 2, 2]
    assert leaks(rows) == {"speaker": 0, "twin": 0, "content": 0}


def test_speaker_balances_classes_as_near_as_can_be():
    # Half of the speakers are nearly always angry, the other half sad: a careless deal tests on one kind alone.
    angry = table(6, emotions=("angry",) * 9 + ("sad",), ids=list("abcdef"))
    sad = table(6, emotions=("sad",) * 9 + ("angry",), ids=list("ghijkl"))
    rows = evaluation.make_split(pd.concat([angry, sad], ignore_index=True), "speaker", ratio="66:17:17", seed=0)
    shares = pd.crosstab(rows["split"], rows["emotion"], normalize="index")
    np.testing.assert_allclose(shares["angry"], 0.5, atol=0.01)


def test_every_seed_of_the_speaker_split_tests_others():
    tested = {frozenset(sides(evaluation.make_split(table(), "speaker", seed=seed))["test"]) for seed in range(10)}
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


@pytest.mark.parametrize("corpus", ["demo-ravdess", "demo-crema"])
def test_the_demo_corpora_have_every_fold(corpus):
    clips = corpora.load(corpus)
    cuts = evaluation.make_splits(clips, "folds")
    assert list(cuts) == list(evaluation.published_folds(corpus))
    for fold, rows in cuts.items():
        assert leaks(rows)["speaker"] == 0
        pd.testing.assert_frame_equal(rows, evaluation.make_split(clips, "folds", fold=fold))


def test_augmentation_knows_its_side():
    clips = table()
    before = evaluation.make_split(clips, "random", augment="before-split", seed=0)
    assert len(before) == 240 and leaks(before)["twin"] > 0
    train_only = evaluation.make_split(clips, "random", augment="train-only", seed=0)
    assert set(train_only.loc[train_only["copy"] == 1, "split"]) == {"train"}
    assert (train_only["split"] == "train").sum() == 180
    assert leaks(train_only)["twin"] == 0
    assert (evaluation.make_split(clips, "random", augment="none", seed=0)["copy"] == 0).all()


def test_folds_without_clips_are_passed_over():
    clips = table(corpus="ravdess", ids=["01", "11", "08", "03", "02"])  # of folds 1, 1, 3, 4 and 5
    cuts = evaluation.make_splits(clips, "folds")
    assert list(cuts) == [1, 3, 4, 5]
    assert sides(cuts[1]) == {"test": {"01", "11"}, "val": {"08"}, "train": {"03", "02"}}
    assert sides(cuts[5]) == {"test": {"02"}, "val": {"01", "11"}, "train": {"08", "03"}}
    assert list(evaluation.make_splits(clips, "folds", fold=3)) == [3]


def test_leaving_one_speaker_out_tests_everybody_once():
    cuts = evaluation.make_splits(table(), "loso", augment="train-only", seed=5)
    assert [sides(rows)["test"] for rows in cuts.values()] == [{f"P{i:02}"} for i in range(12)]
    assert all(leaks(rows)["speaker"] == 0 and len(sides(rows)["val"]) == 2 for rows in cuts.values())
    assert len({frozenset(sides(rows)["val"]) for rows in cuts.values()}) > 3
    pd.testing.assert_frame_equal(cuts[4], evaluation.make_split(table(), "loso", fold=4, augment="train-only", seed=5))
    few = evaluation.make_splits(table(4), "loso")
    assert all(len(sides(rows)["val"]) == 1 for rows in few.values())


@pytest.mark.parametrize("seed", range(4))
def test_new_statements_are_said_by_new_speakers(seed):
    clips = table().assign(statement=["kids", "dogs"] * 60)
    rows = evaluation.make_split(clips, "statement", ratio="50:20:30", augment="before-split", seed=seed)
    on, said = sides(rows), {side: set(part["statement"]) for side, part in rows.groupby("split")}
    assert not on["train"] & on["test"] and not on["train"] & on["val"] and not on["val"] & on["test"]
    assert len(said["test"]) == 1 and said["train"] == said["val"] == {"kids", "dogs"} - said["test"]
    assert evaluation.count_leaks(rows, held_out=("test",)) == dict.fromkeys(evaluation.LEAK_KINDS, 0)


def test_only_protocols_with_folds_have_several_splits():
    assert list(evaluation.make_splits(table(), "random", fold=0)) == [0]
    assert (
        not evaluation.covers_all_folds("speaker", 0)
        and not evaluation.covers_all_folds("loso", 2)
        and evaluation.covers_all_folds("folds", 0)
    )
    each = evaluation.split_sizes(evaluation.make_splits(table(4), "loso"))
    assert each.index.names == ["fold", "split"] and each["rows"].sum() == 4 * 40


@pytest.mark.parametrize(
    ("clips", "protocol", "options", "message"),
    [
        (table(2), "speaker", {}, "2 speakers; a speaker split takes at least 3"),
        (table(1, 6, ("angry", "sad") * 3), "random", {"ratio": "80:10:10"}, "6 clips leave 0 .* at least 20 clips"),
        (table(1, 5, ("angry",) * 4 + ("sad",)), "random", {}, "sad has 1 clips; .* at least 3"),
        (table(), "folds", {}, "no folds were published for 'local'"),
        (table(corpus="ravdess", ids=["01", "02"]), "folds", {"fold": 7}, "folds 1 to 6"),
        (table(corpus="ravdess", ids=["01", "02"]), "folds", {"fold": 1}, "no clip for train"),
        (table(corpus="ravdess", ids=["01", "02"]), "folds", {"fold": 2}, "no clip for test: .* 04, 10, 12, 14"),
        (table(corpus="crema", ids=["1001"]), "folds", {"fold": 1}, "no clip for"),
        (table(2), "loso", {}, "at least 3"),
        (table(), "loso", {"fold": 13}, "folds 1 to 12"),
        (table(), "statement", {}, "120 of 120 clips have none"),
        (table().assign(statement="kids"), "statement", {}, "there are 1"),
        (table(corpus="ravdess", ids=["01", "99"]), "folds", {}, "'99' is in no published fold"),
        (table(), "random", {"ratio": "75:25"}, "75:15:10"),
        (table(), "random", {"ratio": "nan:1:1"}, "above 0"),
        (table(1, 33, ("angry",) * 10 + ("sad",)), "random", {"ratio": "30:20:50"}, "sad has only 3 of 33 clips"),
        (table(), "random", {"ratio": "100:0:0"}, "above 0"),
        (table(), "stratified", {}, "random, speaker, folds, loso, statement, published"),
        (table(), "random", {"augment": "yes"}, "before-split, train-only, none"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_says_how_many_it_takes(clips, protocol, options, message):
    with pytest.raises(evaluation.SplitError, match=message):
        evaluation.make_split(clips, protocol, **options)


def test_sizes_count_each_side():
    shown = evaluation.split_sizes(evaluation.make_split(table(), "random", augment="before-split", seed=0))
    assert list(shown.index) == list(evaluation.SIDES) and shown["rows"].sum() == 240


def test_another_corpus_can_be_the_test_side_and_its_01_is_nobody_elses():
    ours, theirs = table(ids=["01", "02", "03"]), table(corpus="ravdess", ids=["01"])
    theirs["sha256"] += " of theirs"
    rows = evaluation.use_test_corpus(evaluation.make_split(ours, "speaker", ratio="1:1:1"), theirs)
    test = rows[rows["split"] == "test"]
    assert set(test["corpus"]) == {"ravdess"} and len(test) == len(theirs)
    assert set(rows.loc[rows["split"] != "test", "corpus"]) == {"local"}
    assert leaks(rows) == {"speaker": 0, "twin": 0, "content": 0}


def test_two_corpora_are_cut_to_the_emotions_they_share():
    first, second = corpora.keep_common_emotions(table(), table(emotions=("sad", "happy", "calm")))
    assert set(first["emotion"]) == set(second["emotion"]) == {"happy", "sad"}
    with pytest.raises(corpora.CorpusError, match="calm"):
        corpora.keep_common_emotions(table(), table(emotions=("calm", "sad")))
